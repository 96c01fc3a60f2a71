"""`flask convex ...`: the command line, on the same backend as the app.

Rules:

* A command asks the backend and prints. It decides nothing, and reads no database itself.
* Results go to stdout, as text or as one JSON document. Notes, progress and errors go to stderr.
* The exit status is 0 for success, 1 for failure and 2 for wrong usage.
"""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from flask_convex_http.cli.admin_keys import admin_key
from flask_convex_http.cli.backups import backup, restore
from flask_convex_http.cli.check import check
from flask_convex_http.cli.codegen import codegen
from flask_convex_http.cli.credentials import keys, tokens
from flask_convex_http.cli.crons import crons
from flask_convex_http.cli.dashboard import dashboard
from flask_convex_http.cli.database import data, migrate
from flask_convex_http.cli.dev import dev
from flask_convex_http.cli.files import files
from flask_convex_http.cli.functions import functions, routes, run
from flask_convex_http.cli.history import erase, log, undo, why
from flask_convex_http.cli.idempotency import idempotency
from flask_convex_http.cli.init import init
from flask_convex_http.cli.loading import is_from_loading, place_of
from flask_convex_http.cli.logs import logs
from flask_convex_http.cli.moves import move
from flask_convex_http.cli.openapi import openapi
from flask_convex_http.cli.output import escape_unprintable, printable
from flask_convex_http.cli.scheduled import scheduled
from flask_convex_http.cli.webhooks import webhooks
from flask_convex_http.cli.worker import worker
from flask_convex_http.errors import ConfigurationError, ConvexHTTPError
from flask_convex_http.web.state import MissingExtensionError


class _ConvexGroup(AppGroup):
    """Prints errors of the package in one line. Other errors keep their traceback.

    The exit status is 2 for a setting that is wrong, and 1 for other errors.
    """

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        escape_unprintable()  # before help and wrong usage are printed
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConvexHTTPError, MissingExtensionError) as error:
            raise _one_line(error) from error


class _WrongSetting(click.ClickException):
    """A setting is wrong, and its name begins the message."""

    exit_code = click.UsageError.exit_code


def _one_line(error: Exception) -> click.ClickException:
    """Return an error as the sentence that a command prints. One of loading the app begins with the line of the app."""
    detail = getattr(error, "detail", "")
    sentence = printable(f"{error}: {detail}" if detail else str(error))
    if not is_from_loading(error):
        return click.ClickException(sentence)
    if isinstance(error, ConfigurationError):
        return _WrongSetting(sentence)
    return click.ClickException(place_of(error) + sentence)


convex_commands = _ConvexGroup(
    "convex",
    help="The database, functions, keys, files, jobs and webhooks of this app.",
    short_help="Database, functions, keys, files, jobs, webhooks.",
)

for command in (
    *(migrate, data, backup, restore, check, move),
    *(run, functions, routes),
    *(keys, tokens, admin_key, files),
    *(scheduled, crons, worker, webhooks),
    *(log, why, undo, erase, logs),
    *(idempotency, openapi, codegen, dashboard),
    *(init, dev),
):
    convex_commands.add_command(command)
