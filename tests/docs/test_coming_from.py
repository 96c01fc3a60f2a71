"""The page for people from Convex names what exists, and covers Convex's guide to HTTP actions."""

import ast
import runpy
from typing import Any

import pytest

import flask_convex_http
from flask_convex_http import ActionCtx, Crons, MutationCtx, QueryCtx
from tests.docs import commands
from tests.docs.markdown import DOCS, page, spans, table_rows

CONVEX = page("coming-from/convex")
#: The extension that documents the parts of a ctx, and finds their classes.
_API: dict[str, Any] = runpy.run_path(str(DOCS / "_ext" / "public_api.py"))
#: The attributes of `ctx` and of its parts, in a mutation or an action.
MEMBERS: dict[str, tuple[type, ...]] = {
    "ctx": (ActionCtx, MutationCtx),
    "crons": (Crons,),
    **{name: (part,) for name, part in _API["parts"]().items()},
}
#: Names that an example may use without an import.
ASSUMED = {
    *("app", "chunks", "ctx", "headers", "http", "id", "item", "items", "message", "name", "process", "data"),
    *("request", "storage_id", "Request", "Response", "Item", "NewItem", "str", "KeyError", "suffix", "__name__"),
    *("crons", "job_id", "jobs", "key", "time", "timedelta", "when"),
}
ROWS = table_rows(CONVEX.sections()["Form by form"])
FORMS = [(row[0], span) for row in ROWS for span in spans(row[1])[:1]]


def parsed(form: str) -> ast.Module:
    """Parse a form as Python: add a function to a decorator, and a function around a return statement."""
    if form.startswith("@"):
        return ast.parse(f"{form}\ndef handler(): ...")
    return ast.parse(f"def handler():\n    {form}" if form.startswith("return") else form)


@pytest.mark.parametrize(("theirs", "form"), FORMS)
def test_each_form_exists(theirs: str, form: str) -> None:
    """Each form in the tables is Python or a command, and every name in it exists."""
    if form.startswith("flask "):
        commands.parse(form)
        return
    for node in ast.walk(parsed(form)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            assert owner not in MEMBERS or any(hasattr(kind, node.attr) for kind in MEMBERS[owner]), ast.unparse(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            assert hasattr(flask_convex_http, node.id) or node.id in ASSUMED, f"{node.id} in {form}"


def test_the_tables_cover_the_guide() -> None:
    """Each form of Convex's guide to HTTP actions has a row."""
    theirs = " ".join(row[0] for row in ROWS)
    for form in (
        *("httpRouter", "pathPrefix", "httpAction", "runQuery", "runMutation", "runAction", "request.json()"),
        *("request.text()", "request.arrayBuffer()", "formData()", "searchParams", "new Response(", "OPTIONS"),
        *("storage.store", "storage.getUrl", "generateUploadUrl", "new Webhook", "constructEvent", "X-API-Key"),
        *("Authorization", "getUserIdentity", "ConvexError", "scheduler.runAfter", "crons."),
    ):
        assert form in theirs, form


def test_missing_features_are_marked() -> None:
    """No feature of Convex in the tables is marked as not available."""
    assert not [row[0] for row in ROWS if row[1] == "not yet"]


READS = {"get_url", "get_metadata"}
WRITES = {"delete", "generate_upload_url", "generate_direct_upload", "revoke_urls"}


@pytest.mark.parametrize(
    ("ctx", "members"),
    [(QueryCtx, READS), (MutationCtx, READS | WRITES | {"store"}), (ActionCtx, READS | WRITES | {"store", "get"})],
)
def test_storage_has_the_documented_methods(ctx: type, members: set[str]) -> None:
    """`ctx.storage` of a query, a mutation and an action has the methods that the reference lists for it."""
    storage = _API["returned"](vars(ctx)["storage"])
    assert {name for name in dir(storage) if not name.startswith("_") and hasattr(storage, name)} == members
