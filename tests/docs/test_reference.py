"""The README's tables say what the code says: settings, commands, errors, the forms of Convex's guide."""

import ast
import re

import pytest

import flask_convex_http
from flask_convex_http import ActionCtx, ConvexHTTPError, Crons, MutationCtx
from flask_convex_http.database.db import DatabaseWriter, SystemReader
from flask_convex_http.runtime.context import Auth
from flask_convex_http.scheduling.scheduler import Scheduler
from flask_convex_http.storage.storage import StorageActions, StorageReader, StorageWriter
from tests.docs import commands
from tests.docs.readme import convex_commands, rows, spans

#: What `ctx` and its parts have, in a mutation or an action.
MEMBERS: dict[str, tuple[type, ...]] = {
    "ctx": (ActionCtx, MutationCtx),
    "ctx.db": (DatabaseWriter,),
    "ctx.db.system": (SystemReader,),
    "ctx.storage": (StorageActions, StorageWriter),
    "ctx.auth": (Auth,),
    "ctx.scheduler": (Scheduler,),
    "crons": (Crons,),
}
#: Names that an example may use without saying where they come from.
ASSUMED = {
    *("app", "chunks", "ctx", "headers", "http", "id", "item", "items", "message", "name", "process", "data"),
    *("request", "storage_id", "Request", "Response", "Item", "NewItem", "str", "KeyError"),
    *("crons", "job_id", "jobs", "key", "time", "timedelta", "when"),
}
FORMS = [(row[0], span) for row in rows("Coming from Convex") for span in spans(row[1])[:1]]


# --- settings and commands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", convex_commands())
def test_every_command_shown_is_understood(command: str) -> None:
    """Each `flask convex ...` in the README parses: command, options and arguments."""
    commands.parse(command)


# --- errors ----------------------------------------------------------------------------------------------------------


def errors(*, public: bool) -> dict[str, type[ConvexHTTPError]]:
    """The errors of the facade whose messages clients see, or do not."""
    exported = vars(flask_convex_http).items()
    found = {name: value for name, value in exported if isinstance(value, type) and issubclass(value, ConvexHTTPError)}
    return {name: value for name, value in found.items() if value.public is public and value is not ConvexHTTPError}


def test_the_table_of_errors_has_the_statuses_of_the_code() -> None:
    """Each error a client sees is in the table with its status; an application's own error has what it is given."""
    named = [row for row in rows("Ten-minute tour") if spans(row[0]) and "Error" in row[0]]
    table = {re.split(r"\W", spans(row[0])[0])[0]: row[1] for row in named}
    expected = {name: str(error.status) for name, error in errors(public=True).items()}
    assert table == expected | {"ConvexError": "yours, 400 to 599"}


def test_the_other_errors_are_mistakes() -> None:
    """Errors whose message no client sees are listed as mistakes in code or settings."""
    listed = next(spans(row[1]) for row in rows("Public names") if row[0].startswith("Errors that are mistakes"))
    assert set(listed) == set(errors(public=False))


# --- coming from Convex -------------------------------------------------------------------------------------------


def parsed(form: str) -> ast.Module:
    """A form of the table as Python: a decorator gets a function, a return statement one around it."""
    if form.startswith("@"):
        return ast.parse(f"{form}\ndef handler(): ...")
    return ast.parse(f"def handler():\n    {form}" if form.startswith("return") else form)


@pytest.mark.parametrize(("theirs", "form"), FORMS)
def test_the_forms_for_people_from_convex_exist(theirs: str, form: str) -> None:
    """Each form beside Convex's is Python, or a command, made of what exists."""
    if form.startswith("flask "):
        commands.parse(form)
        return
    tree = parsed(form)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            assert owner not in MEMBERS or any(hasattr(kind, node.attr) for kind in MEMBERS[owner]), ast.unparse(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            known = hasattr(flask_convex_http, node.id) or node.id in ASSUMED or node.id in ("suffix", "__name__")
            assert known, f"{node.id} in {form}"


def test_the_table_covers_the_guide() -> None:
    """Each form of Convex's guide to HTTP actions has a row."""
    theirs = " ".join(row[0] for row in rows("Coming from Convex"))
    for form in (
        *("httpRouter", "pathPrefix", "httpAction", "runQuery", "runMutation", "runAction", "request.json()"),
        *("request.text()", "request.arrayBuffer()", "formData()", "searchParams", "new Response(", "OPTIONS"),
        *("storage.store", "storage.getUrl", "generateUploadUrl", "new Webhook", "constructEvent", "X-API-Key"),
        *("Authorization", "getUserIdentity", "ConvexError", "scheduler.runAfter", "crons."),
    ):
        assert form in theirs, form


def test_what_is_not_there_is_said_not_to_be() -> None:
    """Convex's own clients and live queries are marked as not there, and nothing else is."""
    missing = [row[0] for row in rows("Coming from Convex") if row[1] == "not yet"]
    assert missing == ["`usePaginatedQuery`, live queries, `ConvexHttpClient`"]


READS = {"get_url", "get_metadata"}
WRITES = {"delete", "generate_upload_url", "generate_direct_upload", "revoke_urls"}


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (StorageReader, READS),
        (StorageWriter, READS | WRITES),
        (StorageActions, READS | WRITES | {"store", "get"}),
    ],
)
def test_storage_has_what_the_tour_says(kind: type, members: set[str]) -> None:
    """`ctx.storage` of a query, a mutation and an action has the methods that the tour lists for it."""
    assert {name for name in dir(kind) if not name.startswith("_")} == members
