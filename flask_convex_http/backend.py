"""One deployment: settings, schema, functions, database and files, without a web framework.

The extension, the command line, workers and tests all enter here.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from flask_convex_http.config import Settings
from flask_convex_http.credentials import AdminKeys, Credentials
from flask_convex_http.credentials.deployment_secret import DeploymentSecret
from flask_convex_http.database.limits import Limits
from flask_convex_http.database.page_cursors import PageCursors
from flask_convex_http.durations import DeploymentClock
from flask_convex_http.durations import system_clock as system_clock
from flask_convex_http.engines import Engine
from flask_convex_http.engines.factory import open_engine, open_log_store
from flask_convex_http.errors import MigrationRefusedError
from flask_convex_http.functions.description import FunctionDescription, describe_function
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.history.coverage import CommitLogs
from flask_convex_http.history.history import History
from flask_convex_http.idempotency.idempotent_requests import IdempotentRequests
from flask_convex_http.identities import AuthProvider, UserIdentity, token_checks
from flask_convex_http.inbox.check import check_webhooks
from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.queue import PROCESS
from flask_convex_http.inbox.registry import Webhooks
from flask_convex_http.inbox.rejections import Rejections, rejections_folder
from flask_convex_http.logs import Logs
from flask_convex_http.once import OnceCalls
from flask_convex_http.operations import (
    Check,
    DeploymentBackups,
    Findings,
    Progress,
    TableReader,
    UnattachedFiles,
    Undo,
    describe_exposed,
    migrate,
)
from flask_convex_http.operations.calls import run_function, try_mutation
from flask_convex_http.operations.move import Move, Side, open_move
from flask_convex_http.rate_limits import RateLimits
from flask_convex_http.runtime import ActionCtx, Auth, Caller, Runtime
from flask_convex_http.runtime.dry_run import DryRun
from flask_convex_http.scheduling import (
    POLL_SECONDS,
    Crons,
    DeployedCrons,
    JobControl,
    JobRequests,
    Jobs,
)
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import MigrationStep
from flask_convex_http.schema.system_tables import DOCUMENTS, AccessToken, ApiKey
from flask_convex_http.signing import Signing
from flask_convex_http.storage.blobs import BlobStore, open_blobs
from flask_convex_http.storage.files import Files, Site, unknown_site
from flask_convex_http.telemetry import Telemetry

#: How many log records are kept by default where something reads them.
_LOG_ROWS = 10_000
#: Access tokens begin with the prefix of API keys and this letter.
_TOKEN_MARK = "t"

Functions = Iterable[str | types.ModuleType | Function[Any, Any]]


class Backend:
    """One deployment. To create it opens nothing: the database is opened at first use.

    Args:
        settings: The settings of the deployment.
        schema: The application's tables.
        functions: The application's functions: modules, names of modules, or single functions.
        crons: The application's crons.
        webhooks: The application's webhooks, which its routers add; none if not given.
        auth_providers: The issuers whose JWTs identify callers.
        keeps_logs: Whether log records are kept if the settings do not say how many.
        folder: The folder of relative paths in the settings.
        clock: Returns the current time in milliseconds since the epoch.

    Attributes:
        settings: The settings.
        telemetry: Passes events to logs, metrics and traces.
        logs: The last log records, and statistics by the minute.
        location: The location of the database.
        schema: The tables of the application and those of the package.
        functions: The functions by name.
        files: The stored files.
        crons: The crons.
        webhooks: The webhooks.
        inbox: The deliveries that webhooks have received.
        idempotency: The idempotent requests.
        api_keys: The API keys.
        tokens: The access tokens.
        admin_keys: The admin keys.
        auth_providers: The issuers whose JWTs identify callers.
        jwts: Checks JWTs; None without providers.
        job_control: Lists, cancels and retries jobs.
        history: Reads, purges and erases the commit log.
        undo: Undoes commits.
        tables: Looks into tables.
        backups: Makes and restores backups.
        before_close: Functions that `close` calls first.

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
        auth_providers: Sequence[AuthProvider] = (),
        keeps_logs: bool = False,
        folder: Path,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.schema = schema.extended(DOCUMENTS)
        self.clock = clock = DeploymentClock(None if clock is system_clock else clock)
        self._folder = folder
        self.location = settings.database(folder)
        self.functions = Registry(functions)
        self.functions.bind(self.schema)
        self.engine: Engine = open_engine(settings, self.schema, folder, self.telemetry)
        self.logs = self._open_logs(keeps_logs)
        self.blobs: BlobStore = open_blobs(settings, folder)
        self._secret = DeploymentSecret(settings.secret, self.engine, self.schema, clock)
        self.signing = Signing(self._secret.load)
        self.files = Files(self.engine, self.schema, self.blobs, self.signing, clock, settings.files_url)
        self.before_close: list[Callable[[], None]] = []
        self.jobs = Jobs(self.schema, self._notify)
        self.job_control = JobControl(self.jobs, self.engine, clock, JobRequests(self.engine, self.schema))
        self.crons = DeployedCrons(crons, self.engine, self.schema, self.functions, self.jobs, clock)
        self.rate_limits = RateLimits(self.schema)
        self.once = OnceCalls(self.engine, self.schema, self.signing, clock)
        self.api_keys: Credentials[ApiKey] = self._credentials(ApiKey, settings.api_key_prefix)
        self.tokens: Credentials[AccessToken] = self._credentials(AccessToken, settings.api_key_prefix + _TOKEN_MARK)
        self.admin_keys = AdminKeys(self.engine, self.schema, self.signing, clock)
        self.history = History(self.engine, self.schema, settings.history_retention, clock)
        self.runtime = self._runtime()
        self.rejections = Rejections(rejections_folder(self.location, settings.storage(folder), folder))
        self.webhooks = Webhooks() if webhooks is None else webhooks
        self.inbox = Inbox(self.runtime, self.webhooks)
        self.idempotency = IdempotentRequests(self.runtime)
        self.undo = Undo(self.runtime, self.inbox.ids_named, self.inbox.mark_undone)
        self.functions.add_own(PROCESS, self.inbox.queue.process_function())
        self.jobs.on_cancel[PROCESS] = self.inbox.queue.cancel
        self.auth_providers = tuple(auth_providers)
        self.jwts = token_checks(auth_providers, clock)
        self.tables = TableReader(self.engine, self.schema)
        self.backups = DeploymentBackups(
            self.engine, self.blobs, self.location, settings.storage(folder), self._finish_restore
        )

    def ctx(
        self,
        identity: UserIdentity | Auth | None = None,
        *,
        site: Site = unknown_site,
        request_id: str | None = None,
    ) -> ActionCtx:
        """Return a ctx to run functions from, as in `backend.ctx().run_query(items.get, id=...)`.

        Args:
            identity: The identity of the caller, or the `Auth` of a request, which finds it when it is asked for.
            site: Returns the beginning of URLs, such as https://example.com. The setting CONVEX_SITE_URL comes first.
                Without both a URL of a file is an error.
            request_id: The id of the HTTP request, for the commit log.
        """
        runtime = self.runtime
        return runtime.action_ctx(runtime.caller(identity, site, request_id))

    def caller(
        self,
        identity: UserIdentity | Auth | None = None,
        site: Site = unknown_site,
        request_id: str | None = None,
    ) -> Caller:
        """Return the caller of a function that no other function has called."""
        return self.runtime.caller(identity, site, request_id)

    def run(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        identity: UserIdentity | None = None,
        caller: Caller | None = None,
    ) -> Any:
        """Run a function of any kind by name, internal ones included.

        Args:
            name: The function's name, such as "items:create".
            arguments: Its arguments as JSON values: dates are text, and bytes are base64.
            identity: The identity of the caller.
            caller: The caller, if it has more than an identity.

        Returns:
            The validated result of the function.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            ArgumentValidationError: The arguments do not match.
        """
        return run_function(self.runtime, self.functions.find(name), arguments, caller or self.caller(identity))

    def dry_run(self, name: str, arguments: Mapping[str, Any], *, caller: Caller | None = None) -> DryRun:
        """Run a mutation by name, roll it back, and return its changes.

        Args:
            name: The mutation's name.
            arguments: Its arguments as JSON values.
            caller: The caller; an anonymous one if not given.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            ArgumentValidationError: The arguments do not match.
        """
        return try_mutation(self.runtime, self.functions.find(name), arguments, caller or self.caller())

    def migrate(
        self,
        *,
        dry_run: bool = False,
        allow_destructive: bool = False,
        keep_dropped: bool = False,
        progress: Progress | None = None,
    ) -> list[MigrationStep]:
        """Change the tables of the database to match the schema, in one transaction.

        Args:
            dry_run: Roll back at the end.
            allow_destructive: Also drop columns that the schema no longer has.
            keep_dropped: Keep columns that the schema no longer has, so that new rows leave them empty.
            progress: Receives how many rows of earlier releases were looked at for their order, and how many there are.

        Returns:
            The steps that were applied, or would be.

        Raises:
            MigrationRefusedError: Data would be lost or does not fit. Nothing was changed.
        """
        steps = migrate(
            self.engine,
            self.schema,
            self.location,
            dry_run=dry_run,
            allow_destructive=allow_destructive,
            keep_dropped=keep_dropped,
            progress=progress,
        )
        if not dry_run:
            self._secret.create()
            self.logs.create()
        return steps

    def describe_functions(self) -> list[FunctionDescription]:
        """Return each function of the application with its arguments and result, in the order of their names."""
        return [describe_function(function) for function in self.functions]

    def check_migrated(self) -> None:
        """Check that the database has the tables of the schema.

        Raises:
            MigrationRequiredError: It does not. The message names the command to run.
        """
        with self.engine.snapshot():
            pass

    def check(self, *, read_bytes: bool, progress: Progress) -> Findings:
        """Check everything that is stored, and change nothing.

        Args:
            read_bytes: Whether to read the bytes of all files and compare their digests.
            progress: Receives how many documents and files are checked, and how many there are.

        Raises:
            MigrationRequiredError: The database does not exist.
        """
        limits = self.runtime.limits
        return Check(self.files, limits, others=self._other_findings, read_bytes=read_bytes, progress=progress).run()

    @property
    def unattached_files(self) -> UnattachedFiles:
        """Finds and deletes the stored files that no document refers to."""
        return UnattachedFiles(self.files, self.ctx().storage.delete)

    def move(self, *, database_url: str | None, storage_url: str | None) -> AbstractContextManager[Move]:
        """Open a move of the deployment to another place, for a `with` statement.

        Args:
            database_url: The database to move to; None if the rows stay.
            storage_url: The blob store to move to; None if the files stay.

        Raises:
            MoveRefusedError: The deployment is there already, or a place is temporary.
        """
        source = Side(self.engine, self.blobs, self.settings.storage(self._folder))
        there = self.settings.moved(database_url, storage_url)
        return open_move(source, self.settings, there, self.schema, self._folder, self.clock)

    def close(self) -> None:
        """Close everything that is open."""
        for callback in self.before_close:
            callback()
        self.logs.close()
        self.engine.close()
        self.blobs.close()

    def _open_logs(self, keeps_logs: bool) -> Logs:
        rows = self.settings.log_rows
        if rows is None:
            rows = _LOG_ROWS if keeps_logs else 0
        store = open_log_store(self.settings, self._folder, self.engine) if rows else None
        return Logs(store, rows, self.telemetry, self.settings.log)

    def _other_findings(self) -> tuple[list[str], list[str]]:
        """Return problems and notes of the deployment beside its stored data."""
        problems, notes = check_webhooks(self.inbox, self.clock(), has_site_url=bool(self.settings.site_url))
        return problems, [*notes, *describe_exposed(self.location, self.settings.storage(self._folder))]

    def _notify(self, due: float) -> None:
        """Wake the workers of other processes, unless they poll before a job is due."""
        if due < self.clock() + POLL_SECONDS * 1000:
            self.engine.notifications.notify()

    def _finish_restore(self) -> list[str]:
        """Return the steps of the migration that restored tables need; without any, register the crons.

        Running workers have registered theirs at their start, and will not do it again.
        """
        try:
            steps = [str(step) for step in self.migrate(dry_run=True, allow_destructive=True)]
        except MigrationRefusedError as error:
            return [str(error)]
        if not steps:
            self.crons.register()
        return steps

    def _runtime(self) -> Runtime:
        return Runtime(
            self.schema,
            self.functions,
            self.engine,
            self.files,
            self.jobs,
            self.rate_limits,
            self.once,
            self.api_keys,
            self.tokens,
            PageCursors(self.signing),
            CommitLogs(self.schema, is_on=self.settings.history != "off", timeout=self.settings.write_timeout),
            self.clock,
            _site(self.settings),
            self.settings.mutation_timeout,
            Limits.of(self.settings),
            telemetry=self.telemetry,
        )

    def _credentials(self, document: Any, prefix: str) -> Credentials[Any]:
        return Credentials(
            document, prefix, engine=self.engine, schema=self.schema, signing=self.signing, clock=self.clock
        )


def _site(settings: Settings) -> Site | None:
    return settings.site_url.__str__ if settings.site_url else None
