"""Live queries against a brute-force oracle: no update is missed, and few queries run for nothing."""

import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from flask_convex_http import Document, between, gte
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.engines import Snapshot
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.errors import UnavailableError
from flask_convex_http.sync.changes import Changes
from flask_convex_http.sync.live_queries import LiveQueries
from flask_convex_http.sync.read_sets import RecordingSnapshot
from flask_convex_http.sync.submissions import Call, Outcome, Ran, Round, Submission
from tests.child_processes import ROOT
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed
from tests.lengths import LONG, SAMPLED, repetitions

pytestmark = EACH_ENGINE

_TIMEOUT = 30.0
_VALUES = 40


class Score(Document, table="scores", indexes={"by_team": ["team", "points"], "by_points": ["points"]}):
    team: str
    points: int


class Draft(Document, table="drafts", history=False):
    text: str


class _Me(msgspec.Struct, frozen=True):
    key: str = "me"
    may_share: bool = True


def _read(db: DatabaseReader, kind: str, value: int) -> Any:
    """Run the query of a kind for a value."""
    if kind == "unlogged":
        return len(db.query(Draft).collect())
    scores = db.query(Score)
    if kind == "team":
        return scores.with_index("by_team", team=f"team {value}").collect()
    if kind == "range":
        return scores.with_index("by_points", points=between(value, value + 2)).collect()
    if kind == "top":
        return scores.with_index("by_team", team=f"team {value}").order("desc").take(2)
    return scores.with_index("by_points", points=gte(value)).filter(lambda score: score.team != "team 1").first()


_KINDS = ("team", "range", "top", "filter")


class Process:
    """The live queries of a process, and what its one client knows.

    Args:
        deployment: The deployment.
        engine: The database, by default that of the deployment.
    """

    def __init__(self, deployment: Deployment, engine: Any = None) -> None:
        self._deployment = deployment
        backend = deployment.backend
        engine = engine or backend.engine
        self.known: dict[int, bytes] = {}
        self.commit = -1
        self.tokens: list[Any] = []
        self.news = threading.Condition()
        self.live = LiveQueries(
            engine,
            Changes(engine, backend.schema),
            self._run,
            contextlib.nullcontext,
            self._receive,
        )
        self.live.start()

    def subscribe(self, calls: list[Call]) -> None:
        """Subscribe to queries, and wait for their results."""
        self.live.submit(Submission("client", _Me(), dict(enumerate(calls)), token="subscribed"))
        self.wait("subscribed")

    def wait(self, token: str) -> None:
        """Wait until a submission with a token was processed."""
        with self.news:
            assert self.news.wait_for(lambda: token in self.tokens, _TIMEOUT)

    def settle(self, token: str) -> None:
        """Wait until all commits so far are processed."""
        self.live.submit(Submission("client", _Me(), token=token))
        self.wait(token)

    def _receive(self, ended: Round) -> None:
        with self.news:
            update = ended.updates["client"]
            for query_id, outcome in update.results.items():
                assert outcome.value is not None
                self.known[query_id] = outcome.value
            assert ended.commit >= self.commit
            self.commit = ended.commit
            self.tokens += update.tokens
            self.news.notify_all()

    def _run(self, snapshot: Snapshot, call: Call, identity: Any, journal: str | None) -> Ran:
        recording = RecordingSnapshot(snapshot)
        value = encode_result(self._deployment, recording, call)
        return Ran(Outcome(value=value, digest=value), recording.read_set(), used_identity=False)


def encode_result(deployment: Deployment, snapshot: Any, call: Call) -> bytes:
    """Run the query of a call in a snapshot, and return its result as JSON."""
    backend = deployment.backend
    db = DatabaseReader(snapshot, backend.schema, (backend.runtime.cursors, ""))
    return msgspec.json.encode(_read(db, call.path, msgspec.json.decode(call.args)))


def write_some(db: DatabaseWriter, chance: random.Random) -> None:
    """Insert, change and delete a few documents."""
    for _ in range(chance.randint(1, 3)):
        found = db.query(Score).take(_VALUES)
        kind = chance.choice(["insert", "update", "delete"]) if found else "insert"
        team, points = f"team {chance.randrange(_VALUES)}", chance.randrange(_VALUES)
        if kind == "insert":
            db.insert(Score(team=team, points=points))
        elif kind == "update":
            fields = {"team": team} if chance.random() < 0.5 else {"points": points}
            db.patch(chance.choice(found).id, **fields)
        else:
            db.delete(chance.choice(found).id)


@pytest.fixture(name="deployment")
def _deployment(each_engine: str) -> Iterator[Deployment]:
    with deployed(Score, Draft) as deployment:
        yield deployment


@SAMPLED
def test_no_update_is_missed(deployment: Deployment) -> None:
    """After any writes of two threads, each query has the result of a new run."""
    calls = [Call(kind, msgspec.json.encode(value)) for kind in _KINDS for value in range(_VALUES)]
    process = Process(deployment)
    process.subscribe(calls)
    for number in range(repetitions("CONVEX_TEST_LIVE_ROUNDS", sample=6, whole=150)):
        writers = [
            threading.Thread(target=_write_often, args=(deployment, random.Random(2 * number + each)))
            for each in range(2)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        process.settle(f"round {number}")
        with deployment.backend.engine.snapshot() as snapshot:
            expected = {place: encode_result(deployment, snapshot, call) for place, call in enumerate(calls)}
        assert process.known == expected
    process.live.stop()


def test_few_queries_run_for_nothing(deployment: Deployment) -> None:
    """Of the runs for equality and range queries, fewer than 1 % have the result that they had before."""
    calls = [Call(kind, msgspec.json.encode(value)) for kind in ("team", "range") for value in range(_VALUES)]
    process = Process(deployment)
    process.subscribe(calls)
    first = process.live.statistics.runs
    chance = random.Random(1)
    for number in range(60):
        deployment.write(lambda db: write_some(db, chance))
        process.settle(f"write {number}")
    statistics = process.live.statistics
    process.live.stop()
    assert statistics.runs > first
    assert statistics.unchanged <= 0.01 * (statistics.runs - first)


@LONG
def test_tables_without_a_log_are_read_again(deployment: Deployment) -> None:
    """A query of a table without a commit log has each change of it after a while, also the last of several."""
    process = Process(deployment)
    process.subscribe([Call("unlogged", b"0")])
    for number in range(1, 4):
        deployment.add(Draft(text=str(number)))
    with process.news:
        assert process.news.wait_for(lambda: process.known[0] == b"3", _TIMEOUT)
    process.live.stop()


class FailingEngine:
    """A database that fails for some reads.

    Args:
        engine: The database behind it.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.failures = 0

    def snapshot(self) -> Any:
        """Open a snapshot, or fail."""
        if self.failures > 0:
            self.failures -= 1
            raise UnavailableError("The database cannot be read")
        return self._engine.snapshot()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@LONG
def test_a_failing_database_delays_results(deployment: Deployment) -> None:
    """Rounds that fail are tried again, and no change or subscription is lost with them."""
    engine = FailingEngine(deployment.backend.engine)
    process = Process(deployment, engine)
    engine.failures = 2
    process.subscribe([Call("team", b"1")])
    engine.failures = 2
    deployment.add(Score(team="team 1", points=1))
    with process.news:
        assert process.news.wait_for(lambda: len(msgspec.json.decode(process.known[0])) == 1, _TIMEOUT)
    process.live.stop()


@LONG
def test_commits_of_other_processes_are_not_missed(deployment: Deployment) -> None:
    """Queries have the results of commits that other processes make."""
    settings = deployment.backend.settings
    calls = [Call(kind, msgspec.json.encode(value)) for kind in _KINDS for value in range(_VALUES)]
    process = Process(deployment)
    process.subscribe(calls)
    engine: Any = deployment.backend.engine
    location = f"sqlite:///{engine.path}" if isinstance(engine, SQLiteEngine) else settings.database_url
    writers = [
        subprocess.Popen([sys.executable, "-m", "tests.sync.writer", location, str(seed)], cwd=ROOT)
        for seed in range(3)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    process.settle("end")
    with deployment.backend.engine.snapshot() as snapshot:
        expected = {place: encode_result(deployment, snapshot, call) for place, call in enumerate(calls)}
    assert any(value != b"[]" for value in expected.values())
    assert process.known == expected
    process.live.stop()


def _write_often(deployment: Deployment, chance: random.Random) -> None:
    for _ in range(3):
        deployment.write(lambda db: write_some(db, chance))
