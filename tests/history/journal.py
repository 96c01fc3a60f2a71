"""Random commits on a table of every kind of field, and copies of its documents after each."""

from __future__ import annotations

import datetime
import decimal
import random
import uuid
from typing import Any

from flask_convex_http import Document, unique
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from tests.deployment import Deployment


class Entry(
    Document,
    table="entries",
    indexes={"by_name": unique("name"), "by_size": ["size", "weight"], "by_at": ["at"], "by_raw": ["raw"]},
):
    name: str
    size: int | None = None
    weight: float = 0.0
    is_new: bool = False
    raw: bytes = b""
    at: datetime.datetime | None = None
    key: uuid.UUID | None = None
    price: decimal.Decimal | None = None
    tags: list[str] = []
    extra: dict[str, Any] | None = None


class Quiet(Document, table="quiets", history=False):
    name: str


Copy = dict[str, Entry]
#: The documents that a commit has written, None for those that it has deleted.
Written = dict[str, Entry | None]
_TEXTS = ("", "a", "b", "é", "\x00", "\x01", '"', "\ud7ff", "z" * 40)
_WEIGHTS = (0.0, 1.5, -2.25, 1e300, float("inf"), float("-inf"))


class Journal:
    """Writes random commits, and knows the documents after them. A commit takes as long with many documents.

    Args:
        app: The deployment.
        seed: The seed of the commits.
    """

    def __init__(self, app: Deployment, seed: int) -> None:
        self.app = app
        self.random = random.Random(seed)
        self.now: Copy = {}
        self.copies: dict[int, Copy] = {0: {}}
        self.count = 0
        self._ids: list[str] = []
        self._places: dict[str, int] = {}

    def run(self, commits: int) -> None:
        """Write commits, and keep a copy of all documents after each."""
        for _ in range(commits):
            self.commit()
            self.copies[self.last_commit()] = dict(self.now)

    def commit(self) -> None:
        """Write one commit of some steps."""
        steps = self.random.randint(1, 4)
        self._apply(self.app.write(lambda db: self._steps(db, steps)))

    def last_commit(self) -> int:
        """Return the number of the last commit that has changed something."""
        return self.app.backend.history.feed.last_commit()

    def _apply(self, written: Written) -> None:
        for entry_id, entry in written.items():
            if entry is None:
                self._remove(entry_id)
                continue
            if entry_id not in self.now:
                self._places[entry_id] = len(self._ids)
                self._ids.append(entry_id)
            self.now[entry_id] = entry

    def _remove(self, entry_id: str) -> None:
        """Remove a document, whose place in the list goes to the last one."""
        if self.now.pop(entry_id, None) is None:  # the commit itself has inserted it
            return
        place, last = self._places.pop(entry_id), self._ids.pop()
        if last != entry_id:
            self._ids[place], self._places[last] = last, place

    def _steps(self, db: DatabaseWriter, steps: int) -> Written:
        written: Written = {}
        for _ in range(steps):
            self._step(db, written)
        return written

    def _step(self, db: DatabaseWriter, written: Written) -> None:
        kind = self.random.choice(("insert", "insert", "patch", "patch", "patch", "replace", "delete"))
        chosen: Any = None if kind == "insert" else self._choose(written)
        if chosen is None:
            self.count += 1
            chosen = db.insert(self._entry())
        elif kind == "delete":
            db.delete(chosen)
            written[chosen] = None
            return
        elif kind == "replace":
            db.replace(chosen, Entry(name=(written.get(chosen) or self.now[chosen]).name, **self._fields()))
        else:
            fields = self._fields()
            names = self.random.sample(sorted(fields), self.random.randint(1, 3))
            db.patch(chosen, **{name: fields[name] for name in names})
        written[chosen] = _found(db, chosen)

    def _choose(self, written: Written) -> str | None:
        """Return the id of a document, or None if there is none."""
        alive = len(self.now) - sum(entry is None and entry_id in self.now for entry_id, entry in written.items())
        added = [entry_id for entry_id, entry in written.items() if entry is not None and entry_id not in self.now]
        if not alive or self.random.random() * (alive + len(added)) < len(added):
            return self.random.choice(added) if added else None
        while True:
            chosen = self.random.choice(self._ids)
            if written.get(chosen, self) is not None:
                return chosen

    def _entry(self) -> Entry:
        return Entry(name=f"{self.count}-{self.random.choice(_TEXTS)}", **self._fields())

    def _fields(self) -> dict[str, Any]:
        chance = self.random
        return {
            "size": chance.choice((None, 0, 1, 2, -(2**63), 2**63 - 1)),
            "weight": chance.choice(_WEIGHTS),
            "is_new": chance.random() < 0.5,
            "raw": chance.choice((b"", b"\x00\xff", b"abc")),
            "at": chance.choice((None, datetime.datetime(2026, 1, chance.randint(1, 9), tzinfo=datetime.UTC))),
            "key": chance.choice((None, uuid.UUID(int=chance.randint(0, 5)))),
            "price": chance.choice((None, decimal.Decimal("1.50"), decimal.Decimal("0"))),
            "tags": [chance.choice(_TEXTS) for _ in range(chance.randint(0, 2))],
            "extra": chance.choice((None, {}, {"$bytes": "YQ=="}, {"a": [1, None, 2.5], "é": "\x00"})),
        }

    def check(self, number: int) -> None:
        """Compare the documents as of a commit with the copy: all of them, one, and ranges of indexes."""
        copy = self.copies[number]
        self.app.read(lambda db: self._check(db.as_of(number), copy))

    def _check(self, past: DatabaseReader, copy: Copy) -> None:
        by_time = sorted(copy.values(), key=lambda entry: entry.creation_time)
        assert past.query(Entry).collect() == by_time
        assert list(past.query(Entry).order("desc")) == by_time[::-1]
        known = sorted({entry_id for each in self.copies.values() for entry_id in each})
        for entry_id in self.random.sample(known, min(3, len(known))):
            assert past.get(entry_id) == copy.get(entry_id)  # type: ignore[arg-type]  # an id as text
        size = self.random.choice((None, 0, 1, 2))
        of_size = sorted(
            (entry for entry in copy.values() if entry.size == size),
            key=lambda entry: (entry.weight, entry.creation_time),
        )
        query = past.query(Entry).with_index("by_size", size=size)
        assert query.collect() == of_size
        assert query.order("desc").take(2) == of_size[::-1][:2]
        pages, cursor = [], None
        while True:
            page = query.paginate(num_items=2, cursor=cursor)
            pages += page.page
            cursor = page.continue_cursor
            if page.is_done:
                break
        assert pages == of_size


def _found(db: DatabaseWriter, document_id: Any) -> Entry:
    found: Entry | None = db.get(document_id)
    assert found is not None
    return found
