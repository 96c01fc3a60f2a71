"""Migrations that lose nothing: what leaves the schema stays in the database."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import MigrationRefusedError
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.deployment import Deployment
from tests.versions import all_documents, create_with, migrate, thing

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

FULL = thing(name=str, note=list[str])
SHORT = thing(name=str)


def keep(folder: Path, kind: Any) -> list[str]:
    """Migrate without loss, and return the steps."""
    return migrate(folder, kind, keep_dropped=True)


def test_a_removed_field_keeps_its_values(tmp_path: Path) -> None:
    """The column of a removed field stays, rows are inserted without it, and its values are there once it is back."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note=["red"]))
    assert keep(tmp_path, SHORT) == ["keep column things.note and what it holds"]
    with closing((app := Deployment(SHORT, folder=tmp_path)).backend):
        app.add(SHORT(name="Chair"))
    back = thing(name=str, note=list[str] | None)
    keep(tmp_path, back)
    assert [one.note for one in all_documents(tmp_path, back)] == [["red"], None]


def test_a_kept_column_can_be_dropped(tmp_path: Path) -> None:
    """A kept column is named at each migration until a destructive one drops it."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note=[]))
    assert keep(tmp_path, SHORT) == keep(tmp_path, SHORT)
    assert migrate(tmp_path, SHORT, allow_destructive=True) == ["drop column things.note and what it holds"]
    assert keep(tmp_path, SHORT) == []


def test_a_column_without_rows_is_dropped(tmp_path: Path) -> None:
    """A table without rows has nothing to lose, so its columns follow the class."""
    create_with(tmp_path, FULL)
    assert keep(tmp_path, thing(name=str, color=str)) == [
        "add column things.color (text)",
        "drop column things.note and what it holds",
    ]


def test_a_field_that_may_have_a_new_name_is_refused(tmp_path: Path) -> None:
    """A table that loses a field and gets another is left as it is, and the message names both choices."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note=[]))
    renamed = thing(name=str, remarks=(list[str], []))
    with pytest.raises(MigrationRefusedError) as refused:
        keep(tmp_path, renamed)
    assert "renamed_from('note')" in str(refused.value)
    assert "flask convex migrate --allow-destructive" in str(refused.value)
    assert [one.note for one in all_documents(tmp_path, FULL)] == [[]]


def test_a_field_is_added_beside_a_kept_column(tmp_path: Path) -> None:
    """A field that is new after another one was removed does not make the migration unclear."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note=[]))
    keep(tmp_path, SHORT)
    assert keep(tmp_path, thing(name=str, color=(str, "red"))) == [
        "add column things.color (text)",
        "keep column things.note and what it holds",
    ]
