"""Migrations of a column's type: the changes that existing rows fit, and the changes that are refused."""

import datetime
import enum
import uuid
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flask_convex_http import Id, MigrationRefusedError
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, columns, database_digest
from tests.deployment import Deployment
from tests.versions import all_documents, create_with, migrate, thing

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

to: Any = Id
THING_ID = to["Thing"]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct, frozen=True):
    street: str


class LongLine(msgspec.Struct, frozen=True):
    street: str
    number: int = 5


NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("old", "new", "values", "expected"),
    [
        (int, float, [1, -5, 2**53], [1.0, -5.0, 2.0**53]),
        (int | None, float | None, [1, None], [1.0, None]),
        (str, Literal["a", "b"], ["a", "b", "a"], ["a", "b", "a"]),
        (str, Color, ["red"], [Color.RED]),
        (Color, str, [Color.RED], ["red"]),
        (Literal["a"], Literal["a", "b"], ["a"], ["a"]),
        (str, str | None, ["a"], ["a"]),
        (str | None, str, ["a"], ["a"]),
        (list[str], list[str] | None, [["a"]], [["a"]]),
        (str, datetime.date, ["2024-05-01"], [datetime.date(2024, 5, 1)]),
        (datetime.date, str, [datetime.date(2024, 5, 1)], ["2024-05-01"]),
        (Any, uuid.UUID | None, [str(uuid.UUID(int=7)), None], [uuid.UUID(int=7), None]),
        (uuid.UUID, str, [uuid.UUID(int=7)], [str(uuid.UUID(int=7))]),
        (str, datetime.datetime, ["2024-05-01T12:00:00Z", "2024-05-01T14:00:00.000+02:00"], [NOON, NOON]),
        (datetime.datetime, str, [NOON], ["2024-05-01T12:00:00.000000Z"]),
        (str | int, str, ["a", "b"], ["a", "b"]),
        (str, str | int, ["a", '"b"'], ["a", '"b"']),
        (int, str | int, [5], [5]),
        (Any, int, [5, -1], [5, -1]),
        (Any, bool | None, [True, None], [True, None]),
        (Any, datetime.datetime, ["2024-05-01T12:00:00+00:00"], [NOON]),
        (bool, Any, [True, False], [True, False]),
        (Line, LongLine, [Line("Main")], [LongLine("Main", 5)]),
        (list[datetime.datetime], list[datetime.datetime] | None, [[NOON]], [[NOON]]),
        (dict[str, str], Line, [{"street": "Main"}], [Line("Main")]),
        (Any, list[str], [["a"], []], [["a"], []]),
        (int, Annotated[int, msgspec.Meta(ge=1)], [1, 2], [1, 2]),
        (bytes, bytes | None, [b"\0"], [b"\0"]),
        (bool, bool | None, [True, False], [True, False]),
    ],
)
def test_types_change_where_every_row_fits(tmp_path: Path, old: Any, new: Any, values: Any, expected: Any) -> None:
    """A column whose values all fit the new type is changed, and the values keep their meaning."""
    before, after = thing(field=old, name=(str, "x")), thing({"by_name": ["name"]}, field=new, name=(str, "x"))
    ids = create_with(tmp_path, before, *[before(field=value) for value in values])
    migrate(tmp_path, after)
    found = all_documents(tmp_path, after)
    assert [one.field for one in found] == expected
    assert [type(one.field) for one in found] == [type(value) for value in expected]
    assert [one.id for one in found] == ids
    assert migrate(tmp_path, after) == []
    kind, is_nullable = columns(tmp_path, "things")["field"]
    assert kind != "ANY"
    assert is_nullable == (type(None) in getattr(new, "__args__", ()) or new is Any)


@pytest.mark.parametrize(
    ("old", "new", "fitting", "wrong"),
    [
        (float, int, [], 1.5),
        (float, int, [], 1.0),
        (int, float, [1], 2**53 + 1),
        (str, Literal["a", "b"], ["a"], "c"),
        (str, Color, ["red"], "green"),
        (Literal["a", "b"], Literal["a"], ["a"], "b"),
        (str | None, str, ["a"], None),
        (int | None, float, [1], None),
        (list[str] | None, list[str], [["a"]], None),
        (str, int, [], "5"),
        (int, str, [], 5),
        (int, bool, [], 1),
        (bool, int, [], True),
        (str, bytes, [], "YWJj"),
        (str, datetime.datetime, ["2024-05-01T12:00:00Z"], "2024-05-01T12:00:00"),
        (str, datetime.datetime, [], "yesterday"),
        (str, list[str], [], '["a"]'),
        (Any, int, [5], "five"),
        (Any, str, ["a"], ["a"]),
        (list[str], list[int], [[]], ["a"]),
        (Line, dict[str, int], [], Line("Main")),
        (int, Annotated[int, msgspec.Meta(ge=1)], [1], 0),
        (str, Annotated[str, msgspec.Meta(max_length=2)], ["ab"], "abc"),
        (str, THING_ID, [], "things_5"),
    ],
)
def test_types_do_not_change_where_a_row_does_not_fit(
    tmp_path: Path, old: Any, new: Any, fitting: list[Any], wrong: Any
) -> None:
    """One row that does not fit refuses the whole migration, and the message names the row."""
    before, after = thing(field=old), thing(field=new, more=(int, 5))
    *_, wrong_id = create_with(tmp_path, before, *[before(field=value) for value in [*fitting, wrong]])
    state = database_digest(tmp_path)
    with pytest.raises(MigrationRefusedError, match=rf"things.field cannot become .*the row {wrong_id} does not fit"):
        migrate(tmp_path, after)
    assert database_digest(tmp_path) == state
    assert len(all_documents(tmp_path, before)) == len(fitting) + 1


def test_types_change_freely_without_rows(tmp_path: Path) -> None:
    """In an empty table any type may become any other."""
    annotations: list[Any] = [str, int | None, list[str], bytes, datetime.datetime | None, float, bool, Any, str]
    for annotation in annotations:
        kind = thing(field=annotation)
        migrate(tmp_path, kind)
        assert migrate(tmp_path, kind) == []
        assert all_documents(tmp_path, kind) == []


def test_an_index_changes_how_a_decimal_is_stored(tmp_path: Path) -> None:
    """A decimal gets the text that orders it when it gets an index, and JSON again when the index is dropped."""
    plain, indexed = thing(price=Decimal | None), thing({"by_price": ["price"]}, price=Decimal | None)
    prices = [Decimal("10"), Decimal("9.90"), None, Decimal("-1")]
    create_with(tmp_path, plain, *(plain(price=price) for price in prices))
    assert migrate(tmp_path, indexed)[0] == "change column things.price to decimal or None"
    with closing((app := Deployment(indexed, folder=tmp_path)).backend):
        found = app.read(lambda db: [one.price for one in db.query(indexed).with_index("by_price")])
    assert found == [None, Decimal("-1"), Decimal("9.90"), Decimal("10")]
    migrate(tmp_path, plain)
    assert [one.price for one in all_documents(tmp_path, plain)] == prices
