"""Kill -9 at random moments, again and again, of those who schedule and of those who run what is scheduled.

WORKER_KILLS says how many processes are killed, CRASH_SEED repeats the random choices; the moments are the machine's.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random, SystemRandom

from flask_convex_http.backend import Backend
from flask_convex_http.schema.system_tables import ScheduledFunction
from tests.crash.nursery import Worker
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.databases import rows as stored_rows
from tests.worker import shifts
from tests.worker.runs import rows

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

KILLS = int(os.environ.get("WORKER_KILLS", "12"))
#: Seconds until all that was scheduled has ended, once nobody is killed any more.
PATIENCE = 60.0


@contextmanager
def at_work(nursery: shifts.Shifts, folder: Path) -> Iterator[list[tuple[str, Worker]]]:
    """Three processes that run what is scheduled and two that schedule; all are killed in the end."""
    tasks = ["run", "run", "run", "place_orders", "place_orders"]
    crew = [(task, nursery.start(task, folder=str(folder))) for task in tasks]
    try:
        yield crew
    finally:
        for _, process in crew:
            process.kill()
        for _, process in crew:
            process.wait()


def kill_often(nursery: shifts.Shifts, folder: Path, random: Random) -> None:
    """Kill one after another, or all at once; others take their places, until enough was scheduled meanwhile."""
    killed = 0
    while killed < KILLS or scalar(folder, "SELECT count(*) FROM orders") <= KILLS:
        with at_work(nursery, folder) as crew:
            for _ in range(random.randint(1, 6)):
                time.sleep(random.choice((0.6, 0.1)) * random.random())
                place = random.randrange(len(crew))
                task, victim = crew[place]
                victim.kill()
                victim.wait()
                crew[place] = (task, nursery.start(task, folder=str(folder)))
                killed += 1
            time.sleep(0.3 * random.random())
        killed += len(crew)


def wait_until_all_has_ended(backend: Backend) -> list[ScheduledFunction]:
    """Wait until nothing is pending or in progress, and answer all rows."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = rows(backend)
        if all(job.completed_time is not None for job in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"Stuck: {[job for job in rows(backend) if job.completed_time is None][:5]}")


def effects(folder: Path) -> Counter[str]:
    """How often each effect is there."""
    return Counter(key for (key,) in stored_rows(folder, "SELECT key FROM effects"))


def scalar(folder: Path, sql: str) -> int:
    """The only value that a statement answers."""
    [[value]] = stored_rows(folder, sql)
    return int(value)


def of(jobs: list[ScheduledFunction], name: str) -> dict[str, ScheduledFunction]:
    """The rows of one function by their key."""
    return {str(job.args["key"]): job for job in jobs if job.name == f"shifts:{name}"}


def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """Whoever is killed and when: what a mutation scheduled is there if the mutation is, and runs; a scheduled mutation
    has its effect once; an action is begun at most once, one with a retry at least once, never twice at the same time,
    with one token; every attempt has an outcome; and nothing is stuck."""
    seed = os.environ.get("CRASH_SEED") or str(SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    outside = tmp_path / "outside"
    outside.mkdir()
    with closing(shifts.open_shop(tmp_path)) as backend:
        backend.migrate()
        with closing(shifts.Shifts(outside)) as nursery:
            kill_often(nursery, tmp_path, Random(seed))
            last = nursery.start("run", folder=str(tmp_path))
            try:
                jobs = wait_until_all_has_ended(backend)
            finally:
                last.kill()
                last.wait()
        done = effects(tmp_path)
        orders = scalar(tmp_path, "SELECT count(*) FROM orders")
        judge_mutations(tmp_path, jobs, done, orders)
        notes = [line.split() for line in (outside / "notes").read_text().splitlines()]
        judge_actions(of(jobs, "act"), notes, done, orders)
        judge_insistent_actions(of(jobs, "insist"), notes, done, orders)
        assert backend.engine.check() == []


def judge_mutations(folder: Path, jobs: list[ScheduledFunction], done: Counter[str], orders: int) -> None:
    """Each exactly once, with its completion."""
    numbers = range(orders)
    expected = {f"{name}-{number}" for name in ("now", "later") for number in numbers}
    expected |= {f"chain-{chain}-{number}" for chain in numbers for number in range(shifts.LINKS)}
    found = {key: count for key, count in done.items() if key.startswith(("now-", "later-", "chain-"))}
    assert found == dict.fromkeys(expected, 1)
    assert scalar(folder, "SELECT total FROM counters") == done.total()
    assert {job.state for job in jobs if job.kind == "mutation"} == {"success"}
    assert len([job for job in jobs if job.kind == "mutation"]) == len(expected)


def judge_actions(jobs: dict[str, ScheduledFunction], notes: list[list[str]], done: Counter[str], orders: int) -> None:
    """Each at most once: those that had not ended when their worker died have failed."""
    starts = Counter(key for event, key, _, _ in notes if event == "start" and key.startswith("act-"))
    assert set(jobs) == {f"act-{number}" for number in range(orders)}
    assert starts.keys() <= jobs.keys()
    assert set(starts.values()) == {1}
    for key, job in jobs.items():
        [attempt] = job.attempts
        assert (job.state, attempt.outcome) in [("success", "success"), ("failed", "lost")], job
        assert done[key] == 1 if job.state == "success" else done[key] <= 1
    assert Counter(job.state for job in jobs.values())["success"] > 0


def judge_insistent_actions(
    jobs: dict[str, ScheduledFunction], notes: list[list[str]], done: Counter[str], orders: int
) -> None:
    """Each at least once, one attempt after another."""
    assert set(jobs) == {f"insist-{number}" for number in range(orders)}
    assert [note for note in notes if note[0] == "overlap"] == []
    begun = [(key, int(attempt), token) for _, key, attempt, token in notes if key.startswith("insist-")]
    assert len(begun) == len(set(begun))
    for key, job in jobs.items():
        assert job.state == "success", job
        *lost, last = job.attempts
        assert ({attempt.outcome for attempt in lost} <= {"lost"}, last.outcome) == (True, "success"), job
        assert all(attempt.ended is not None and attempt.started <= attempt.ended for attempt in job.attempts), job
        assert (key, len(job.attempts), job.id) in begun
        assert {token for other, _, token in begun if other == key} == {job.id}
        assert 1 <= done[key] <= len(job.attempts)
    assert any(len(job.attempts) > 1 for job in jobs.values())
