"""Registration of crons when a worker starts, and the jobs of their ticks."""

import re
from datetime import time, timedelta
from typing import Any, cast

import pytest

from flask_convex_http import (
    MutationCtx,
    internal_mutation,
)
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.engines import Transaction
from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import MutationFunction
from flask_convex_http.scheduling import Crons
from flask_convex_http.schema.system_tables import CronJob, CronRun, ScheduledFunction
from tests.databases import EACH_ENGINE, memory_backend
from tests.scheduling.cron_processes import (
    DAY,
    FUNCTIONS,
    SCHEMA,
    Process,
    at,
    count,
    daily,
    every,
    process,
    send,
    sweep,
)

pytestmark = EACH_ENGINE

# --- registration ----------------------------------------------------------------------------------------------------


def test_new_crons_are_added() -> None:
    """A new cron gets a row with its function, its arguments and its first tick."""
    crons = every(300)
    crons.daily("send", time(9), "cron_processes:send", to="team")
    with process(crons) as (one, _):
        found = [(row.name, row.schedule, row.function, row.args, row.next_tick) for row in one.all(CronJob)]
        assert found == [
            ("sweep", "every 300 s", "cron_processes:sweep", {"limit": 3}, at("2026-01-01 08:00")),
            ("send", "0 9 * * * UTC", "cron_processes:send", {"to": "team"}, at("2026-01-01 09:00")),
        ]
        assert one.next_tick() == at("2026-01-01 08:00")


def test_unchanged_crons_are_not_written() -> None:
    """A start without changes writes nothing."""
    with process(every(300)) as (one, clock):
        one.fire()
        before = one.row()
        clock.advance(timedelta(hours=1))
        with one.backend.engine.snapshot() as snapshot:
            reading = cast(Transaction, snapshot)
            one.registration.register(reading, CreationTimes(), clock())
            with pytest.raises(AttributeError):
                Process(one.backend, every(301)).registration.register(reading, CreationTimes(), clock())
        assert one.row() == before


def test_changed_schedule_has_a_new_tick() -> None:
    """A cron with a changed schedule gets a new tick, and keeps its last run."""
    with process(daily(9)) as (one, clock):
        clock.set("2026-01-01 09:00")
        assert one.fire() == 1
        Process(one.backend, daily(12)).register()
        row = one.row()
        assert (row.schedule, row.next_tick) == ("0 12 * * * UTC", at("2026-01-01 12:00"))
        assert row.last_job == one.all(CronRun)[0].job


@pytest.mark.parametrize("limit", [4, True, 3.0, "3", None])
def test_changed_arguments_keep_the_tick(limit: Any) -> None:
    """Changed arguments keep the tick. Equal numbers of another type are a change."""
    with process(daily()) as (one, clock):
        crons = Crons()
        crons.daily("sweep", time(9), sweep, limit=limit)
        clock.set("2026-01-01 10:00")
        Process(one.backend, crons).register()
        row = one.row()
        assert (row.next_tick, repr(row.args)) == (at("2026-01-01 09:00"), repr({"limit": limit}))


def test_changed_function_keeps_the_tick() -> None:
    """A changed function keeps the tick."""
    with process(daily()) as (one, clock):
        crons = Crons()
        crons.daily("sweep", time(9), count)
        clock.set("2026-01-01 10:00")
        Process(one.backend, crons).register()
        row = one.row()
        assert (row.next_tick, row.function, row.args) == (at("2026-01-01 09:00"), "cron_processes:count", {})


def test_removed_crons_are_deleted() -> None:
    """A cron that was removed from the code does not fire any more."""
    crons = every(300)
    crons.interval("count", 300, count)
    with process(crons) as (one, _):
        less = Process(one.backend, every(300))
        less.register()
        assert [row.name for row in one.all(CronJob)] == ["sweep"]
        assert less.fire() == 1


def test_function_and_arguments_are_checked() -> None:
    """A cron of an unknown function, a query, or with wrong arguments is rejected."""

    @internal_mutation
    def unlisted(ctx: MutationCtx) -> None: ...

    def rejection(function: Any, **kwargs: Any) -> str:
        crons = Crons()
        crons.interval("x", 60, function, **kwargs)
        with pytest.raises(RegistrationError) as caught:
            Process(backend, crons).registration.submissions()
        return str(caught.value)

    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        assert rejection("cron_processes:swep").startswith("Cron 'x': Could not find function 'cron_processes:swep'")
        assert rejection("cron_processes:look").startswith("Cron 'x': cron_processes:look is a query")
        assert rejection(unlisted).startswith("Cron 'x': Could not find function 'test_cron_ticks:unlisted'")
        assert "functions= of ConvexHTTP" in rejection(unlisted)
        assert rejection(send, too="team").startswith("Cron 'x': cron_processes:send: Unknown field `too` - at `$.too`")
        assert re.fullmatch(r"Cron 'x': cron_processes:send: .+ - at `\$\.to`", rejection(send, to=3))
        assert rejection(sweep, limit=float("nan")).startswith("Cron 'x': cron_processes:sweep: the arguments must be")


def test_function_of_the_same_name() -> None:
    """A cron of a function that is not the registered one of its name is rejected."""

    def made() -> MutationFunction[[], None]:
        @internal_mutation
        def twin(ctx: MutationCtx) -> None: ...

        return twin

    crons = Crons()
    crons.interval("x", 60, made())
    with (
        memory_backend(SCHEMA) as backend,
        pytest.raises(
            RegistrationError, match=r"^Cron 'x': test_cron_ticks:twin is another function; add .*test_cron_ticks to"
        ),
    ):
        Process(backend, crons, (made(),)).registration.submissions()


# --- firing ----------------------------------------------------------------------------------------------------------


def test_tick_schedules_the_function() -> None:
    """A due tick schedules a job for the tick's time, and records it."""
    with process(daily()) as (one, clock):
        clock.set("2026-01-01 09:00")
        assert one.fire() == 1
        [job] = one.all(ScheduledFunction)
        tick = at("2026-01-01 09:00")
        assert (job.name, job.args, job.kind) == ("cron_processes:sweep", {"limit": 3}, "mutation")
        assert (job.state, job.scheduled_time, job.due) == ("pending", tick, tick)
        [run] = one.all(CronRun)
        assert (run.name, run.tick, run.job, run.skipped) == ("sweep", tick, job.id, 0)
        row = one.row()
        assert (row.next_tick, row.last_job) == (at("2026-01-02 09:00"), job.id)


def test_actions_are_fired_as_actions() -> None:
    """A cron of an action schedules an action."""
    crons = Crons()
    crons.interval("send", 60, send, to="team")
    with process(crons) as (one, _):
        one.fire()
        assert [(job.name, job.kind) for job in one.all(ScheduledFunction)] == [("cron_processes:send", "action")]


def test_nothing_fires_before_its_time() -> None:
    """No tick fires a millisecond before its time, and each fires once afterwards."""
    with process(daily()) as (one, clock):
        clock.set("2026-01-01 09:00")
        clock.advance(timedelta(milliseconds=-1))
        assert one.fire() == 0
        assert one.next_tick() == at("2026-01-01 09:00")
        clock.advance(timedelta(milliseconds=1))
        assert (one.fire(), one.fire()) == (1, 0)
        assert one.next_tick() == at("2026-01-02 09:00")


def test_without_crons_there_is_no_tick() -> None:
    """A process without crons has no next tick."""
    with process(Crons()) as (one, _):
        assert one.next_tick() is None
        assert one.fire() == 0


def test_late_cron_fires_once(caplog: pytest.LogCaptureFixture) -> None:
    """A late cron fires once, skips the ticks that it missed, and logs that."""
    with process(every(60)) as (one, clock):
        clock.advance(timedelta(minutes=5, seconds=30))
        assert one.fire() == 1
        [run] = one.all(CronRun)
        assert (run.tick, run.skipped) == (at("2026-01-01 08:00"), 5)
        assert one.next_tick() == at("2026-01-01 08:06")
        assert caplog.messages == ["Cron 'sweep' skipped 5 ticks after that of 2026-01-01 08:00:00+00:00: too late"]


@pytest.mark.parametrize("state", ["pending", "inProgress"])
def test_cron_whose_last_job_has_not_ended(state: str, caplog: pytest.LogCaptureFixture) -> None:
    """A cron whose last job has not ended skips its ticks and warns once."""
    crons = Crons()
    crons.interval("send", 60, send, to="team")
    with process(crons) as (one, clock):
        one.fire()
        if state == "inProgress":
            [job] = one.all(ScheduledFunction)
            one.backend.engine.write(
                lambda transaction: one.backend.jobs.start(transaction, job, clock(), "worker", clock() + DAY)
            )
        assert [job.state for job in one.all(ScheduledFunction)] == [state]
        clock.advance(timedelta(minutes=1))
        assert one.fire() == 0
        assert one.next_tick() == at("2026-01-01 08:02")
        clock.advance(timedelta(minutes=2))
        assert one.fire() == 0
        [job] = one.all(ScheduledFunction)
        assert caplog.messages == [f"Cron 'send': it skips its ticks until its last run ({job.id}) has ended"]
        one.end_jobs()
        clock.advance(timedelta(minutes=1))
        assert one.fire() == 1
        assert one.fired() == [at("2026-01-01 08:00"), at("2026-01-01 08:04")]


def test_cron_whose_last_job_was_canceled() -> None:
    """A canceled job does not block its cron."""
    with process(every(60)) as (one, clock):
        one.fire()
        [job] = one.all(ScheduledFunction)
        one.backend.engine.write(lambda transaction: one.backend.jobs.cancel(transaction, job.id, clock()))
        clock.advance(timedelta(minutes=1))
        assert one.fire() == 1


def test_cron_whose_last_job_was_purged() -> None:
    """A purged job does not block its cron."""
    with process(every(60)) as (one, clock):
        one.fire()
        one.end_jobs()
        clock.advance(timedelta(minutes=1))
        assert one.backend.engine.write(lambda transaction: one.backend.jobs.purge(transaction, clock(), 10)) == 1
        assert one.fire() == 1


# --- old ticks -------------------------------------------------------------------------------------------------------


def test_old_ticks_are_purged() -> None:
    """Records of old ticks are purged, a limited number at a time."""
    with process(every(60)) as (one, clock):
        for _ in range(5):
            one.fire()
            one.end_jobs()
            clock.advance(timedelta(minutes=1))

        def swept(before: str, limit: int) -> int:
            return one.backend.engine.write(lambda transaction: one.ticks.purge(transaction, at(before), limit))

        assert swept("2026-01-01 08:00", 10) == 0
        assert swept("2026-01-01 08:03", 2) == 2
        assert swept("2026-01-01 08:03", 2) == 1
        assert one.fired() == [at("2026-01-01 08:03"), at("2026-01-01 08:04")]
