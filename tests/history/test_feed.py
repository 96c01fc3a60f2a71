"""`convex.changes`: each commit once and in order, also while many processes and threads commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import Document, HistoryError, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.engines.postgres.commit_log import LOCK_BITS, settled
from tests.databases import EACH_ENGINE, POSTGRES_ONLY, rows, settings_in
from tests.deployment import Deployment, deployed
from tests.history.journal import Entry, Quiet
from tests.lengths import SAMPLED, repetitions

pytestmark = EACH_ENGINE


class Tick(Document, table="ticks"):
    writer: int
    turn: int


class Other(Document, table="others"):
    name: str


@pytest.fixture(name="app")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Tick, Other) as deployment:
        yield deployment


def test_each_commit_has_its_changes_and_documents(app: Deployment) -> None:
    """A commit has the documents as they were right after it, also if they have changed since."""
    [tick, _] = app.add(Tick(writer=1, turn=1), Other(name="a"))
    app.write(lambda db: db.patch(tick, turn=2))
    app.write(lambda db: db.delete(tick))
    commits = list(app.backend.history.feed.changes(0))
    assert [[change.operation for change in commit.changes] for commit in commits] == [
        ["insert", "insert"],
        ["update"],
        ["delete"],
    ]
    turns = [getattr(commit.changes[0].document, "turn", None) for commit in commits]
    assert turns == [1, 2, None]
    assert commits[1].changes[0].before == {"turn": 1}
    assert [change.table for change in commits[0].changes] == ["ticks", "others"]


def test_changes_of_some_tables(app: Deployment) -> None:
    """Commits that changed no document of the given tables are left out, and so are their other changes."""
    app.add(Tick(writer=1, turn=1), Other(name="a"))
    app.add(Tick(writer=1, turn=2))
    commits = list(app.backend.history.feed.changes(0, [Other]))
    assert [[change.table for change in commit.changes] for commit in commits] == [["others"]]


def test_a_cursor_continues_where_it_was(app: Deployment) -> None:
    """Commits after a cursor are read once, and none before it."""
    feed = app.backend.history.feed
    app.add(Tick(writer=1, turn=1))
    cursor = feed.last_commit()
    assert list(feed.changes(cursor)) == []
    app.add(Tick(writer=1, turn=2))
    assert [commit.changes[0].document for commit in feed.changes(cursor)] == [app.read(_newest)]


def _newest(db: Any) -> Any:
    return db.query(Tick).order("desc").first()


def test_a_reader_waits_for_a_commit(app: Deployment) -> None:
    """A reader that waits gets a commit of another thread."""
    feed = app.backend.history.feed
    thread = threading.Timer(0.05, lambda: app.add(Tick(writer=1, turn=1)))
    thread.start()
    [commit] = feed.poll(0, 30.0)
    assert commit.changes[0].operation == "insert"
    thread.join()


def test_a_cursor_of_the_future_is_refused(app: Deployment) -> None:
    """A cursor after the last commit is an error, since an older backup may have been restored."""
    app.add(Tick(writer=1, turn=1))
    with pytest.raises(HistoryError, match="There is no commit 99 yet"):
        list(app.backend.history.feed.changes(99))


def test_a_failed_mutation_is_no_commit(app: Deployment) -> None:
    """A mutation that raises, one that changes nothing, and a part that was rolled back leave nothing in the log."""
    [tick] = app.add(Tick(writer=1, turn=1))

    def fail(db: Any) -> None:
        db.insert(Other(name="a"))
        raise ValueError

    with pytest.raises(ValueError):
        app.write(fail)
    app.write(lambda db: db.patch(tick, turn=1))
    app.write(lambda db: db.delete(db.insert(Other(name="gone"))))
    assert len(list(app.backend.history.feed.changes(0))) == 1


def test_a_commit_of_many_changes(app: Deployment) -> None:
    """All changes of a large commit are read, in the order in which the documents were first written."""
    ids = app.add(*(Tick(writer=1, turn=turn) for turn in range(700)))
    [commit] = app.backend.history.feed.changes(0)
    assert [change.id for change in commit.changes] == ids


@SAMPLED
@pytest.mark.timeout(600)
def test_many_writers_and_a_reader(each_engine: str, tmp_path: Path) -> None:
    """A reader that follows 64 writers gets every commit once, in the order of each writer."""
    writers, turns = (
        repetitions("HISTORY_WRITERS", sample=8, whole=64),
        repetitions("HISTORY_TURNS", sample=6, whole=50),
    )
    settings = settings_in(tmp_path, database_connections=20, write_timeout=120.0)
    backends = [Backend(settings, Schema(Tick, Other), folder=tmp_path) for _ in range(4)]
    backends[0].migrate()

    def write(writer: int) -> None:
        backend = backends[writer % len(backends)]
        for turn in range(turns):
            backend.runtime.transact(lambda ctx, turn=turn: _tick(ctx.db, writer, turn), backend.caller())  # type: ignore[misc]

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    seen: list[int] = []
    found: dict[int, list[int]] = {writer: [] for writer in range(writers)}
    with closing(backends[0]), closing(backends[1]), closing(backends[2]), closing(backends[3]):
        for thread in threads:
            thread.start()
        end, feed = time.monotonic() + 500, backends[0].history.feed
        while len(seen) < writers * turns and time.monotonic() < end:
            for commit in feed.poll(seen[-1] if seen else 0, 1.0, limit=7):
                seen.append(commit.number)
                for change in commit.changes:
                    tick: Any = change.document
                    found[tick.writer].append(tick.turn)
        for thread in threads:
            thread.join()
    assert seen == sorted(set(seen))
    assert found == {writer: list(range(turns)) for writer in range(writers)}


def _tick(db: Any, writer: int, turn: int) -> None:
    db.insert(Tick(writer=writer, turn=turn))
    if turn % 5 == 0:
        time.sleep(0.002 * (writer % 3))  # so that transactions overlap


@POSTGRES_ONLY
def test_a_slow_transaction_holds_the_feed_back(app: Deployment) -> None:
    """A commit with a higher number is not read before one with a lower number that is still running."""
    feed = app.backend.history.feed
    app.add(Tick(writer=0, turn=0))
    cursor = feed.last_commit()
    numbered, may_end = threading.Event(), threading.Event()

    def work(transaction: Any) -> None:
        transaction.append_commit(1.0, ('[["others","others_1","insert",null]]', *[None] * 7))
        with transaction.savepoint():  # it takes its number before
            numbered.set()
        assert may_end.wait(30)

    thread = threading.Thread(target=lambda: app.backend.engine.write(work))
    thread.start()
    assert numbered.wait(30)
    app.add(Tick(writer=1, turn=1))
    assert feed.read(cursor) == []
    may_end.set()
    thread.join()
    first, second = feed.read(cursor)
    assert (first.number < second.number, first.changes[0].id) == (True, "others_1")


def test_locked_values_settle_what_is_below() -> None:
    """The lowest locked value is settled, also if the values in locks have wrapped around."""
    size = 2**LOCK_BITS
    assert settled(10, []) == 10
    assert settled(10, [7, 9, 12]) == 7
    assert settled(size + 5, [size - 3, 4]) == size - 3


def test_documents_of_every_kind_are_in_the_feed(each_engine: str) -> None:
    """The feed has the changes of logged tables, and none of a table with `history=False`."""
    with deployed(Entry, Quiet) as app:
        app.add(Entry(name="a", raw=b"\x00", weight=float("inf")), Quiet(name="q"))
        app.add(Quiet(name="q2"))
        [commit] = app.backend.history.feed.changes(0)
        assert [change.table for change in commit.changes] == ["entries"]
        assert commit.changes[0].document == app.read(lambda db: db.query(Entry).first())


@POSTGRES_ONLY
def test_numbers_continue_after_a_move(tmp_path: Path) -> None:
    """Where commits came from another database, the next number follows them."""
    app = Deployment(Tick, folder=tmp_path)
    app.backend.migrate()
    app.add(Tick(writer=1, turn=1))
    app.add(Tick(writer=1, turn=2))
    app.backend.close()
    rows(tmp_path, "SELECT setval('_commits_number_seq', 0)")
    moved = Deployment(Tick, folder=tmp_path)
    moved.add(Tick(writer=1, turn=3))
    assert [commit.number for commit in moved.backend.history.feed.changes(0)] == [1, 2, 3]
    moved.backend.close()
