"""The functions: their signatures, and a form that runs them."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
from flask import Response
from werkzeug.exceptions import BadRequest, NotFound

from flask_convex_http.backend import Backend
from flask_convex_http.dashboard.fields import FormField, form_field, read_fields
from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.errors import ArgumentValidationError
from flask_convex_http.function_api.identity import identity_of
from flask_convex_http.functions.description import FunctionDescription, describe_function
from flask_convex_http.functions.function import Function
from flask_convex_http.identities import UserIdentity
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import Caller
from flask_convex_http.runtime.row_changes import RowChange, SystemChange

logger = logger_of("dashboard")

page = Page("functions", "Functions")

#: Arguments are prefixed, because their names may be those of other fields of the form.
PREFIX = "arg-"
_LONGEST_RESULT = 100_000
_CALLS = 10


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a run: its result, its possible changes, or its error.

    Attributes:
        state: "done", "tried" for a dry run, or "failed".
        result: The result as JSON; None if it failed.
        error: Why it failed.
        rows: The rows that a dry run would change.
        system: What else a dry run would change.
    """

    state: Literal["done", "tried", "failed"]
    result: str | None = None
    error: str = ""
    rows: list[RowChange] = []
    system: list[SystemChange] = []


@page.get()
def index(visit: Visit) -> Response:
    """List the functions by module."""
    text = visit.text("name").lower()
    modules: dict[str, list[FunctionDescription]] = {}
    for function in visit.backend.describe_functions():
        if text in function.name.lower():
            modules.setdefault(function.name.rpartition(":")[0], []).append(function)
    return visit.render("functions.html", modules=modules, name=visit.text("name"))


@page.get("/<path:name>")
def function(visit: Visit, name: str) -> Response:
    """Show a function and the form of its arguments."""
    return _show(visit, _find(visit.backend, name))


@page.post("/<path:name>")
def run(visit: Visit, name: str) -> Response:
    """Run a function, or try a mutation without effects, and show the outcome below the form."""
    found = _find(visit.backend, name)
    given = {key.removeprefix(PREFIX): text for key, text in visit.request.form.items() if key.startswith(PREFIX)}
    values, errors = read_fields(_fields(found), given)
    if errors:
        return _show(visit, found, errors=errors, status=400)
    try:
        caller = _caller(visit)
    except BadRequest as error:
        return _show(visit, found, errors={"identity": str(error.description)}, status=400)
    outcome = _outcome(visit, found, values, caller, tries=visit.field("mode") == "try")
    return _show(visit, found, outcome=outcome)


def _show(
    visit: Visit,
    found: Function[Any, Any],
    *,
    outcome: Outcome | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    described = describe_function(found)
    return visit.render(
        "function.html",
        status,
        function=described,
        fields=_fields(found),
        form=visit.request.form,
        prefix=PREFIX,
        errors=errors or {},
        outcome=outcome,
        calls=list(reversed(visit.backend.logs.read(function=found.name, kind="function", limit=_CALLS))),
    )


def _find(backend: Backend, name: str) -> Function[Any, Any]:
    found = next((each for each in backend.functions if each.name == name), None)
    if found is None:
        raise NotFound
    return found


def _fields(found: Function[Any, Any]) -> list[FormField]:
    described = zip(describe_function(found).arguments, found.argument_types.values(), strict=True)
    return [
        form_field(
            argument.name,
            annotation,
            is_required=argument.required,
            default=None if argument.required else str(argument.default),
        )
        for argument, annotation in described
    ]


def _caller(visit: Visit) -> Caller:
    """Return the caller that the form asks for.

    Raises:
        BadRequest: The attributes of the identity are not right.
    """
    if visit.field("as") != "user":
        return visit.caller(None)
    subject, attributes = visit.field("subject"), visit.field("attributes") or "{}"
    if not subject:
        raise BadRequest("Enter the subject of the user.")
    try:
        further = json.loads(attributes)
        return visit.caller(_identity(subject, further))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The attributes are not right: {error}.") from None


def _identity(subject: str, attributes: object) -> UserIdentity:
    if not isinstance(attributes, dict):
        raise ValueError('write a JSON object such as {"email": "ada@example.com"}')
    return identity_of({**attributes, "subject": subject})


def _outcome(
    visit: Visit, found: Function[Any, Any], values: dict[str, Any], caller: Caller, *, tries: bool
) -> Outcome:
    try:
        if tries and found.kind == "mutation":
            tried = visit.backend.dry_run(found.name, values, caller=caller)
            return Outcome(state="tried", result=_as_text(tried.result), rows=tried.rows, system=tried.system)
        return Outcome(state="done", result=_as_text(visit.backend.run(found.name, values, caller=caller)))
    except ArgumentValidationError as error:
        return Outcome(state="failed", error=str(error))
    except Exception as error:  # the function's own, which the operator should see
        logger.info("%s failed in the dashboard [request %s]", found.name, visit.request_id, exc_info=True)
        return Outcome(state="failed", error=f"{type(error).__name__}: {error}")


def _as_text(result: Any) -> str:
    text = json.dumps(msgspec.to_builtins(result, str_keys=True), ensure_ascii=False, indent=2)
    return text if len(text) <= _LONGEST_RESULT else f"{text[:_LONGEST_RESULT]}\n…"
