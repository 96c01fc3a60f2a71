"""Kill -9 of processes in the middle of writes: the commit log has every change of the documents, and nothing else.

HISTORY_KILLS is the number of kills. CRASH_SEED repeats the random choices, but not their timing.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Row, Snapshot
from flask_convex_http.history.as_of import PastRow
from flask_convex_http.history.commit_keys import entries_of
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.values import decode_values
from flask_convex_http.schema.history_tables import COMMIT_KEYS, COMMITS
from flask_convex_http.schema.index_ranges import Segment
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.history.writers import Account, Writers, open_backend
from tests.killing import seeded_random
from tests.lengths import SAMPLED, repetitions

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES, SAMPLED]

KILLS = repetitions("HISTORY_KILLS", sample=3, whole=40)
#: The processes that write.
PROCESSES = 2
#: Commits that must be made between two kills.
COMMITS_BETWEEN = 10


class Copy(NamedTuple):
    """A copy of all documents, and the numbers of the commits that are in it."""

    documents: dict[str, Account]
    numbers: frozenset[int]


def test_kills_leave_the_log_whole(tmp_path: Path) -> None:
    """After kills, the log leads back from the documents of now to each copy taken on the way, and to no document.

    Every change has its commit, no number hides one, and a reader that followed the feed has seen each commit once.
    """
    random = seeded_random()
    with closing(open_backend(tmp_path)) as backend:
        backend.migrate()
        with following(backend) as followed:
            copies = kill_writers(backend, tmp_path, random)
        while backend.history.index():
            pass
        with backend.engine.snapshot() as snapshot:
            check_numbers(backend, snapshot)
            changes = list(HistoryReader(snapshot, backend.schema).changes_since(0))
            check_versions(backend, snapshot, changes)
            for copy in [*copies, Copy({}, frozenset())]:
                assert rebuilt(backend, snapshot, changes, copy.numbers) == copy.documents
            check_index(backend, snapshot)
        assert followed == sorted({change.number for change in changes})
        assert backend.engine.check() == []


def kill_writers(backend: Backend, folder: Path, random: Random) -> list[Copy]:
    """Kill processes while they write, replace them, and return copies of the documents taken on the way."""
    copies: list[Copy] = []
    with closing(Writers(folder / "writers.log")) as nursery:
        processes = [nursery.start("write", folder=str(folder), seed=number) for number in range(PROCESSES)]
        try:
            for started in range(PROCESSES, PROCESSES + KILLS):
                wait_for_commits(backend)
                copies.append(take_copy(backend))
                time.sleep(0.02 * random.random())
                place = random.randrange(PROCESSES)
                processes[place].kill()
                processes[place].wait()
                copies.append(take_copy(backend))
                processes[place] = nursery.start("write", folder=str(folder), seed=started)
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()
    return copies


def wait_for_commits(backend: Backend) -> None:
    """Wait until some commits were made."""
    end, before = time.monotonic() + 60, backend.history.feed.last_commit()
    while backend.history.feed.last_commit() < before + COMMITS_BETWEEN:
        assert time.monotonic() < end, "The processes do not write"
        time.sleep(0.005)


def take_copy(backend: Backend) -> Copy:
    """Return the documents and the numbers of the commits in one snapshot."""
    table = backend.schema.table_for(Account)
    with backend.engine.snapshot() as snapshot:
        rows = snapshot.select(table, Segment(()), descending=False, limit=None)
        numbers = frozenset(row[2] for row in commit_rows(backend, snapshot))
    return Copy({row[0]: table.read(row) for row in rows}, numbers)


def commit_rows(backend: Backend, snapshot: Snapshot) -> list[Row]:
    """Return the rows of all commits."""
    return snapshot.select(backend.schema.tables[COMMITS], Segment(()), descending=False, limit=None)


@contextmanager
def following(backend: Backend) -> Iterator[list[int]]:
    """Follow the feed in a thread, and yield the list of the numbers of its commits, which is whole after the block."""
    numbers: list[int] = []
    is_over = threading.Event()

    def follow() -> None:
        while True:
            ends = is_over.is_set()  # before the read, which then has every commit
            for commit in backend.history.feed.changes(numbers[-1] if numbers else 0):
                numbers.append(commit.number)
            if ends:
                return
            time.sleep(0.001)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield numbers
    finally:
        is_over.set()
        thread.join()


def rebuilt(
    backend: Backend, snapshot: Snapshot, changes: list[LoggedChange], numbers: frozenset[int]
) -> dict[str, Account]:
    """Return the documents of now without the changes of all other commits."""
    table = backend.schema.table_for(Account)
    ids = {change.document_id for change in changes}
    rows = {document_id: PastRow(table, document_id, snapshot.get(table, document_id)) for document_id in ids}
    for change in changes:
        if change.number not in numbers:
            rows[change.document_id].undo_logged(change)
    return {document_id: row.document() for document_id, row in rows.items() if row.values is not None}


def check_numbers(backend: Backend, snapshot: Snapshot) -> None:
    """Check that each commit has changes and, on SQLite, that the numbers have no hole."""
    rows = commit_rows(backend, snapshot)
    assert all(row[3] != "[]" for row in rows)
    if backend.engine.settled_commit() is None:
        assert [row[2] for row in rows] == list(range(1, len(rows) + 1))


def check_versions(backend: Backend, snapshot: Snapshot, changes: list[LoggedChange]) -> None:
    """Check that the log has as many changes of each document as the document has counted."""
    table = backend.schema.table_for(Account)
    counted = Counter(change.document_id for change in changes if change.operation != "delete")
    versions = {
        change.document_id: decode_values(table, change.before)["version"]
        for change in changes
        if change.operation == "delete" and change.before is not None
    }
    rows = snapshot.select(table, Segment(()), descending=False, limit=None)
    assert counted == versions | {row[0]: table.read(row).version for row in rows}


def check_index(backend: Backend, snapshot: Snapshot) -> None:
    """Check that the index has exactly the entries of all commits."""
    entries = snapshot.select(backend.schema.tables[COMMIT_KEYS], Segment(()), descending=False, limit=None)
    assert {row[0] for row in entries} == {entry for row in commit_rows(backend, snapshot) for entry in entries_of(row)}
