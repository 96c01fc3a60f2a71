"""`ConvexHTTP`: wires one backend to one Flask app. Nothing else knows all the parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask

from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import Settings
from flask_convex_http.credentials import UserIdentity
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.scheduling import Crons
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import MigrationStep
from flask_convex_http.web.files import files
from flask_convex_http.web.middleware import Middleware
from flask_convex_http.web.state import EXTENSION, WORKER, current_backend, webhooks_of
from flask_convex_http.worker import BackgroundWorker


class ConvexHTTP:
    """The extension. One instance may serve several apps; what belongs to one app is kept with that app.

    Args:
        app: An app to set up at once; or call `init_app` later.
        schema: The application's tables.
        functions: Its functions: names of modules, modules, or functions themselves.
        crons: What runs at certain times.
        clock: Answers now, in milliseconds since the epoch; for tests.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        schema: Schema | None = None,
        functions: Functions = (),
        crons: Crons | None = None,
        clock: Callable[[], float] = system_clock,
    ) -> None:
        self.schema = schema if schema is not None else Schema()
        self.functions = tuple(functions)
        self.crons = crons
        self.clock = clock
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up an app. Opens no database, starts nothing.

        Raises:
            ConfigurationError: A CONVEX_ key of `app.config` is wrong; the message names it.
            RegistrationError: Functions and schema do not fit together.
        """
        from flask_convex_http.cli import convex_commands

        if EXTENSION in app.extensions:
            raise ConfigurationError("ConvexHTTP is set up for this app already; call init_app once")
        settings = Settings.from_mapping(app.config)
        folder = Path(app.instance_path)
        backend = Backend(
            settings,
            self.schema,
            self.functions,
            crons=self.crons,
            webhooks=webhooks_of(app),
            folder=folder,
            clock=self.clock,
        )
        app.extensions[EXTENSION] = backend
        background = app.extensions[WORKER] = BackgroundWorker(backend, app.app_context, partial(_works, app, backend))
        backend.before_close.append(background.close)
        app.wsgi_app = Middleware(app, background)  # type: ignore[method-assign]  # as Flask's docs have middleware added
        app.register_blueprint(files)
        app.cli.add_command(convex_commands)

    @property
    def backend(self) -> Backend:
        """The backend of the current app."""
        return current_backend()

    def ctx(self, identity: UserIdentity | None = None) -> ActionCtx:
        """A ctx to run functions from outside a request, in an app context."""
        return current_backend().ctx(identity)

    def migrate(self, *, dry_run: bool = False, allow_destructive: bool = False) -> list[MigrationStep]:
        """Bring the current app's database to the schema; see `Backend.migrate`."""
        return current_backend().migrate(dry_run=dry_run, allow_destructive=allow_destructive)


def _works(app: Flask, backend: Backend) -> bool:
    """Whether the processes that serve an app run what is scheduled. Tests do that when they want to, and see it."""
    if backend.settings.worker != "on" or app.testing:
        return False
    return bool(backend.webhooks) or any(function.kind != "query" for function in backend.functions)
