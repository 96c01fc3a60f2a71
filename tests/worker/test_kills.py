"""Kill -9 at random moments, of processes that schedule jobs and of processes that run them.

WORKER_KILLS is the number of kills, CRASH_SEED repeats the random choices. The moments depend on the machine.
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
from tests.lengths import SAMPLED, repetitions
from tests.worker import job_processes
from tests.worker.workers import all_jobs

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES, SAMPLED]

KILLS = repetitions("WORKER_KILLS", sample=6, whole=30)
#: An action with a retry that runs when all processes are killed, and one without that can still succeed.
_NEEDED = (
    "SELECT count(*) FROM _scheduled_functions WHERE name LIKE '%:act_with_retry' AND state = 'inProgress'",
    "SELECT count(*) FROM _scheduled_functions WHERE name LIKE '%:act_once' AND state IN ('pending', 'success')",
)
#: Seconds until all jobs have ended after the last kill.
TIMEOUT = 60.0


@contextmanager
def running_processes(nursery: job_processes.JobProcesses, folder: Path) -> Iterator[list[tuple[str, Worker]]]:
    """Run three processes with workers and two that schedule jobs, and kill all of them at the end."""
    tasks = ["run", "run", "run", "schedule_batches", "schedule_batches"]
    processes = [(task, nursery.start(task, folder=str(folder))) for task in tasks]
    try:
        yield processes
    finally:
        for _, process in processes:
            process.kill()
        for _, process in processes:
            process.wait()


def kill_processes(nursery: job_processes.JobProcesses, folder: Path, random: Random) -> None:
    """Kill processes one by one or all at once, and replace them, until enough jobs were scheduled and one was lost."""
    killed = 0
    while (
        killed < KILLS
        or scalar(folder, "SELECT count(*) FROM batches") <= KILLS
        or not all(scalar(folder, sql) for sql in _NEEDED)
    ):
        with running_processes(nursery, folder) as processes:
            for _ in range(random.randint(1, 6)):
                time.sleep(random.choice((0.6, 0.1)) * random.random())
                place = random.randrange(len(processes))
                task, victim = processes[place]
                victim.kill()
                victim.wait()
                processes[place] = (task, nursery.start(task, folder=str(folder)))
                killed += 1
            time.sleep(0.3 * random.random())
        killed += len(processes)


def wait_until_all_ended(backend: Backend) -> list[ScheduledFunction]:
    """Wait until no job is pending or in progress, and return all jobs."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        found = all_jobs(backend)
        if all(job.completed_time is not None for job in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"Stuck: {[job for job in all_jobs(backend) if job.completed_time is None][:5]}")


def effects(folder: Path) -> Counter[str]:
    """Count the effects by key."""
    return Counter(key for (key,) in stored_rows(folder, "SELECT key FROM effects"))


def scalar(folder: Path, sql: str) -> int:
    """Return the only value of a statement."""
    [[value]] = stored_rows(folder, sql)
    return int(value)


def jobs_of(jobs: list[ScheduledFunction], name: str) -> dict[str, ScheduledFunction]:
    """Return the jobs of one function by their key."""
    return {str(job.args["key"]): job for job in jobs if job.name == f"job_processes:{name}"}


def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """Kills lose no job and repeat no mutation.

    A job that a committed mutation scheduled is there and runs. A scheduled mutation has its effect once. An action
    starts at most once, an action with a retry at least once, with one token and never twice at the same time. Each
    attempt has an outcome, and no job is stuck.
    """
    seed = os.environ.get("CRASH_SEED") or str(SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    outside = tmp_path / "outside"
    outside.mkdir()
    with closing(job_processes.open_backend(tmp_path)) as backend:
        backend.migrate()
        with closing(job_processes.JobProcesses(outside)) as nursery:
            kill_processes(nursery, tmp_path, Random(seed))
            last = nursery.start("run", folder=str(tmp_path))
            try:
                jobs = wait_until_all_ended(backend)
            finally:
                last.kill()
                last.wait()
        done = effects(tmp_path)
        orders = scalar(tmp_path, "SELECT count(*) FROM batches")
        check_mutations(tmp_path, jobs, done, orders)
        notes = [line.split() for line in (outside / "notes").read_text().splitlines()]
        check_actions(jobs_of(jobs, "act_once"), notes, done, orders)
        check_retried_actions(jobs_of(jobs, "act_with_retry"), notes, done, orders)
        assert backend.engine.check() == []


def check_mutations(folder: Path, jobs: list[ScheduledFunction], done: Counter[str], orders: int) -> None:
    """Check that each mutation ran exactly once, and is recorded as successful."""
    numbers = range(orders)
    expected = {f"{name}-{number}" for name in ("now", "later") for number in numbers}
    expected |= {f"chain-{chain}-{number}" for chain in numbers for number in range(job_processes.LINKS)}
    found = {key: count for key, count in done.items() if key.startswith(("now-", "later-", "chain-"))}
    assert found == dict.fromkeys(expected, 1)
    assert scalar(folder, "SELECT total FROM counters") == done.total()
    assert {job.state for job in jobs if job.kind == "mutation"} == {"success"}
    assert len([job for job in jobs if job.kind == "mutation"]) == len(expected)


def check_actions(jobs: dict[str, ScheduledFunction], notes: list[list[str]], done: Counter[str], orders: int) -> None:
    """Check that each action ran at most once, and failed if its worker died before its end."""
    starts = Counter(key for event, key, _, _ in notes if event == "start" and key.startswith("act_once-"))
    assert set(jobs) == {f"act_once-{number}" for number in range(orders)}
    assert starts.keys() <= jobs.keys()
    assert set(starts.values()) == {1}
    for key, job in jobs.items():
        [attempt] = job.attempts
        assert (job.state, attempt.outcome) in [("success", "success"), ("failed", "lost")], job
        assert done[key] == 1 if job.state == "success" else done[key] <= 1
    assert Counter(job.state for job in jobs.values())["success"] > 0


def check_retried_actions(
    jobs: dict[str, ScheduledFunction], notes: list[list[str]], done: Counter[str], orders: int
) -> None:
    """Check that each action with a retry ran at least once, one attempt after another."""
    assert set(jobs) == {f"act_with_retry-{number}" for number in range(orders)}
    assert [note for note in notes if note[0] == "overlap"] == []
    begun = [(key, int(attempt), token) for _, key, attempt, token in notes if key.startswith("act_with_retry-")]
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
