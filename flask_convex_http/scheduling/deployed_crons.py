"""The crons of a deployment: their declarations, their rows and their ticks, behind one object."""

from __future__ import annotations

from collections.abc import Callable

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.registry import Registry
from flask_convex_http.scheduling.cron_registration import CronRegistration
from flask_convex_http.scheduling.cron_status import CronStatus, cron_statuses
from flask_convex_http.scheduling.cron_ticks import CronTicks
from flask_convex_http.scheduling.crons import Crons
from flask_convex_http.scheduling.jobs import Jobs
from flask_convex_http.schema.documents import Schema


class DeployedCrons:
    """The crons of a deployment.

    Args:
        crons: The application's crons, or None.
        engine: The database.
        schema: All tables.
        functions: The functions that the crons run.
        jobs: The jobs that their ticks schedule.
        clock: Returns the current time in milliseconds since the epoch.

    Attributes:
        registration: Stores them as rows.
        ticks: Fires them.

    Raises:
        RegistrationError: A cron cannot run.
    """

    def __init__(
        self,
        crons: Crons | None,
        engine: Engine,
        schema: Schema,
        functions: Registry,
        jobs: Jobs,
        clock: Callable[[], float],
    ) -> None:
        if crons is not None and not isinstance(crons, Crons):
            raise RegistrationError(f"crons= takes a Crons(), not {crons!r}")
        self._crons = (Crons() if crons is None else crons).freeze()
        self._engine = engine
        self._schema = schema
        self._jobs = jobs
        self._clock = clock
        self.registration = CronRegistration(self._crons, schema, functions)
        self.registration.submissions()  # raises for a cron that cannot run
        self.ticks = CronTicks(self._crons, schema, jobs, functions)

    def register(self) -> None:
        """Change the crons in the database to match those of the application. Writes nothing if they match."""
        with self._engine.snapshot() as snapshot:
            if self.registration.is_current(snapshot):
                return
        now = self._clock()
        self._engine.write(lambda transaction: self.registration.register(transaction, CreationTimes(now), now))

    def fire(self) -> None:
        """Schedule the jobs of the crons that are due."""

        def work(transaction: Transaction) -> None:
            now = self._clock()
            self.ticks.fire(transaction, CreationTimes(now), now)

        self._engine.write(work)

    def statuses(self) -> list[CronStatus]:
        """Return each cron with its next tick and last run, and whether code and database agree on it."""
        with self._engine.snapshot() as snapshot:
            return cron_statuses(snapshot, self._schema, self._crons, self.registration, self._jobs)
