"""`ConvexHTTP`: connects one backend to one Flask app. No other module knows all parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Request, Response, current_app, has_request_context, request

from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import Settings
from flask_convex_http.environment import with_environment
from flask_convex_http.errors import ConfigurationError, RegistrationError
from flask_convex_http.function_api.options import FunctionApi
from flask_convex_http.history.rows import Commit
from flask_convex_http.identities import AuthProvider, UserIdentity, checked_providers
from flask_convex_http.log import logger_of, show_unless_configured
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.scheduling import Crons
from flask_convex_http.schema.documents import Document, Schema
from flask_convex_http.schema.migrations import MigrationStep
from flask_convex_http.web.files import files
from flask_convex_http.web.health import Health, HealthChecks
from flask_convex_http.web.middleware import Middleware
from flask_convex_http.web.openapi.options import OpenAPI
from flask_convex_http.web.options import checked_options, checked_switch
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.responses.responses import encode_documents
from flask_convex_http.web.routing.url_adapters import use_fast_adapters
from flask_convex_http.web.shell import shell_context
from flask_convex_http.web.state import EXTENSION, WORKER, current_backend, site_of, webhooks_of
from flask_convex_http.web.streams.changes import OPEN_CHANGES, FeedRequest
from flask_convex_http.web.streams.live import OPEN_STREAM, LiveQuery
from flask_convex_http.web.webhooks.floods import open_gate
from flask_convex_http.worker import BackgroundWorker

logger = logger_of("database")


class ConvexHTTP:
    """The Flask extension. One instance may serve several apps: the state of an app is in `app.extensions`.

    Args:
        app: The app to set up; None to call `init_app` later.
        schema: The application's tables; none by default.
        functions: The application's functions: names of modules, modules, or single functions.
        crons: The application's crons.
        auth_providers: The issuers whose JWTs identify callers: `OIDC(...)` and `CustomJWT(...)`.
        health: Whether to respond to health checks at `/healthz` and `/readyz`, or a `Health` with other paths.
        openapi: Whether to serve an OpenAPI document at `/openapi.json` and its page at `/docs`, or an `OpenAPI` with a
            title and other paths.
        function_api: Whether Convex's clients may call the functions at `/api/`, or a `FunctionApi` with options.
        dashboard: Whether to serve the dashboard at `/_convex`, for whom `flask convex dashboard` prints a link and for
            owners of admin keys.
        metrics: Whether Prometheus can read metrics at `/_convex/metrics`.
        tracing: Whether to make spans of OpenTelemetry.
        clock: Returns the current time in milliseconds since the epoch. Tests pass a `Clock`, here, to `init_app`, or
            to `testing.use_clock`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        schema: Schema | None = None,
        functions: Functions = (),
        crons: Crons | None = None,
        auth_providers: Sequence[AuthProvider] = (),
        health: bool | Health = False,
        openapi: bool | OpenAPI = False,
        function_api: bool | FunctionApi = False,
        dashboard: bool = False,
        metrics: bool = False,
        tracing: bool = False,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        self.schema = _checked_schema(schema)
        self.functions = functions if isinstance(functions, str) else _listed(functions)
        self.crons = crons
        self.auth_providers = checked_providers(auth_providers)
        self.health = checked_options("health", health, Health, 'Health(live="/healthz", ready="/readyz")')
        self.openapi = checked_options("openapi", openapi, OpenAPI, 'OpenAPI(title="Shop", version="1")')
        self.function_api = checked_options("function_api", function_api, FunctionApi, 'FunctionApi(prefix="/convex")')
        self.dashboard = checked_switch("dashboard", dashboard)
        self.metrics = checked_switch("metrics", metrics)
        self.tracing = checked_switch("tracing", tracing)
        self.clock = clock
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, clock: Callable[[], float] | None = None) -> None:
        """Set up an app. This opens no database and starts no thread.

        Args:
            app: The app. Its `CONVEX_` configuration must be complete. Environment variables of these names, with or
                without the prefix `FLASK_`, set the keys that it lacks, unless `TESTING` is set.
            clock: The clock of this app, instead of the extension's.

        Raises:
            ConfigurationError: A `CONVEX_` key of `app.config` is wrong, or the app was set up before.
            RegistrationError: Functions and schema do not fit together.
        """
        from flask_convex_http.cli import convex_commands

        if EXTENSION in app.extensions:
            raise ConfigurationError("ConvexHTTP is set up for this app already; call init_app once")
        backend = self._backend_for(app, self.clock if clock is None else clock)
        app.extensions[EXTENSION] = backend
        background = BackgroundWorker(backend, app.app_context, partial(_runs_jobs, app, backend))
        app.extensions[WORKER] = background
        backend.before_close.append(background.close)
        open_gate(app)
        if self.health is not None:
            checks = HealthChecks(app, backend, background, self.health)
            app.wsgi_app = checks  # type: ignore[method-assign]  # as below
        self._observe(app, backend, background)
        app.wsgi_app = Middleware(app, background, backend.telemetry)  # type: ignore[method-assign]  # as Flask's docs have middleware added
        app.register_blueprint(files)
        app.extensions[OPEN_STREAM] = partial(_open_stream, app, backend)
        app.extensions[OPEN_CHANGES] = partial(_open_changes, app, backend)
        self._serve_features(app, backend)
        encode_documents(app)
        use_fast_adapters(app)
        app.shell_context_processor(partial(shell_context, self, backend))
        app.cli.add_command(convex_commands)

    def _backend_for(self, app: Flask, clock: Callable[[], float]) -> Backend:
        folder = Path(app.instance_path)
        return Backend(
            Settings.from_mapping(with_environment(app.config, os.environ), folder),
            self.schema,
            self.functions,
            crons=self.crons,
            webhooks=webhooks_of(app),
            auth_providers=self.auth_providers,
            keeps_logs=(self.dashboard or self.function_api is not None) and not app.testing,
            folder=folder,
            clock=clock,
        )

    # The modules of a feature are imported where it is on.

    def _observe(self, app: Flask, backend: Backend, background: BackgroundWorker) -> None:
        """Turn on what observes the events of the backend."""
        if self.metrics:
            from flask_convex_http.metrics import serve as serve_metrics

            serve_metrics(app, backend, background)
        if self.tracing:
            from flask_convex_http.tracing import trace

            trace(backend)

    def _serve_features(self, app: Flask, backend: Backend) -> None:
        """Add the routes of the features that are on."""
        if self.openapi is not None:
            from flask_convex_http.web.openapi.serving import serve

            serve(app, backend, self.openapi)
        if self.function_api is not None:
            from flask_convex_http.convex_cli.serving import serve as serve_command_line
            from flask_convex_http.function_api.serving import serve as serve_functions

            serve_command_line(app, backend, serve_functions(app, backend, self.function_api))
        if self.dashboard:
            from flask_convex_http.dashboard.serving import serve as serve_dashboard

            serve_dashboard(app, backend)

    @property
    def backend(self) -> Backend:
        """The backend of the current app. Needs an app context."""
        return current_backend()

    def ctx(self, identity: UserIdentity | None = None) -> ActionCtx:
        """Return a ctx to run functions from outside of a handler, in an app context.

        In a request, URLs of files begin with the request's.

        Args:
            identity: The identity of the caller, or None.
        """
        backend = current_backend()
        if has_request_context():
            return backend.ctx(identity, site=lambda: site_of(request), request_id=request_id(request))
        return backend.ctx(identity)

    def changes(
        self, *, since: int, tables: Iterable[type[Document]] | None = None, wait: float = 0.0
    ) -> Iterator[Commit]:
        """Yield the commits after a commit, in their order, each with the documents that it changed.

        Keep the number of the last commit that was processed, and continue after it: no commit is left out or repeated.

        Args:
            since: The number of a commit, such as that of the last one that was processed or `last_commit()`. 0 for the
                beginning of a database that has always been logged.
            tables: The classes of the documents; commits that changed no others are left out. None for all.
            wait: Seconds to wait for another commit before the iteration ends.

        Raises:
            HistoryError: The commits after it are purged or were not logged, or there is no such commit yet.
        """
        return current_backend().history.feed.changes(since, tables, wait=wait)

    def last_commit(self) -> int:
        """Return the number of the last commit, from which on `changes` continues; 0 for none."""
        return current_backend().history.feed.last_commit()

    def migrate(self, *, dry_run: bool = False, allow_destructive: bool = False) -> list[MigrationStep]:
        """Change the tables of the current app's database to match the schema, in one transaction.

        Args:
            dry_run: Roll back at the end.
            allow_destructive: Also drop columns that the schema no longer has.

        Returns:
            The steps that were applied, or would be.

        Raises:
            MigrationRefusedError: Data would be lost or does not fit. Nothing was changed.
        """
        if not current_app.testing:
            show_unless_configured()
        backend = current_backend()
        steps = backend.migrate(dry_run=dry_run, allow_destructive=allow_destructive)
        if steps and not dry_run:
            for table in backend.tables.undescribed():
                logger.warning("%s", table)
        return steps


def _open_stream(app: Flask, backend: Backend, ctx: ActionCtx, current: Request, query: LiveQuery[Any]) -> Response:
    """Open a stream of `http.live`."""
    from flask_convex_http.sync.streams import open_stream

    return open_stream(app, backend, ctx, current, query)


def _open_changes(app: Flask, backend: Backend, ctx: ActionCtx, current: Request, feed: FeedRequest) -> Response | None:
    """Open a stream of `http.changes`, if the server lends its connection."""
    from flask_convex_http.sync.change_streams import open_changes

    return open_changes(app, backend, ctx, current, feed)


def _checked_schema(schema: Any) -> Schema:
    if schema is None:
        return Schema()
    if not isinstance(schema, Schema):
        raise RegistrationError(f"schema= takes a Schema, such as Schema(Item), not {schema!r}")
    return schema


def _listed(functions: Any) -> Functions:
    """Return functions, or the names of modules, as a sequence that can be read for several apps."""
    if not isinstance(functions, Iterable):
        name = getattr(functions, "__name__", repr(functions))
        raise RegistrationError(f"functions= takes a list: write functions=[{name}]")
    return tuple(functions)


def _runs_jobs(app: Flask, backend: Backend) -> bool:
    """Return whether the processes that serve an app run its jobs. Tests run them with `run_scheduled`."""
    if backend.settings.worker != "on" or app.testing:
        return False
    return bool(backend.webhooks) or any(function.kind != "query" for function in backend.functions)
