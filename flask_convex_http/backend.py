"""One deployment: settings, schema, functions, database and files, without a web framework.

The extension, the command line, workers and tests all come in here and share the rest.
"""

from __future__ import annotations

import secrets
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask_convex_http.config import Settings
from flask_convex_http.credentials import Credentials, UserIdentity
from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import open_engine
from flask_convex_http.engines.base import Engine, Snapshot, Transaction
from flask_convex_http.errors import MigrationRequiredError, RegistrationError
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.queue import PROCESS
from flask_convex_http.inbox.registry import Webhooks
from flask_convex_http.inbox.rejections import Rejections, folder_of
from flask_convex_http.once import OnceCalls
from flask_convex_http.operations.move.move import Move, Side
from flask_convex_http.operations.move.target import open_target
from flask_convex_http.rate_limits import RateLimits
from flask_convex_http.runtime.caller import Caller
from flask_convex_http.runtime.context import ActionCtx
from flask_convex_http.runtime.runtime import Runtime
from flask_convex_http.scheduling.cron_registration import CronRegistration
from flask_convex_http.scheduling.cron_status import CronStatus, cron_statuses
from flask_convex_http.scheduling.cron_ticks import CronTicks
from flask_convex_http.scheduling.crons import Crons
from flask_convex_http.scheduling.job_control import JobControl
from flask_convex_http.scheduling.jobs import POLL_SECONDS, Jobs
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import Migration, Step, plan
from flask_convex_http.schema.system_tables import DOCUMENTS, AccessToken, ApiKey, Setting
from flask_convex_http.signing import Signing
from flask_convex_http.storage.blobs import BlobStore, open_blobs
from flask_convex_http.storage.files import Files, Site

_SECRET_KEY = "secret"
#: What access tokens start with: the prefix of API keys and this letter.
_TOKEN_MARK = "t"

Functions = Iterable[str | types.ModuleType | Function[Any, Any]]


def system_clock() -> float:
    """Now, in milliseconds since the epoch."""
    return time.time() * 1000


class Backend:
    """One deployment. Making it opens nothing; the database is opened at first use.

    Args:
        settings: What the deployment sets.
        schema: The application's tables.
        functions: Its functions: modules, their names, or functions themselves.
        crons: What runs at certain times.
        webhooks: What its webhooks are; filled by its routers.
        folder: What relative paths in the settings are below.
        clock: Answers now, in milliseconds since the epoch.

    Raises:
        RegistrationError: A function's annotations do not fit the schema, two have one name, or a cron cannot run.
    """

    def __init__(
        self,
        settings: Settings,
        schema: Schema,
        functions: Functions = (),
        *,
        crons: Crons | None = None,
        webhooks: Webhooks | None = None,
        folder: Path,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        self.settings = settings
        self.schema = schema.extended(DOCUMENTS)
        self.clock = clock
        self._folder = folder
        self.functions = Registry(functions)
        self.functions.bind(self.schema)
        self.engine: Engine = open_engine(settings, self.schema, folder)
        self.blobs: BlobStore = open_blobs(settings, folder)
        self.signing = Signing(self._secret)
        self.files = Files(self.engine, self.schema, self.blobs, self.signing, clock)
        self.crons = _checked_crons(crons).freeze()
        #: What is to be done before the database is closed.
        self.before_close: list[Callable[[], None]] = []
        self.jobs = Jobs(self.schema, self._notify)
        self.job_control = JobControl(self.jobs, self.engine, clock)
        self.cron_registration = CronRegistration(self.crons, self.schema, self.functions)
        self.cron_registration.submissions()  # raises for a cron that cannot run
        self.ticks = CronTicks(self.crons, self.schema, self.jobs, self.functions)
        self.rate_limits = RateLimits(self.schema)
        self.once = OnceCalls(self.engine, self.schema, self.signing, clock)
        self.runtime = Runtime(
            self.schema,
            self.functions,
            self.engine,
            self.files,
            self.jobs,
            self.rate_limits,
            self.once,
            clock,
            _site(settings),
        )
        self.rejections = Rejections(_rejections_folder(settings, folder))
        self.webhooks = Webhooks() if webhooks is None else webhooks
        self.inbox = Inbox(self.runtime, self.webhooks)
        self.functions.add_own(PROCESS, self.inbox.queue.process_function())
        self.api_keys: Credentials[ApiKey] = self._credentials(ApiKey, settings.api_key_prefix)
        self.tokens: Credentials[AccessToken] = self._credentials(AccessToken, settings.api_key_prefix + _TOKEN_MARK)

    def ctx(self, identity: UserIdentity | None = None, *, site: Site = str) -> ActionCtx:
        """A ctx to run functions from, as in `backend.ctx().run_query(items.get, id=...)`.

        Args:
            identity: Who is calling.
            site: Answers what URLs start with, nothing by default; the setting CONVEX_SITE_URL comes first.
        """
        return self.runtime.action_ctx(self.caller(identity, site))

    def caller(self, identity: UserIdentity | None = None, site: Site = str) -> Caller:
        """The outermost caller."""
        return self.runtime.caller(identity, site)

    def run(self, name: str, arguments: Mapping[str, Any], *, identity: UserIdentity | None = None) -> Any:
        """Run a function of any kind by name, with arguments parsed from JSON.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            ArgumentValidationError: The arguments do not match.
        """
        function = self.functions.find(name)
        checked = function.check_arguments((), arguments, json=True)
        caller = self.caller(identity).deeper()
        if function.kind == "query":
            return self.runtime.query(function, checked, caller)
        if function.kind == "mutation":
            return self.runtime.mutation(function, checked, caller)
        return function.check_returns(function.handler(self.runtime.action_ctx(caller), **checked))

    def migrate(self, *, dry_run: bool = False, allow_destructive: bool = False) -> list[Step]:
        """Bring the database to the schema, in one transaction.

        Args:
            dry_run: Only try it, and undo it.
            allow_destructive: Also drop columns the schema no longer has.

        Returns:
            The steps that were taken (or would be).

        Raises:
            MigrationRefusedError: Data would be lost or does not fit; nothing was changed.
        """

        def decide(migration: Migration) -> list[Step]:
            return plan(self.schema, migration, allow_destructive=allow_destructive)

        steps = self.engine.migrate(decide, dry_run=dry_run)
        if not dry_run:
            self._make_secret()
        return steps

    def register_crons(self) -> None:
        """Bring the crons in the database to those of the application; nothing is written if they are the same."""
        with self.engine.snapshot() as snapshot:
            if self.cron_registration.is_current(snapshot):
                return
        now = self.clock()
        self.engine.write(lambda transaction: self.cron_registration.register(transaction, CreationTimes(now), now))

    def fire_crons(self) -> None:
        """Schedule what the crons that are due run."""

        def work(transaction: Transaction) -> None:
            now = self.clock()
            self.ticks.fire(transaction, CreationTimes(now), now)

        self.engine.write(work)

    def cron_statuses(self) -> list[CronStatus]:
        """Return each cron with its next tick and last run, and whether code and database agree on it."""
        with self.engine.snapshot() as snapshot:
            return cron_statuses(snapshot, self.schema, self.crons, self.cron_registration, self.jobs)

    @contextmanager
    def move(self, *, database_url: str | None, storage_url: str | None) -> Iterator[Move]:
        """Open a move of the deployment to another place, for a `with` statement.

        Args:
            database_url: The database to move to; None if the rows stay.
            storage_url: The blob store to move to; None if the files stay.

        Raises:
            MoveRefusedError: The deployment is there already, or a place is temporary.
        """
        there = replace(
            self.settings,
            database_url=self.settings.database_url if database_url is None else database_url,
            storage_url=self.settings.storage_url if storage_url is None else storage_url,
        )
        source = Side(self.engine, self.blobs, self.settings.storage(self._folder))
        with open_target(source, self.settings, there, self.schema, self._folder) as target:
            yield Move(self.schema, source, target, self.clock)

    def close(self) -> None:
        """Let go of everything that is open."""
        for callback in self.before_close:
            callback()
        self.engine.close()
        self.blobs.close()

    def _notify(self, due: float) -> None:
        """Wake the workers of other processes, unless they look by themselves before something is due."""
        if due < self.clock() + POLL_SECONDS * 1000:
            self.engine.notifications.notify()

    def _credentials(self, document: Any, prefix: str) -> Credentials[Any]:
        return Credentials(
            document, prefix, engine=self.engine, schema=self.schema, signing=self.signing, clock=self.clock
        )

    def _secret(self) -> str:
        """The secret that was set, or the one kept in the database."""
        if self.settings.secret is not None:
            return self.settings.secret
        with self.engine.snapshot() as snapshot:
            found = self._stored_secret(snapshot)
        if found is None:
            raise MigrationRequiredError(
                "The deployment has no secret yet; run `flask convex migrate` or set CONVEX_SECRET"
            )
        return found.value

    def _stored_secret(self, snapshot: Snapshot) -> Setting | None:
        table = self.schema.table_for(Setting)
        start = Query(snapshot, table, table.indexes["by_creation_time"])
        return start.with_index("by_key", key=_SECRET_KEY).unique()

    def _make_secret(self) -> None:
        def work(transaction: Transaction) -> None:
            if self._stored_secret(transaction) is None:
                made = Setting(key=_SECRET_KEY, value=secrets.token_urlsafe(32))
                insert(transaction, self.schema.table_for(Setting), made, CreationTimes(self.clock()))

        if self.settings.secret is None:
            self.engine.write(work)


def _checked_crons(crons: Crons | None) -> Crons:
    if crons is not None and not isinstance(crons, Crons):
        raise RegistrationError(f"crons= takes a Crons(), not {crons!r}")
    return Crons() if crons is None else crons


def _rejections_folder(settings: Settings, folder: Path) -> Path | None:
    """Return the folder beside the SQLite database, or the one of this machine with PostgreSQL."""
    location = settings.database(folder)
    if not location.is_sqlite:
        return None if settings.storage(folder).is_temporary else folder_of(folder / "convex")
    return None if location.path is None else folder_of(location.path)


def _site(settings: Settings) -> Site | None:
    return settings.site_url.__str__ if settings.site_url else None
