"""How the cost of a call grows with documents, pages and routes: `python -m benchmarks.growth`.

Each figure is the median of calls in one process, which are made on the different sizes in turns. `--documents` gives
other numbers of documents, such as 10000000, which takes minutes and gigabytes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flask import Blueprint, Flask

from benchmarks import slow_sync, views
from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    Page,
    QueryCtx,
    Schema,
    internal_mutation,
    query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings

DOCUMENTS = (10_000, 100_000, 1_000_000)
PAGES = (1, 100, 10_000)
ROUTES = (10, 100, 1000, 10_000)
_CALLS = 500
#: Documents of one owner, and of one page.
_OWNED, _ON_PAGE = 10, 20
_BATCH = 100_000
#: The columns of one row: ids whose digits are the time of creation and 80 bits that look random.
_FILL = """
WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :last)
INSERT INTO notes (_id, _creation_time, owner, text)
SELECT printf('notes_%012x000%s', :start + n, lower(substr(hex(randomblob(9)), 1, 17))), :start + n,
       printf('owner %d', n % :owners), 'A note of forty characters, more or less.'
FROM numbers
"""


class Note(Document, table="notes", indexes={"by_owner": ["owner"]}):
    owner: str
    text: str


@internal_mutation
def create(ctx: MutationCtx, *, owner: str) -> Id[Note]:
    return ctx.db.insert(Note(owner=owner, text="A note of forty characters, more or less."))


@query
def get(ctx: QueryCtx, *, id: Id[Note]) -> Note | None:
    return ctx.db.get(id)


@query
def of_owner(ctx: QueryCtx, *, owner: str) -> list[Note]:
    return ctx.db.query(Note).with_index("by_owner", owner=owner).collect()


@query
def newest(ctx: QueryCtx) -> list[Note]:
    return ctx.db.query(Note).order("desc").take(_OWNED)


@query
def page(ctx: QueryCtx, *, cursor: str | None) -> Page[Note]:
    return ctx.db.query(Note).order("asc").paginate(num_items=_ON_PAGE, cursor=cursor)


def documents(counts: Sequence[int]) -> None:
    """Print the cost of calls on tables of different sizes, and of pages of the largest."""
    with contextlib.ExitStack() as stack:
        filled = [stack.enter_context(_filled(count)) for count in counts]
        calls = [_calls(ctx, count, ids) for (ctx, ids), count in zip(filled, counts, strict=True)]
        _print_head("Documents", counts)
        for name in calls[0]:
            _print_row(name, [seconds * 1e6 for seconds in _medians([each[name] for each in calls])])
        largest, _ = filled[-1]
        pages = _pages(largest, counts[-1])
        _print_head(f"Page of {_ON_PAGE}", list(pages))
        _print_row("by creation time", [seconds * 1e6 for seconds in _medians(list(pages.values()))])


def routes(counts: Sequence[int]) -> None:
    """Print the cost of registration and of a request with different numbers of routes."""
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in counts]
        apps = [_app(folder, count) for folder, count in zip(folders, counts, strict=True)]
        calls = [views.caller(app, f"/route/{count - 1}/here") for (app, _), count in zip(apps, counts, strict=True)]
        _print_head("Routes", counts)
        _print_row("register one", [seconds * 1e6 for _, seconds in apps])
        _print_row("register one, Flask", [_register(Blueprint("http", __name__), count) * 1e6 for count in counts])
        _print_row("the first request", [_time(call) * 1e6 for call in calls])
        _print_row("GET the last", [seconds * 1e6 for seconds in _medians(calls)])


@contextlib.contextmanager
def _filled(count: int) -> Iterator[tuple[ActionCtx, list[str]]]:
    with tempfile.TemporaryDirectory(dir=slow_sync.cache()) as folder:
        backend = Backend(Settings(), Schema(Note), [create, get, of_owner, newest, page], folder=Path(folder))
        with contextlib.closing(backend):
            backend.migrate()
            yield backend.ctx(), _fill(Path(folder, "convex.db"), count)


def _fill(database: Path, count: int) -> list[str]:
    """Insert rows in SQL, which takes seconds for a million, and return the ids of some."""
    start = int(time.time() * 1000) - count - 60_000
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'notes' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:  # an index of sorted rows is built faster, and as compact as after VACUUM
            connection.execute(f'DROP INDEX "{name}"')
        for first in range(0, count, _BATCH):
            values = {"first": first, "last": min(first + _BATCH, count), "start": start, "owners": count // _OWNED}
            connection.execute(_FILL, values)
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        chosen = [start + random.randrange(count) for _ in range(_CALLS)]
        found = [connection.execute("SELECT _id FROM notes WHERE _id > ?", (f"notes_{at:012x}",)) for at in chosen]
        return [row[0] for row in (cursor.fetchone() for cursor in found) if row]


def _calls(ctx: ActionCtx, count: int, ids: Sequence[str]) -> dict[str, Callable[[], object]]:
    owners = [f"owner {random.randrange(count // _OWNED)}" for _ in range(_CALLS)]
    assert len(ctx.run_query(of_owner, owner=owners[0])) == _OWNED
    assert ctx.run_query(get, id=Id(ids[0])) is not None
    return {
        "create, durably": lambda: ctx.run_mutation(create, owner=random.choice(owners)),
        "one by id": lambda: ctx.run_query(get, id=Id(random.choice(ids))),
        "ten by an index": lambda: ctx.run_query(of_owner, owner=random.choice(owners)),
        "the newest ten": lambda: ctx.run_query(newest),
    }


def _pages(ctx: ActionCtx, count: int) -> dict[int, Callable[[], object]]:
    cursor: str | None = None
    found: dict[int, Callable[[], object]] = {}
    for number in range(1, min(count // _ON_PAGE, PAGES[-1]) + 1):
        if number in PAGES:
            found[number] = functools.partial(ctx.run_query, page, cursor=cursor)
        cursor = ctx.run_query(page, cursor=cursor).continue_cursor
    return found


def _app(folder: str, count: int) -> tuple[Flask, float]:
    """Return an app with many routes, and the seconds that each took to register."""
    app = Flask("many", instance_path=folder)
    app.config["CONVEX_WORKER"] = "off"
    convex = ConvexHTTP(app, schema=Schema(Note))
    with app.app_context():
        convex.migrate()
    http = HttpRouter("http", __name__)
    return app, _register(http, count, app)


def _register(http: Blueprint, count: int, app: Flask | None = None) -> float:
    """Register routes with an app, and return the seconds that each took."""
    app = app or Flask("many")
    before = time.perf_counter()
    for number in range(count):
        http.get(f"/route/{number}/here", endpoint=f"route_{number}")(lambda ctx, request: {"status": "ok"})
    app.register_blueprint(http)
    return (time.perf_counter() - before) / count


def _medians(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Return the median duration of each, which are called in turns."""
    rounds = [[_time(call) for call in calls] for _ in range(_CALLS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _time(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def _print_head(title: str, numbers: Sequence[int]) -> None:
    print(f"{title:<22}" + "".join(f"{number:>14,}" for number in numbers))


def _print_row(name: str, numbers: Sequence[float]) -> None:
    print(f"  {name:<20}" + "".join(f"{number:>11,.0f} µs" for number in numbers), flush=True)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="How cost grows.")
    options.add_argument("--documents", type=int, action="append", help=f"{DOCUMENTS} without")
    given = options.parse_args()
    documents(given.documents or DOCUMENTS)
    routes(ROUTES)


if __name__ == "__main__":
    main()
