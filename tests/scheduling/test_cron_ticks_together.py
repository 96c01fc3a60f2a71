"""Each tick fires once, with several processes and with clocks that jump."""

import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.backend import Backend
from flask_convex_http.scheduling import Crons
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY, rows, settings_in
from tests.lengths import LONG
from tests.scheduling.cron_processes import (
    DAY,
    FUNCTIONS,
    MINUTE,
    SCHEMA,
    Process,
    at,
    count,
    daily,
    every,
    process,
    sweep,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

# --- clocks that jump ------------------------------------------------------------------------------------------------


def test_clock_set_back_fires_no_tick_twice() -> None:
    """A tick does not fire again when the clock shows its time a second time."""
    with process(daily()) as (one, clock):
        clock.set("2026-01-01 09:00")
        assert one.fire() == 1
        one.end_jobs()
        clock.set("2026-01-01 07:00")
        assert one.fire() == 0
        assert one.next_tick() == at("2026-01-01 09:00")
        clock.set("2026-01-01 09:00")
        assert one.fire() == 0
        assert one.next_tick() == at("2026-01-02 09:00")
        clock.set("2026-01-02 09:00")
        assert one.fire() == 1
        assert one.fired() == [at("2026-01-01 09:00"), at("2026-01-02 09:00")]


@pytest.mark.parametrize("crons", [every(60), daily(8)])
def test_clock_set_forward_fires_once(crons: Crons) -> None:
    """A cron fires once when the clock jumps a year ahead, and continues there."""
    with process(crons, "2026-01-01 07:59") as (one, clock):
        clock.set("2027-01-01 08:00")
        assert (one.fire(), one.fire()) == (1, 0)
        one.end_jobs()
        tick = one.next_tick()
        assert tick is not None
        assert clock() < tick <= clock() + DAY
        clock.advance(timedelta(milliseconds=tick - clock()))
        assert one.fire() == 1


@pytest.mark.parametrize("crons", [every(60), daily(8)])
def test_clock_set_back_a_year(crons: Crons, caplog: pytest.LogCaptureFixture) -> None:
    """A cron continues when a clock that was a year ahead is corrected, and logs that."""
    with process(crons, "2027-01-01 08:00") as (one, clock):
        clock.advance(timedelta(days=1))
        one.fire()
        one.end_jobs()
        assert one.next_tick() == one.row().next_tick
        caplog.clear()
        now = clock.set("2026-01-01 08:00")
        assert one.next_tick() == now
        assert one.fire() == 0
        tick = one.next_tick()
        assert tick is not None
        assert now < tick <= now + DAY
        [message] = caplog.messages
        assert message.startswith("Cron 'sweep' was to fire at 2027-01-0")
        assert "was the clock set back? It fires at 2026-01-0" in message
        clock.advance(timedelta(milliseconds=tick - now))
        assert one.fire() == 1


def test_restart_after_the_clock_was_set_back() -> None:
    """A process that starts after the clock was set back computes the tick again, too."""
    with process(every(60), "2027-01-01 08:00") as (one, clock):
        one.fire()
        one.end_jobs()
        now = clock.set("2026-01-01 08:00")
        other = Process(one.backend, every(60))
        other.register()
        assert other.next_tick() == now
        other.fire()
        assert other.next_tick() == now + MINUTE


def test_small_correction_of_the_clock() -> None:
    """A correction of the clock by some seconds keeps the next tick."""
    with process(daily()) as (one, clock):
        clock.set("2026-01-01 09:00")
        one.fire()
        one.end_jobs()
        clock.advance(timedelta(seconds=-30))
        assert one.fire() == 0
        assert one.next_tick() == at("2026-01-02 09:00")


def test_job_of_a_wrong_clock_is_canceled() -> None:
    """A job that waits for a time of a wrong clock is canceled, and its cron fires."""
    with process(every(60), "2027-01-01 08:00") as (one, clock):
        one.fire()
        clock.set("2026-01-01 08:00")
        one.fire()
        clock.advance(timedelta(minutes=1))
        assert one.fire() == 1
        states = {job.scheduled_time: job.state for job in one.all(ScheduledFunction)}
        assert states == {at("2027-01-01 08:00"): "canceled", at("2026-01-01 08:01"): "pending"}


@SQLITE_ONLY
@settings(max_examples=30, deadline=None)
@given(
    crons=st.sampled_from([every(60), every(7 * 3600), daily(8)]),
    moves=st.lists(
        st.tuples(st.floats(-3 * DAY, 3 * DAY) | st.floats(-MINUTE, 60 * MINUTE), st.booleans()), max_size=15
    ),
)
def test_however_the_clock_moves(crons: Crons, moves: list[tuple[float, bool]]) -> None:
    """No movement of the clock fires a tick early or twice, or puts one out of reach."""
    [cron] = crons
    with process(crons) as (one, clock):
        for by, ends in moves:
            clock.advance(timedelta(milliseconds=by))
            before = set(one.fired())
            count = one.fire()
            new = set(one.fired()) - before
            assert count == len(new) <= 1
            assert all(tick <= clock() for tick in new)
            assert clock() < one.row().next_tick <= cron.schedule.next(clock() + MINUTE)
            if ends:
                one.end_jobs()
        assert len(one.fired()) == len(one.all(ScheduledFunction))


# --- several processes -----------------------------------------------------------------------------------------------


def test_cron_with_another_schedule_is_left_to_others() -> None:
    """An old process does not fire a cron whose schedule a newer one has changed."""
    with process(daily()) as (old, clock):
        new = Process(old.backend, every(60))
        new.register()
        clock.advance(timedelta(days=3))
        assert (old.next_tick(), old.fire()) == (None, 0)
        assert new.fire() == 1


def test_cron_with_another_function_is_fired_as_the_row_says() -> None:
    """An old process fires a changed cron as its row says, if it has the function."""
    with process(every(60)) as (old, _):
        crons = Crons()
        crons.interval("sweep", 60, sweep, limit=99)
        Process(old.backend, crons).register()
        assert old.fire() == 1
        assert [job.args for job in old.all(ScheduledFunction)] == [{"limit": 99}]


def test_unknown_function_is_left_to_others(caplog: pytest.LogCaptureFixture) -> None:
    """A process leaves a cron whose function it does not have, and warns once."""
    with process(every(60)) as (one, clock):
        crons = Crons()
        crons.interval("sweep", 60, count)
        new = Process(one.backend, crons)
        new.register()
        old = Process(one.backend, every(60), (sweep,))
        for _ in range(3):
            assert (old.next_tick(), old.fire()) == (None, 0)
            clock.advance(timedelta(minutes=1))
        assert caplog.messages == [
            "Cron 'sweep': cron_processes:count is not a mutation or action here, and is left to a process that has it"
        ]
        assert new.fire() == 1


def test_many_threads_fire_a_tick_once(tmp_path: Path) -> None:
    """Several threads that see a due tick at the same time fire it once."""
    threads, rounds = 6, 10
    clock = Clock()
    fired: list[int] = []
    backend = Backend(settings_in(tmp_path), SCHEMA, FUNCTIONS, folder=tmp_path, clock=clock)
    with closing(backend):
        backend.migrate()
        processes = [Process(backend, every(60)) for _ in range(threads)]
        processes[0].register()

        def end_round() -> None:
            processes[0].end_jobs()
            clock.advance(timedelta(minutes=1))

        together = threading.Barrier(threads, timeout=60)
        rest = threading.Barrier(threads, action=end_round, timeout=60)

        def work(one: Process) -> None:
            for _ in range(rounds):
                together.wait()
                fired.append(one.fire())
                rest.wait()

        running = [threading.Thread(target=work, args=(one,)) for one in processes]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert len(fired) == threads * rounds
        assert sum(fired) == rounds == len(set(processes[0].fired()))


PROGRAM = """
import sys, time
from pathlib import Path
from flask_convex_http import Schema, internal_mutation
from flask_convex_http.backend import Backend
from flask_convex_http.scheduling import Crons
from flask_convex_http.database.creation_times import CreationTimes
from tests.databases import settings_in

@internal_mutation
def tidy(ctx) -> None: ...

crons = Crons()
crons.interval("tidy", 0.02, tidy)
folder = Path(sys.argv[1])
backend = Backend(settings_in(folder), Schema(), [tidy], crons=crons, folder=folder)
start = backend.clock()

def step(transaction):
    now = backend.clock()
    for job in backend.jobs.claim_due(transaction, "mutation", now, 10):
        backend.jobs.succeed(transaction, job, now)
    return backend.crons.ticks.fire(transaction, CreationTimes(now), now)

backend.engine.write(lambda transaction: backend.crons.registration.register(transaction, CreationTimes(start), start))
print("ready", flush=True)
sys.stdin.readline()
fired, end = 0, time.monotonic() + 1
while time.monotonic() < end:
    fired += backend.engine.write(step)
    time.sleep(0.002)
print(fired)
backend.close()
"""


@LONG
def test_many_processes_fire_a_tick_once(tmp_path: Path) -> None:
    """Several processes fire each tick once, and each firing is one job."""
    with closing(Backend(settings_in(tmp_path), SCHEMA, folder=tmp_path)) as backend:
        backend.migrate()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    fired = [int(one.communicate("go\n", timeout=60)[0]) for one in running]
    assert [one.returncode for one in running] == [0, 0, 0]
    [[runs, ticks, jobs]] = rows(tmp_path, "SELECT count(*), count(DISTINCT tick), count(DISTINCT job) FROM _cron_runs")
    [[scheduled]] = rows(tmp_path, "SELECT count(*) FROM _scheduled_functions")
    assert sum(fired) == runs == ticks == jobs == scheduled
    assert runs >= 5
