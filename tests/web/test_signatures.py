"""The signatures of handlers: parameters, their order, and those rejected when a route is registered."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from flask import Blueprint, Request, g
from werkzeug.datastructures import FileStorage

from flask_convex_http import ActionCtx, HttpRouter, Id, RegistrationError, Schema, rate_limit, require_api_key
from tests.web.apps import backend_of, deployed, send
from tests.web.typed import Desk, Keys, Lamp, NewLamp, Paging, app_of, post

if TYPE_CHECKING:
    from decimal import Decimal

Handler = Callable[..., Any]


class Later(msgspec.Struct):
    """A struct that contains a class of the schema, and one that does not."""

    lamp: Id["Lamp | Unknown"]  # type: ignore[name-defined]  # noqa: F821


def _only_ctx(ctx: ActionCtx) -> dict[str, bool]:
    return {"ok": type(ctx).__name__ == "ActionCtx"}


def _only_request(request: Request) -> dict[str, bool]:
    return {"ok": request.path == "/x/1"}


def _neither() -> dict[str, bool]:
    return {"ok": True}


def _by_annotation(c: ActionCtx, sent: Request) -> dict[str, bool]:
    return {"ok": hasattr(c, "run_query") and sent.method == "GET"}


def _by_text(c: "ActionCtx", r: "Request", it: "int" = 0) -> dict[str, bool]:
    return {"ok": hasattr(c, "run_query") and r.method == "GET" and it == 1}


def _variable_and_ctx(ctx: ActionCtx, it: int) -> dict[str, bool]:
    return {"ok": hasattr(ctx, "run_query") and it == 1}


def _keyword_only(request: Request, *, it: int) -> dict[str, bool]:
    return {"ok": request.path == "/x/1" and it == 1}


def _any_values(ctx: ActionCtx, **values: Any) -> dict[str, bool]:
    return {"ok": values == {"it": "1"}}


class _Instance:
    def __call__(self, request: Request, it: "int") -> dict[str, bool]:
        return {"ok": it == 1}

    def method(self, ctx: ActionCtx, it: int) -> dict[str, bool]:
        return {"ok": it == 1}


def _partial(size: int, ctx: ActionCtx, it: "int") -> dict[str, bool]:
    return {"ok": (size, it) == (2, 1)}


@pytest.mark.parametrize(
    "handler",
    [
        _by_text,
        _variable_and_ctx,
        _keyword_only,
        _any_values,
        _Instance(),
        _Instance().method,
        functools.partial(_partial, 2),
    ],
)
@pytest.mark.parametrize("decorated", [False, True])
def test_a_handler_takes_what_it_needs(tmp_path: Path, handler: Handler, decorated: bool) -> None:
    """A handler may leave out the ctx and the request, and name them by its annotations, also below a decorator."""
    http = HttpRouter("http", __name__)
    if decorated and not isinstance(handler, functools.partial | _Instance):
        handler = _noting([])(handler)
    http.get("/x/<it>", endpoint="x")(handler)
    assert send(app_of(tmp_path, http), "GET", "/x/1").json == {"ok": True}


@pytest.mark.parametrize("handler", [_only_ctx, _only_request, _neither, _by_annotation])
def test_a_handler_without_variables(tmp_path: Path, handler: Handler) -> None:
    """A handler without variables of the path takes the ctx, the request, both or neither."""
    http = HttpRouter("http", __name__)
    http.get("/x/1")(handler)
    assert send(app_of(tmp_path, http), "GET", "/x/1").json == {"ok": True}


def _noting(notes: list[str]) -> Callable[[Handler], Handler]:
    """Return a decorator of the application."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def wrapper(*args: Any, **values: Any) -> Any:
            notes.append("called")
            return handler(*args, **values)

        return wrapper

    return decorate


def _with_user(handler: Handler) -> Handler:
    """Pass a user to a handler, as decorators of Flask apps do."""

    @functools.wraps(handler)
    def wrapper(ctx: ActionCtx, request: Request, **values: Any) -> Any:
        return handler(ctx, request, user="ada", **values)

    return wrapper


def test_decorators_between_route_and_handler(tmp_path: Path) -> None:
    """Guards and decorators of the application work in any order around a handler with typed parameters."""
    notes: list[str] = []
    http = HttpRouter("http", __name__)
    limit = rate_limit(rate=100, period=60, name="limit")

    def handler(body: NewLamp, query: Paging, it: int) -> dict[str, Any]:
        return {"name": body.name, "limit": query.limit, "it": it}

    def only_body(body: NewLamp) -> str:
        return body.name

    orders: list[list[Any]] = [
        [require_api_key, _noting(notes)],
        [_noting(notes), require_api_key],
        [_noting(notes), require_api_key, _noting(notes), limit],
        [limit, require_api_key, _noting(notes)],
        [_noting(notes)],
        [require_api_key, limit],
    ]
    http.post("/only-body")(rate_limit(rate=1, period=60)(only_body))
    for number, decorators in enumerate(orders):
        decorated: Handler = handler
        for decorate in decorators:
            decorated = decorate(decorated)
        http.post(f"/{number}/<it>", endpoint=str(number))(decorated)
    with deployed(tmp_path, http) as app:
        key, _ = backend_of(app).api_keys.create(name="test")
        for number in range(len(orders)):
            response = post(app, f"/{number}/2", b'{"name":"Lamp"}', QUERY_STRING="limit=3", HTTP_X_API_KEY=key)
            assert response.json == {"name": "Lamp", "limit": 3, "it": 2}, number
        assert [post(app, "/only-body", b'{"name":"a"}').status_code for _ in range(2)] == [200, 429]
    assert len(notes) == 6


def test_a_decorator_passes_an_argument(tmp_path: Path) -> None:
    """A decorator of the application may pass an argument that the route knows nothing of."""
    http = HttpRouter("http", __name__)

    @http.get("/x/<it>")
    @_with_user
    def x(ctx: ActionCtx, request: Request, user: str, it: int, query: Paging) -> dict[str, Any]:
        return {"user": user, "it": it, "limit": query.limit}

    assert send(app_of(tmp_path, http), "GET", "/x/1").json == {"user": "ada", "it": 1, "limit": 10}


def test_guards_run_before_the_request_is_read(tmp_path: Path) -> None:
    """A request without a key is 401, whatever its body; one with a key is then 400; a wrong variable is 404."""
    http = HttpRouter("http", __name__)

    @http.post("/x/<it>")
    @require_api_key
    def x(it: int, body: NewLamp) -> NewLamp:
        return body

    with deployed(tmp_path, http) as app:
        key, _ = backend_of(app).api_keys.create(name="test")
        statuses = [
            post(app, path, b"{", **headers).status_code
            for path, headers in (("/x/1", {}), ("/x/1", {"HTTP_X_API_KEY": key}), ("/x/a", {}))
        ]
    assert statuses == [401, 400, 404]


def test_an_async_handler_with_typed_parameters(tmp_path: Path) -> None:
    """An async handler takes a body and variables too, also behind a guard."""
    pytest.importorskip("asgiref")
    http = HttpRouter("http", __name__)

    async def x(it: int, body: NewLamp) -> dict[str, Any]:
        return {"it": it, "name": body.name}

    http.post("/guarded/<it>")(require_api_key(x))
    http.post("/x/<it>", endpoint="open")(x)
    with deployed(tmp_path, http) as app:
        assert post(app, "/x/1", b'{"name":"Lamp"}').json == {"it": 1, "name": "Lamp"}
        assert post(app, "/x/1", b"{}").status_code == 400
        key, _ = backend_of(app).api_keys.create(name="test")
        assert post(app, "/guarded/1", b"{}").status_code == 401
        assert post(app, "/guarded/1", b'{"name":"a"}', HTTP_X_API_KEY=key).json == {"it": 1, "name": "a"}


def test_variables_from_elsewhere(tmp_path: Path) -> None:
    """Defaults of a rule, the router's prefix and functions that take variables away are known to the check."""
    http = HttpRouter("http", __name__, url_prefix="/<lang>")

    @http.url_value_preprocessor
    def take_language(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.lang = (values or {}).pop("lang")

    @http.get("/x", defaults={"page": 1})
    def x(page: int) -> dict[str, Any]:
        return {"lang": g.lang, "page": page}

    assert send(app_of(tmp_path, http), "GET", "/en/x").json == {"lang": "en", "page": 1}


def test_a_class_that_is_defined_later(tmp_path: Path) -> None:
    """An annotation may name a class that is defined after the handler."""
    http = HttpRouter("http", __name__)
    http.post("/x")(_takes_later)
    assert post(app_of(tmp_path, http), "/x", b'{"width":2}').json == {"width": 2}


def _takes_later(body: "Size") -> "Size":
    return body


class Size(msgspec.Struct):
    """A class that is defined after its first use."""

    width: int


def _unreadable(body: "Decimal") -> str:
    return ""


def _unknown_table(body: Later) -> str:
    return ""


@pytest.mark.parametrize(
    ("handler", "message"),
    [(_unreadable, "must be readable at run time"), (_unknown_table, "not in the schema: add Unknown")],
)
def test_annotations_are_checked_with_the_app(tmp_path: Path, handler: Handler, message: str) -> None:
    """An annotation that cannot be read, or names a class outside of the schema, raises when the router is added."""
    http = HttpRouter("http", __name__)
    http.post("/x")(handler)
    with pytest.raises(RegistrationError, match=message):
        app_of(tmp_path, http)


def _body_and_form(body: NewLamp, form: NewLamp) -> str:
    return ""


def _body(body: NewLamp) -> str:
    return ""


def _form(form: NewLamp) -> str:
    return ""


def _bytes(body: bytes) -> str:
    return ""


def _plain_query(query) -> str:  # type: ignore[no-untyped-def]
    return ""


def _list_query(query: list[str]) -> str:
    return ""


def _nested_query(query: dict[str, Keys]) -> str:
    return ""


def _optional_query(query: Paging | None = None) -> str:
    return ""


class _Files(msgspec.Struct):
    photo: FileStorage


def _file_form(form: _Files) -> str:
    return ""


def _unknown(ctx: ActionCtx, request: Request, nmae: str) -> str:
    return ""


def _struct_variable(it: NewLamp) -> str:
    return ""


def _list_variable(it: list[int]) -> str:
    return ""


def _text_variable(it: str) -> str:
    return ""


def _by_place(ctx: ActionCtx, request: Request, it: str, /) -> str:
    return ""


def _takes_nothing() -> str:
    return ""


def _custom_body(body: FileStorage) -> str:
    return ""


def _untyped(a) -> str:  # type: ignore[no-untyped-def]
    return ""


@pytest.mark.parametrize(
    ("handler", "where", "message"),
    [
        (_body_and_form, {"rule": "/x"}, "both body and form"),
        (_body, {"rule": "/x", "method": "GET"}, "takes body, and GET requests have none; write query"),
        (_body, {"rule": "/x", "methods": ["POST", "OPTIONS"]}, "OPTIONS requests have none"),
        (_form, {"rule": "/x", "method": "GET"}, "takes form, and GET requests have none"),
        (_bytes, {"rule": "/x"}, r"call request.get_data\(\)"),
        (_custom_body, {"rule": "/x"}, "FileStorage cannot be validated"),
        (_plain_query, {"rule": "/x"}, "needs a type with its fields"),
        (_list_query, {"rule": "/x"}, "no fields by name; write a msgspec.Struct"),
        (_optional_query, {"rule": "/x"}, "Give a field that may be absent a default"),
        (_nested_query, {"rule": "/x"}, "cannot be sent as text, since it is an object"),
        (_file_form, {"rule": "/x"}, "FileStorage cannot be validated"),
        (_unknown, {"rule": "/x/<name>"}, r"requires nmae, which nothing passes.*/x/<name>/<nmae>"),
        (_unknown, {"rule": "/x"}, "or into url_prefix= of the HttpRouter"),
        (_untyped, {"rule": "/x"}, "requires a, which nothing passes"),
        (_struct_variable, {"rule": "/x/<it>"}, "not the type of one text; write str, int"),
        (_list_variable, {"path_prefix": "/x/"}, "not the type of one text; write str, int"),
        (_text_variable, {"rule": "/x/<int:it>"}, "write it: int"),
        (_by_place, {"rule": "/x/<it>"}, "takes it by position only"),
        (_takes_nothing, {"rule": "/x/<it>"}, "does not take it, a variable of the path /x/<it>"),
        (_takes_nothing, {"rule": "/x", "status": "201"}, "must be a status of a response, such as 201"),
        (_takes_nothing, {"rule": "/x", "status": 99}, "must be a status"),
        (_takes_nothing, {"rule": "/x", "content_types": ["text/plain"]}, "for a handler that takes body"),
        (_body, {"rule": "/x", "content_types": "text/plain"}, r"write \['text/plain'\]"),
        (_body, {"rule": "/x", "content_types": ["text"]}, "is no content type"),
    ],
)
def test_a_handler_that_cannot_work_is_rejected(handler: Handler, where: dict[str, Any], message: str) -> None:
    """A signature that cannot work at the path raises RegistrationError with what to write, and adds no route."""
    http = HttpRouter("http", __name__)
    options = where if "method" in where or "methods" in where else {"method": "POST"} | where
    with pytest.raises(RegistrationError, match=message):
        http.route(**options)(handler)
    with pytest.raises(RegistrationError, match=message):
        http.route(**options)(require_api_key(handler))
    assert not http.routes


def test_ids_are_bound_when_the_extension_comes_later(tmp_path: Path) -> None:
    """A router that is registered before the extension is set up checks the tables of ids too."""
    from flask import Flask

    from flask_convex_http import ConvexHTTP

    http = HttpRouter("http", __name__)

    @http.get("/lamps/<it>")
    def lamp(it: Id["Lamp"]) -> dict[str, str]:
        return {"id": it}

    outer = Blueprint("outer", __name__, url_prefix="/outer")
    outer.register_blueprint(http)
    app = Flask("test_app", instance_path=str(tmp_path))
    app.config["CONVEX_WORKER"] = "off"
    app.register_blueprint(outer)
    ConvexHTTP(app, schema=Schema(Lamp, Desk))
    assert send(app, "GET", "/outer/lamps/lamps_" + "0" * 32).status_code == 200
    assert send(app, "GET", "/outer/lamps/desks_" + "0" * 32).status_code == 404
