"""Which errors are the client's and which are the application's, and what each of them sees."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    Document,
    DocumentValidationError,
    HttpRouter,
    Id,
    MutationCtx,
    Page,
    QueryCtx,
    ReturnsValidationError,
    Schema,
    StoredFile,
    internal_action,
    internal_mutation,
    internal_query,
    read_json,
    unique,
)
from flask_convex_http.functions.function import Function
from tests.web.apps import deployed, send


class Lamp(Document, table="lamps", indexes={"by_serial": unique("serial"), "by_kind": ["kind"]}):
    """A lamp."""

    serial: str
    kind: Literal["desk", "floor"] = "desk"
    watts: Annotated[int, msgspec.Meta(ge=1)] = 5
    notes: Any = None


class NewLamp(msgspec.Struct):
    """A body with an id."""

    serial: str
    like: Id[Lamp] | None = None


@internal_mutation
def add(ctx: MutationCtx, *, serial: str, kind: Literal["desk", "floor"] = "desk", notes: Any = None) -> Id[Lamp]:
    """Add a lamp."""
    return ctx.db.insert(Lamp(serial=serial, kind=kind, notes=notes))


@internal_mutation
def add_unchecked(ctx: MutationCtx, *, watts: Any) -> Id[Lamp]:
    """Add a lamp whose field may be anything."""
    return ctx.db.insert(Lamp(serial="unchecked", watts=watts))


@internal_mutation
def change(ctx: MutationCtx, *, lamp: Id[Lamp], fields: Any) -> None:
    """Change fields that may be anything."""
    ctx.db.patch(lamp, **fields)


@internal_mutation
def replace(ctx: MutationCtx, *, lamp: Id[Lamp], watts: Any) -> None:
    """Replace a lamp by one whose field may be anything."""
    ctx.db.replace(lamp, Lamp(serial="other", watts=watts))


@internal_mutation
def calls_wrongly(ctx: MutationCtx) -> None:
    """Call a function with a value that no client has sent."""
    ctx.run_query("test_error_statuses:find", kind="ceiling")


@internal_query
def returns_wrongly(ctx: QueryCtx) -> int:
    """Return a text instead of an integer."""
    result: Any = "5"
    return result  # type: ignore[no-any-return]


@internal_query
def get(ctx: QueryCtx, *, lamp: Id[Lamp]) -> Lamp | None:
    """Return a lamp."""
    return ctx.db.get(lamp)


@internal_query
def get_any(ctx: QueryCtx, *, lamp: str) -> Any:
    """Return a document of any table."""
    return ctx.db.get(Id(lamp))


@internal_query
def find(ctx: QueryCtx, *, kind: Literal["desk", "floor"]) -> list[Lamp]:
    """Return the lamps of a kind."""
    return ctx.db.query(Lamp).with_index("by_kind", kind=kind).collect()


@internal_query
def pages(ctx: QueryCtx, *, count: int | float, cursor: str | None = None) -> Page[Lamp]:
    """Return a page of lamps."""
    number: Any = count
    return ctx.db.query(Lamp).paginate(num_items=number, cursor=cursor)


@internal_query
def few(ctx: QueryCtx, *, count: Any) -> list[Lamp]:
    """Return some lamps."""
    return ctx.db.query(Lamp).take(count)


@internal_action
def works(ctx: ActionCtx, *, watts: Annotated[float, msgspec.Meta(gt=0)]) -> None:
    """Do nothing with a number above 0."""


FUNCTIONS: list[Function[Any, Any]] = [
    *(add, add_unchecked, change, replace, calls_wrongly, returns_wrongly, get, get_any, find, pages, few, works),
]
LAMP: Any = Id[Lamp]
Make = Callable[[ActionCtx], Any]


def respond(folder: Path, make: Make, **config: Any) -> TestResponse:
    """Return the response of a handler that calls `make`, under the request id req-1."""
    http = HttpRouter("http", __name__)

    @http.post("/call")
    def handler(ctx: ActionCtx, request: Request) -> Any:
        return {"result": make(ctx)}

    with deployed(folder, http, schema=Schema(Lamp), functions=FUNCTIONS, **config) as app:
        return send(app, "POST", "/call", HTTP_X_REQUEST_ID="req-1")


def unchecked(ctx: ActionCtx, name: str, **arguments: Any) -> Any:
    """Call a function by name, which no type checker sees."""
    return ctx.run_mutation(f"test_error_statuses:{name}", **arguments)


def lamp_id(ctx: ActionCtx) -> Id[Lamp]:
    """Return the id of a new lamp."""
    return ctx.run_mutation(add, serial="known")


APPLICATION: dict[str, tuple[Make, type[Exception]]] = {
    "insert": (lambda ctx: ctx.run_mutation(add_unchecked, watts="5"), DocumentValidationError),
    "insert beyond a bound": (lambda ctx: ctx.run_mutation(add_unchecked, watts=0), DocumentValidationError),
    "patch": (lambda ctx: unchecked(ctx, "change", lamp=lamp_id(ctx), fields={"wats": 5}), DocumentValidationError),
    "replace": (lambda ctx: ctx.run_mutation(replace, lamp=lamp_id(ctx), watts=None), DocumentValidationError),
    "returned value": (lambda ctx: ctx.run_query(returns_wrongly), ReturnsValidationError),
    "type of an argument": (lambda ctx: unchecked(ctx, "add", serial=5), ArgumentValidationError),
    "missing argument": (lambda ctx: unchecked(ctx, "add"), ArgumentValidationError),
    "unknown argument": (lambda ctx: unchecked(ctx, "add", serial="a", wats=5), ArgumentValidationError),
    "argument of a nested call": (lambda ctx: ctx.run_mutation(calls_wrongly), ArgumentValidationError),
}


@pytest.mark.parametrize("make", [made for made, _ in APPLICATION.values()], ids=list(APPLICATION))
def test_a_mistake_of_the_application_is_500(tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A document, result or argument of a wrong type is 500, and the log has the traceback and the request id."""
    response = respond(tmp_path, make)
    assert (response.status_code, response.json) == (500, {"error": "Internal server error", "requestId": "req-1"})
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "req-1" in record.getMessage()
    assert (record.exc_info is not None and "at `$." in str(record.exc_info[1])) or "returned" in str(record.exc_info)


@pytest.mark.parametrize("config", [{"TESTING": True}, {"DEBUG": True}, {"PROPAGATE_EXCEPTIONS": True}])
@pytest.mark.parametrize(("make", "expected"), APPLICATION.values(), ids=list(APPLICATION))
def test_a_mistake_of_the_application_is_raised_as_in_flask(
    tmp_path: Path, config: dict[str, Any], make: Make, expected: type[Exception]
) -> None:
    """Under TESTING, in debug mode and with PROPAGATE_EXCEPTIONS the error itself is raised."""
    with pytest.raises(expected):
        respond(tmp_path, make, **config)


def test_propagate_exceptions_off_comes_before_testing(tmp_path: Path) -> None:
    """With PROPAGATE_EXCEPTIONS off, an unexpected error is a 500 also under TESTING, as in Flask."""
    response = respond(tmp_path, lambda ctx: 1 / 0, TESTING=True, PROPAGATE_EXCEPTIONS=False)
    assert response.status_code == 500


CLIENT: dict[str, tuple[Make, int, str]] = {
    "choice": (lambda ctx: unchecked_query(ctx, "find", kind="x"), 400, "Invalid enum value 'x' - at `$.kind`"),
    "bound": (lambda ctx: ctx.run_action(works, watts=-1.0), 400, "Expected `float` > 0.0 - at `$.watts`"),
    "64 bits": (lambda ctx: ctx.run_query(pages, count=10**30), 400, "Expected `int` <= 9223372036854775807"),
    "no id": (lambda ctx: ctx.run_query(get, lamp=LAMP("x")), 400, "Expected a valid id - at `$.lamp`"),
    "id of another table": (lambda ctx: ctx.run_query(get, lamp=LAMP(file_id(ctx))), 400, "Expected a valid id"),
    "no id in ctx.db": (lambda ctx: ctx.run_query(get_any, lamp="x"), 400, "Expected a valid id"),
    "other id in ctx.db": (lambda ctx: ctx.run_query(get_any, lamp=file_id(ctx)), 400, "Expected a valid id"),
    "id of a file": (lambda ctx: ctx.storage.delete(Id("x")), 400, "Expected the id of a stored file"),
    "no items": (lambda ctx: ctx.run_query(pages, count=0), 400, "The number of documents must be an integer of 1"),
    "negative": (lambda ctx: ctx.run_query(pages, count=-5), 400, "The number of documents must be an integer of 1"),
    "NaN": (lambda ctx: ctx.run_query(pages, count=float("nan")), 400, "The number of documents must be an integer"),
    "take": (lambda ctx: ctx.run_query(few, count=-1), 400, "The number of documents must be an integer of 0 or"),
    "take many": (lambda ctx: ctx.run_query(few, count=2**63), 400, "The number of documents must be an integer"),
    "cursor": (lambda ctx: ctx.run_query(pages, count=1, cursor="made-up"), 400, "start again without a cursor"),
    "surrogate": (lambda ctx: ctx.run_mutation(add, serial="\ud83d"), 400, "lone surrogates - at `$.serial`"),
    "NaN in JSON": (lambda ctx: ctx.run_mutation(add, serial="a", notes=float("nan")), 400, "at `$.notes`"),
    "unique": (lambda ctx: (lamp_id(ctx), lamp_id(ctx)), 409, "Another document has the same values"),
    "no document": (lambda ctx: ctx.run_mutation(replace, lamp=absent(), watts=5), 404, "There is no such document"),
    "no file": (lambda ctx: ctx.storage.delete(absent_file()), 404, "There is no such file"),
    "rate": (lambda ctx: limited(ctx), 429, "Rate limit exceeded; retry after 60 s"),
}
#: Names of the application in this module.
NAMES = re.compile("lamps|Lamp|by_serial|by_kind|test_error_statuses|few|pages|works|secret_limit|take|paginate")


def unchecked_query(ctx: ActionCtx, name: str, **arguments: Any) -> Any:
    """Call a query by name."""
    return ctx.run_query(f"test_error_statuses:{name}", **arguments)


def file_id(ctx: ActionCtx) -> str:
    """Return the id of a stored file."""
    return ctx.storage.store(b"x")


def absent() -> Id[Lamp]:
    """Return an id that no document has."""
    return LAMP("lamps_" + "0" * 32)  # type: ignore[no-any-return]


def absent_file() -> Id[StoredFile]:
    """Return an id that no file has."""
    return Id("_storage_" + "0" * 32)


def limited(ctx: ActionCtx) -> None:
    """Exceed a rate limit."""
    for _ in range(2):
        ctx.rate_limit("secret_limit", rate=1, period=60)


@pytest.mark.parametrize(("make", "status", "message"), CLIENT.values(), ids=list(CLIENT))
def test_what_a_client_sent_is_4xx(
    tmp_path: Path, make: Make, status: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that a handler passes on from a client is 4xx if it is out of range, with a message without names."""
    response = respond(tmp_path, make, TESTING=True)
    assert response.status_code == status
    assert response.json is not None and set(response.json) == {"error"}
    assert message in response.json["error"]
    assert not NAMES.search(response.text)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("case", "logged"),
    [
        ("choice", "test_error_statuses:find: Invalid enum value"),
        ("no id", "test_error_statuses:get: Expected an id of table lamps"),
        ("unique", "lamps: another document has the same serial (unique index by_serial)"),
        ("surrogate", "lamps: Expected text without lone surrogates"),
        ("negative", "paginate(num_items=-5)"),
        ("cursor", "lamps.by_creation_time in test_error_statuses:pages: The cursor was changed"),
        ("rate", "Rate limit secret_limit exceeded"),
    ],
)
def test_the_log_has_the_names(tmp_path: Path, case: str, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the names that the response leaves out, with the path and the request id."""
    caplog.set_level(logging.INFO, "flask_convex_http")
    respond(tmp_path, CLIENT[case][0])
    (line,) = (record.getMessage() for record in caplog.records if logged in record.getMessage())
    assert "POST '/call'" in line and "req-1" in line


def test_a_body_with_a_wrong_id_names_no_table(tmp_path: Path) -> None:
    """read_json says where a body has a wrong id, and names no table."""
    http = HttpRouter("http", __name__)

    @http.post("/lamps")
    def handler(ctx: ActionCtx, request: Request) -> Any:
        return {"serial": read_json(request, NewLamp).serial}

    with deployed(tmp_path, http, schema=Schema(Lamp)) as app:
        body = b'{"serial": "a", "like": "lamps"}'
        response = send(app, "POST", "/lamps", body, CONTENT_TYPE="application/json", CONTENT_LENGTH=str(len(body)))
    assert (response.status_code, response.json) == (400, {"error": "Expected a valid id - at `$.like`"})


def test_a_line_break_in_a_value_cannot_forge_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A value with a line break that a client has sent is escaped in the log."""
    respond(tmp_path, lambda ctx: unchecked_query(ctx, "find", kind="x\nERROR forged"))
    assert "forged" in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_the_debugger_of_flask_gets_the_error(tmp_path: Path) -> None:
    """In debug mode the error reaches the server with the traceback of the handler, for Flask's debugger."""
    from werkzeug.debug import DebuggedApplication

    http = HttpRouter("http", __name__)

    @http.get("/broken")
    def handler(ctx: ActionCtx, request: Request) -> Any:
        return ctx.run_query(returns_wrongly)

    with deployed(tmp_path, http, schema=Schema(Lamp), functions=FUNCTIONS, DEBUG=True) as app:
        page = Flask("client").test_client()
        page.application.wsgi_app = DebuggedApplication(app.wsgi_app)  # type: ignore[method-assign]
        response = page.get("/broken")
    assert response.status_code == 500
    assert "ReturnsValidationError" in response.text and "ctx.run_query(returns_wrongly)" in response.text
