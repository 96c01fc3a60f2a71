"""JSON responses are sent as Flask sends its own."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, after_this_request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_convex_http import json_response
from flask_convex_http.web.responses.responses import encoded_response

_BODY = b'{"a":"\xc3\xa4"}'
Change = Callable[[Response], Any]


def _set_data(response: Response) -> None:
    response.set_data(b"other")


def _stream(response: Response) -> None:
    response.response = (part for part in (b"a", b"b"))


def _texts(response: Response) -> None:
    response.response = ["\u00e4", "b"]


def _cookie(response: Response) -> None:
    response.set_cookie("name", "value")
    response.vary.add("Cookie")


def _location(response: Response) -> None:
    response.headers["Location"] = "/\u00e4"
    response.headers["Content-Location"] = "/\u00e4"


def _no_length(response: Response) -> None:
    del response.headers["Content-Length"]


def _other_status(response: Response) -> None:
    response.status = "299 Own"


def _etag(response: Response) -> None:
    response.add_etag()
    response.headers["Date"] = "Tue, 01 Dec 2026 00:00:00 GMT"  # instead of the present second
    response.make_conditional(EnvironBuilder("/").get_environ())


def _all_headers(response: Response) -> None:
    response.headers = type(response.headers)([("X-Own", "1")])


_CHANGES: list[Change] = [
    *(lambda response: None, _set_data, _stream, _texts, _cookie, _location, _no_length, _other_status, _etag),
    *(_all_headers, lambda response: response.get_json(), lambda response: response.freeze()),
]


@pytest.mark.parametrize("change", _CHANGES)
def test_json_responses_equal_those_of_flask(change: Change) -> None:
    """A JSON response has the status, the headers and the body of Flask's, whatever was changed after it was made."""
    app = Flask(__name__)
    for status, method in itertools.product((200, 201, 204, 205, 304, 404, 599, 103), ("GET", "HEAD", "POST")):
        with app.app_context():
            ours, flasks = (
                json_response({"a": "\u00e4"}, status),
                Response(_BODY, status, content_type="application/json"),
            )
        assert _sent(ours, change, method) == _sent(flasks, change, method)


@pytest.mark.parametrize("change", _CHANGES)
def test_encoded_responses_have_further_headers(change: Change) -> None:
    """A response of encoded JSON has the headers that it was given, as one of Flask's has."""
    app, further = Flask(__name__), (("WWW-Authenticate", "Own"),)
    for method in ("HEAD", "POST"):
        with app.app_context():
            ours = encoded_response(app, _BODY, 401, further)
            flasks = Response(_BODY, 401, headers=[*further], content_type="application/json")
        (body, line, headers), expected = _sent(ours, change, method), _sent(flasks, change, method)
        assert (body, line, sorted(headers)) == (*expected[:2], sorted(expected[2]))


def _sent(response: Response, change: Change, method: str) -> tuple[bytes, str, list[tuple[str, str]]]:
    change(response)
    parts, line, headers = run_wsgi_app(response, EnvironBuilder("/", method=method).get_environ())
    return b"".join(parts), line, headers.to_wsgi_list()


def test_json_responses_are_responses_of_the_app() -> None:
    """A JSON response is an instance of the app's class of responses, also of a class of its own."""

    class Own(Response):
        """A class of the application."""

    app = Flask(__name__)
    with app.app_context():
        assert isinstance(json_response({}), Response)
        app.response_class = Own
        assert type(json_response({})) is Own


def test_functions_are_called_once_when_a_json_response_is_closed() -> None:
    """A function of `call_on_close` runs once, after the body, and only for its own response."""
    app = Flask(__name__)
    closed = []

    @app.get("/closing/<name>")
    def closing(name: str) -> Response:
        response = json_response({"name": name})
        if name != "none":
            response.call_on_close(lambda: closed.append(name))
        return response

    client = app.test_client()
    assert [client.get(f"/closing/{name}", buffered=True).get_json()["name"] for name in ("a", "none", "b")] == [
        "a",
        "none",
        "b",
    ]
    assert closed == ["a", "b"]


def test_functions_after_the_request_see_and_change_a_json_response() -> None:
    """`after_request` reads and changes status, headers and body of a JSON response."""
    app = Flask(__name__)

    @app.get("/changed")
    def changed() -> Response:
        @after_this_request
        def after(response: Response) -> Response:
            assert (response.status_code, response.get_json()) == (200, {"a": 1})
            assert response.headers["Content-Length"] == str(response.content_length) == "7"
            response.headers["X-Own"] = "1"
            response.status_code = 418
            return response

        return json_response({"a": 1})

    response = app.test_client().get("/changed")
    assert (response.status_code, response.headers["X-Own"], response.get_json()) == (418, "1", {"a": 1})
