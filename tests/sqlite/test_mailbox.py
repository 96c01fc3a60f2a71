"""Texts beside a database for other processes."""

from pathlib import Path

import pytest

from flask_convex_http.errors import EngineError
from flask_convex_http.sqlite.mailbox import Mailbox


def mailbox(folder: Path) -> Mailbox:
    """Return the mailbox of a database, which exists."""
    (folder / "convex.db").touch()
    return Mailbox(folder / "convex.db")


def test_texts_are_read_in_their_order_until_they_are_removed(tmp_path: Path) -> None:
    """Another process reads the texts in the order in which they were added, and a removed one no more."""
    box, other = mailbox(tmp_path), mailbox(tmp_path)
    assert other.read() == {}
    for number in range(3):
        box.add(f"text {number}")
    assert list(other.read().values()) == ["text 0", "text 1", "text 2"]
    [first, *_] = other.read()
    other.remove(first)
    box.remove(first)  # both may have honored it
    assert list(box.read().values()) == ["text 1", "text 2"]


def test_an_incomplete_text_is_not_read(tmp_path: Path) -> None:
    """A text whose writer was killed is ignored."""
    box = mailbox(tmp_path)
    box.add("complete")
    [name] = box.read()
    (tmp_path / "convex.db.requests" / f"{name}9.new").write_text("incompl")
    assert list(box.read().values()) == ["complete"]


def test_a_text_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """An operator is told that the request was not recorded."""
    box = mailbox(tmp_path)
    (tmp_path / "convex.db.requests").touch()
    with pytest.raises(EngineError, match=r"convex\.db\.requests"):
        box.add("text")
