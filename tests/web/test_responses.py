"""Responses made of the values that handlers return and the errors that they raise."""

import enum
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request, Response, got_request_exception, jsonify, redirect, render_template_string
from flask.json.provider import JSONProvider
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    ConvexHTTP,
    Document,
    DocumentValidationError,
    FunctionNotFoundError,
    HttpRouter,
    Id,
    MissingSecretError,
    MutationCtx,
    NotUniqueError,
    OverloadedError,
    Page,
    PayloadTooLargeError,
    QueryError,
    ReturnsValidationError,
    Schema,
    StorageIdError,
    UnavailableError,
    VerificationError,
    error_response,
    internal_mutation,
    json_response,
    mutation,
)
from tests.web.apps import backend_of, deployed, send


class Lamp(Document, table="lamps"):
    """A lamp."""

    name: str
    made: datetime | None = None


@internal_mutation
def add(ctx: MutationCtx, *, name: str) -> Id[Lamp]:
    """Add a lamp."""
    return ctx.db.insert(Lamp(name=name, made=datetime(2026, 1, 2, tzinfo=UTC)))


@internal_mutation
def add_two(ctx: MutationCtx) -> list[Lamp]:
    """Add two lamps and return them."""
    return [found for name in ("a", "b") if (found := ctx.db.get(ctx.db.insert(Lamp(name=name))))]


@mutation
def fails(ctx: MutationCtx) -> None:
    """Raise an error of the application."""
    raise ConvexError({"message": "Out of lamps", "left": 0}, status=409)


class Colour(enum.Enum):
    """A value that JSON has no form for."""

    RED = "red"


def router_returning(make: Callable[[ActionCtx], Any]) -> HttpRouter:
    """Return a router whose one handler returns the result of `make`."""
    http = HttpRouter("http", __name__)

    @http.get("/")
    def handler(ctx: ActionCtx, request: Request) -> Any:
        return make(ctx)

    return http


def get(folder: Path, make: Callable[[ActionCtx], Any], **config: Any) -> TestResponse:
    """Return the response to one request, which `make` produces."""
    with deployed(
        folder, router_returning(make), schema=Schema(Lamp), functions=[add, add_two, fails], **config
    ) as app:
        return send(app, "GET", "/")


def json_of(response: TestResponse) -> Any:
    """Return the body of a JSON response."""
    assert response.content_type == "application/json"
    return response.json


def raising(error: Exception) -> Callable[[ActionCtx], Any]:
    """Return a handler that raises this error."""

    def make(ctx: ActionCtx) -> Any:
        raise error

    return make


def stream() -> Iterator[str]:
    """Yield a body in pieces."""
    yield "a"
    yield "b"


RETURNED: list[tuple[Any, int, str, bytes]] = [
    ({"a": 1}, 200, "application/json", b'{"a":1}'),
    ([1, None], 200, "application/json", b"[1,null]"),
    ([], 200, "application/json", b"[]"),
    ("text", 200, "text/html; charset=utf-8", b"text"),
    (b"\x00", 200, "text/html; charset=utf-8", b"\x00"),
    (({"a": 1}, 201), 201, "application/json", b'{"a":1}'),
    (("text", 202), 202, "text/html; charset=utf-8", b"text"),
    (("text", {"Content-Type": "text/plain"}), 200, "text/plain", b"text"),
    (([1], 203, {"X-More": "1"}), 203, "application/json", b"[1]"),
    (Response("r", 418, mimetype="text/plain"), 418, "text/plain; charset=utf-8", b"r"),
    ("", 200, "text/html; charset=utf-8", b""),
]


@pytest.mark.parametrize(("value", "status", "content_type", "body"), RETURNED)
def test_return_values_of_flask_views(tmp_path: Path, value: Any, status: int, content_type: str, body: bytes) -> None:
    """Dicts, lists, text, bytes, tuples and responses become the same as in Flask, with compact JSON."""
    response = get(tmp_path, lambda ctx: value)
    assert (response.status_code, response.content_type, response.data) == (status, content_type, body)


def test_generators_and_redirects(tmp_path: Path) -> None:
    """A generator streams, and a redirect of Flask passes unchanged."""
    assert get(tmp_path, lambda ctx: stream()).data == b"ab"
    assert get(tmp_path, lambda ctx: redirect("/x", code=302)).headers["Location"] == "/x"


def test_documents(tmp_path: Path) -> None:
    """A document and a list of documents are JSON with `_id` and `_creationTime`, also in a tuple with a status."""

    def one(ctx: ActionCtx) -> Any:
        added = ctx.run_mutation(add_two)
        return added[0], 201, {"Location": "/lamps/1"}

    response = get(tmp_path, one)
    assert (response.status_code, response.headers["Location"]) == (201, "/lamps/1")
    assert set(json_of(response)) == {"_id", "_creationTime", "name", "made"}
    several = json_of(get(tmp_path, lambda ctx: ctx.run_mutation(add_two)))
    assert [lamp["name"] for lamp in several] == ["a", "b"]


def test_values_that_json_cannot_express(tmp_path: Path) -> None:
    """In JSON, times are ISO 8601, bytes are base64, enums their values and sets lists."""
    value = {"at": datetime(2026, 1, 2, tzinfo=UTC), "bytes": b"\x00\xff", "colour": Colour.RED, "set": {1}}
    assert get(tmp_path, lambda ctx: value).json == {
        "at": "2026-01-02T00:00:00Z",
        "bytes": "AP8=",
        "colour": "red",
        "set": [1],
    }


def test_documents_in_flasks_own_json(tmp_path: Path) -> None:
    """`jsonify`, `tojson` and nested values encode documents as handlers do, and other values as Flask does."""
    with deployed(tmp_path, router_returning(lambda ctx: "x"), schema=Schema(Lamp), functions=[add_two]) as app:
        lamp = backend_of(app).ctx().run_mutation(add_two)[0]

        @app.get("/plain")
        def plain() -> Response:
            return jsonify(
                lamp=lamp, lamps=[lamp], at=date(2026, 1, 2), page=Page(page=[lamp], is_done=True, continue_cursor="c")
            )

        found = send(app, "GET", "/plain").json
        with app.app_context():
            text = render_template_string("{{ lamp | tojson }}", lamp=lamp)
    expected = {"_id": lamp.id, "_creationTime": lamp.creation_time, "name": "a", "made": None}
    assert found is not None
    assert found["lamp"] == found["lamps"][0] == found["page"]["page"][0] == json.loads(text) == expected
    assert found["page"]["continueCursor"] == "c"
    assert found["at"] == "Fri, 02 Jan 2026 00:00:00 GMT"


def test_jsonify_still_rejects_other_values(tmp_path: Path) -> None:
    """A value that neither Flask nor the package encodes is still a TypeError, also inside of a document."""
    with deployed(tmp_path) as app, app.app_context():
        for value in (object(), [object()]):
            with pytest.raises(TypeError):
                jsonify(value)


def test_a_provider_without_default_is_left_alone(tmp_path: Path) -> None:
    """A JSON provider of the application that has no `default` is not changed."""

    class Plain(JSONProvider):
        def dumps(self, obj: Any, **kwargs: Any) -> str:
            return "mine"

        def loads(self, s: str | bytes, **kwargs: Any) -> Any:
            return None

    app = Flask("plain", instance_path=str(tmp_path))
    app.json = Plain(app)
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    ConvexHTTP(app)
    assert app.json.dumps({}) == "mine"


def test_response_helpers(tmp_path: Path) -> None:
    """json_response and error_response take a status and headers."""
    response = get(tmp_path, lambda ctx: json_response(Lamp(name="a"), 202, {"X-More": "1"}))
    assert (response.status_code, response.headers["X-More"], json_of(response)["name"]) == (202, "1", "a")
    response = get(tmp_path, lambda ctx: error_response("no", 409, {"X-More": "1"}))
    assert (response.status_code, response.headers["X-More"], response.json) == (409, "1", {"error": "no"})


@pytest.mark.parametrize("value", [None, 1, object(), (None, 200), ({"a": object()},)])
def test_invalid_return_value_is_a_logged_500(tmp_path: Path, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A return value that is no response is a 500, and only the log has the reason."""
    response = get(tmp_path, lambda ctx: value)
    assert response.status_code == 500
    assert json_of(response)["error"] == "Internal server error"
    assert "TypeError" in caplog.text


PUBLIC: list[tuple[Exception, int]] = [
    (ConvexError("no"), 400),
    (ConvexError("no", status=418), 418),
    (StorageIdError("no"), 400),
    (VerificationError("malformed", "no"), 400),
    (PayloadTooLargeError("no"), 413),
    (OverloadedError("no"), 503),
    (UnavailableError("no"), 503),
    (MissingSecretError("the label", "no"), 503),
]


@pytest.mark.parametrize(("error", "status"), PUBLIC)
def test_public_errors_have_a_status(tmp_path: Path, error: Exception, status: int) -> None:
    """A public error has its own status and message."""
    response = get(tmp_path, raising(error))
    assert response.status_code == status
    assert json_of(response)["error"] == "no"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(OverloadedError("no"), "1"), (UnavailableError("no"), "10"), (MissingSecretError("no"), "60")],
)
def test_retry_after(tmp_path: Path, error: Exception, seconds: str) -> None:
    """A 503 of a temporary failure has Retry-After."""
    assert get(tmp_path, raising(error)).headers["Retry-After"] == seconds


def test_convex_error_carries_its_data(tmp_path: Path) -> None:
    """A ConvexError that is raised in a mutation reaches the client with its data and status."""
    response = get(tmp_path, lambda ctx: ctx.run_mutation(fails))
    assert (response.status_code, response.json) == (
        409,
        {"error": "Out of lamps", "data": {"message": "Out of lamps", "left": 0}},
    )


@pytest.mark.parametrize("data", ["Forbidden", None])
def test_convex_error_without_data(tmp_path: Path, data: str | None) -> None:
    """A ConvexError with only a message, or with nothing, has no data in its response."""
    response = get(tmp_path, raising(ConvexError(data, status=403)))
    assert (response.status_code, response.json) == (403, {"error": data or "Application error"})


@pytest.mark.parametrize("data", [{"message": "No"}, {}, [], ["a"], 0, False, 1.5])
def test_convex_error_with_data_of_any_kind(tmp_path: Path, data: Any) -> None:
    """Data that is given reaches the client, whatever its kind."""
    assert (get(tmp_path, raising(ConvexError(data))).json or {})["data"] == data


UNEXPECTED = [
    DocumentValidationError("secret text"),
    FunctionNotFoundError("secret text"),
    ValueError("secret text"),
    KeyError("secret text"),
    NotUniqueError("secret text"),
    QueryError("secret text"),
    ReturnsValidationError("secret text"),
]


@pytest.mark.parametrize("error", UNEXPECTED)
def test_unexpected_errors_are_not_shown(tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is a 500 with the request id; only the log and the signal have the exception."""
    signalled: list[Exception] = []

    def receive(sender: Flask, exception: Exception) -> None:
        assert isinstance(sender, Flask)
        signalled.append(exception)

    with got_request_exception.connected_to(receive):
        response = get(tmp_path, raising(error))
    identity = response.headers["X-Request-Id"]
    assert (response.status_code, response.json) == (500, {"error": "Internal server error", "requestId": identity})
    assert b"secret text" not in response.data
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info is not None and record.exc_info[1] is error
    assert identity in record.getMessage()
    assert signalled == [error]


def test_log_lines_cannot_be_forged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line break in a path cannot forge a log line."""
    http = HttpRouter("http", __name__)

    @http.get(path_prefix="/")
    def handler(ctx: ActionCtx, request: Request) -> str:
        raise ValueError

    with deployed(tmp_path, http) as app:
        send(app, "GET", "/a\nERROR forged")
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_exceptions_propagate_when_asked(tmp_path: Path) -> None:
    """With PROPAGATE_EXCEPTIONS unexpected errors reach the server, and public errors are still responses."""
    with pytest.raises(ValueError, match="secret text"):
        get(tmp_path, raising(ValueError("secret text")), PROPAGATE_EXCEPTIONS=True)
    assert get(tmp_path, raising(ConvexError("no")), PROPAGATE_EXCEPTIONS=True).status_code == 400


def test_every_response_has_a_request_id(tmp_path: Path) -> None:
    """Each response, also the host app's own and its 404, has one X-Request-Id of 16 hex digits."""
    with deployed(tmp_path, router_returning(lambda ctx: "x")) as app:
        app.add_url_rule("/own", view_func=lambda: "own")
        app.add_url_rule("/fail", view_func=lambda: str(1 / 0), endpoint="fail")
        identities = set()
        for path, status in {"/": 200, "/own": 200, "/missing": 404, "/fail": 500}.items():
            response = send(app, "GET", path)
            (identity,) = response.headers.getlist("X-Request-Id")
            assert response.status_code == status
            assert len(identity) == 16 and int(identity, 16) >= 0
            identities.add(identity)
    assert len(identities) == 4


def test_request_ids_cannot_be_guessed_from_one_another(tmp_path: Path) -> None:
    """Consecutive requests have ids that share no digits but by chance."""
    with deployed(tmp_path, router_returning(lambda ctx: "x")) as app:
        found = [send(app, "GET", "/").headers["X-Request-Id"] for _ in range(64)]
    differences = {int(one, 16) - int(other, 16) for one, other in itertools.pairwise(found)}
    assert len(differences) == 63
    assert len({identity[:8] for identity in found}) == len({identity[8:] for identity in found}) == 64


@pytest.mark.parametrize("incoming", ["abc-123", "A.b_c:d/e+f=", "a" * 128])
def test_well_formed_incoming_id_is_kept(tmp_path: Path, incoming: str) -> None:
    """A well-formed id from a proxy is kept, in the response header and in the error."""
    with deployed(tmp_path, router_returning(raising(ValueError()))) as app:
        response = send(app, "GET", "/", HTTP_X_REQUEST_ID=incoming)
    assert response.headers["X-Request-Id"] == (response.json or {})["requestId"] == incoming


@pytest.mark.parametrize("incoming", ["", "a b", "a\r\nX-Evil: 1", "a\n", "é", "٣", "a" * 129, "<b>", "a,b"])
def test_malformed_incoming_id_is_replaced(tmp_path: Path, incoming: str) -> None:
    """A malformed id from outside is replaced."""
    with deployed(tmp_path, router_returning(lambda ctx: "x")) as app:
        response = send(app, "GET", "/", HTTP_X_REQUEST_ID=incoming)
    (identity,) = response.headers.getlist("X-Request-Id")
    assert len(identity) == 16 and "X-Evil" not in response.headers
