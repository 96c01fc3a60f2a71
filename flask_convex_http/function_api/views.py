"""The endpoints of the function API, as Flask views.

A failed function has status 200. Every other failure has the status of its kind and `{"code", "message"}`.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from flask import Flask, Request, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flask_convex_http.backend import Backend
from flask_convex_http.errors import AuthProviderError, ConvexHTTPError, PayloadTooLargeError, RequestError
from flask_convex_http.function_api.calls import Call, Calls, Error, Success
from flask_convex_http.function_api.encoding import Form
from flask_convex_http.function_api.failures import ProtocolError, protocol_error
from flask_convex_http.function_api.identity import ANONYMOUS, Client, client_of
from flask_convex_http.functions.function import Kind
from flask_convex_http.nesting import MAX_NESTING, TOO_DEEP, exceeds, may_exceed
from flask_convex_http.web.guards.request_identity import api_key_header, identify_key, identify_token
from flask_convex_http.web.requests.limits import Limits
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.requests.requests import is_json, refuse_compressed
from flask_convex_http.web.state import site_of

#: The levels of a request around the arguments of its calls.
_LEVELS_AROUND = 4
_MOST_QUERIES = 100
_TIMESTAMP = struct.Struct("<Q")
_FORMS: dict[str | None, Form] = {
    None: "clean",
    "json": "clean",
    "convex_clean_json": "clean",
    "convex_encoded_json": "encoded",
    "convex_json": "encoded",
}
_JSON = "application/json"
#: The body of a response, which msgspec encodes, or a whole response.
Body = Any


class Views:
    """The views of an app.

    Args:
        app: The app.
        backend: Its backend.
        calls: Runs the calls.
        version: The text of `/version`.
    """

    def __init__(self, app: Flask, backend: Backend, calls: Calls, version: str) -> None:
        self._app = app
        self._backend = backend
        self._calls = calls
        self._version = version

    def call(self, kind: Kind, current: Request) -> Body:
        """Respond to `POST /api/query`, `/api/mutation` and `/api/action`."""
        call = self._parsed(self._body(current), kind, "BadJsonBody")
        return self._run(call, self._client(current), current)

    def get_query(self, current: Request) -> Body:
        """Respond to `GET /api/query`."""
        query = {name: current.args[name] for name in ("path", "args", "format") if name in current.args}
        if "args" in query:
            query["args"] = _parse(query["args"].encode(errors="surrogatepass"), "BadQueryArgs")
        call = self._parsed(query, "query", "BadQueryArgs")
        return self._run(call, self._client(current), current)

    def run(self, suffix: str, current: Request) -> Body:
        """Respond to `POST /api/run/<module>/<function>`: a function of any kind."""
        client = self._client(current)
        module, _, name = suffix.rpartition("/")
        if not module or not name:
            raise ProtocolError(
                400, "MissingIdentifier", "Path or function name not provided in path, e.g. /api/run/messages/list"
            )
        body = self._body(current) | {"path": f"{module}:{name}"}
        return self._run(self._parsed(body, None, "BadJsonBody"), client, current)

    def function(self, current: Request) -> Body:
        """Respond to `POST /api/function`: a function of any kind, for administrators."""
        client = self.check_administrator(current)
        body = self._body(current)
        if body.get("componentPath"):
            raise ProtocolError(400, "BadJsonBody", "This deployment has no components; leave componentPath out")
        return self._run(self._parsed(body, None, "BadJsonBody"), client, current)

    def query_batch(self, current: Request) -> Body:
        """Respond to `POST /api/query_batch`: several queries on one snapshot."""
        queries = self._body(current).get("queries")
        if not isinstance(queries, list) or not all(isinstance(query, dict) for query in queries):
            raise ProtocolError(400, "BadJsonBody", "queries must be a list of objects")
        if len(queries) > _MOST_QUERIES:
            raise ProtocolError(400, "BadJsonBody", f"queries must have at most {_MOST_QUERIES} items")
        calls = [self._parsed(query, "query", "BadJsonBody") for query in queries]
        client = self._client(current)
        results = self._calls.run_all(calls, client, lambda: site_of(current), request_id(current))
        return {"results": results}

    def query_ts(self, current: Request) -> Body:
        """Respond to `POST /api/query_ts` with the number of the newest commit, which clients send back as it is."""
        return {"ts": b64encode(_TIMESTAMP.pack(self._calls.last_commit())).decode()}

    def query_at_ts(self, current: Request) -> Body:
        """Respond to `POST /api/query_at_ts`: a query on the documents as a commit had left them."""
        body = self._body(current)
        call, number = self._parsed(body, "query", "BadJsonBody"), _number_of(body.get("ts"))
        client = self._client(current)
        return self._calls.run_at(number, call, client, lambda: site_of(current), request_id(current))

    def version(self, current: Request) -> Response:
        """Respond to `GET /version`."""
        return self._app.response_class(self._version, content_type="text/plain; charset=utf-8")

    def check_administrator(self, current: Request) -> Client:
        """Return the caller of a request, who must be an administrator.

        Raises:
            ProtocolError: It is not (401).
        """
        client = self._client(current)
        if not client.is_admin:
            raise ProtocolError(401, "BadDeployKey", "This endpoint needs an admin key: Authorization: Convex ...")
        return client

    # --- parts -------------------------------------------------------------------------------------------------------

    def _run(self, call: Call, client: Client, current: Request) -> Success | Error:
        return self._calls.run(call, client, lambda: site_of(current), request_id(current))

    def _client(self, current: Request) -> Client:
        """Return the caller of a request, whose credential is checked here.

        Raises:
            ProtocolError: The credential is not valid.
        """
        header = current.environ.get("HTTP_AUTHORIZATION", "").strip()
        if header:
            return client_of(header, lambda token: identify_token(self._backend, token), self._backend.admin_keys)
        key = api_key_header(current)
        if key is None:
            return ANONYMOUS
        return client_of(f"Bearer {key}", lambda token: identify_key(self._backend, token), self._backend.admin_keys)

    def _body(self, current: Request) -> dict[str, Any]:
        """Return the parsed body of a request.

        Raises:
            ProtocolError: It is not a JSON object, or too large (400).
        """
        environ = current.environ
        if environ.get("CONTENT_TYPE") != _JSON and not is_json(current.mimetype):  # parsing it costs 10 µs
            raise ProtocolError(400, "BadJsonBody", "Expected request with `Content-Type: application/json`")
        try:
            refuse_compressed(environ)
            if not self._is_small(environ):
                Limits().apply(current, self._app, self._backend.settings)
                current.json_module.check(current.get_data())
            data = current.get_data()
        except (RequestError, PayloadTooLargeError, RequestEntityTooLarge) as error:
            raise ProtocolError(400, "BadJsonBody", str(error)) from None
        body = _parse(data, "BadJsonBody")
        if not isinstance(body, dict):
            raise ProtocolError(400, "BadJsonBody", "The body must be a JSON object")
        return body

    def _is_small(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a body is announced to be within the limit of JSON, which Werkzeug then keeps."""
        length = environ.get("CONTENT_LENGTH") or ""
        if not length.isdecimal() or len(length) > 10 or "HTTP_TRANSFER_ENCODING" in environ:
            return False
        return int(length) <= self._backend.settings.max_json_bytes

    def _parsed(self, given: dict[str, Any], kind: Kind | None, code: str) -> Call:
        """Return the call of a body or a query string. The format is checked before anything runs.

        Raises:
            ProtocolError: A part is missing or wrong (400).
        """
        for name in ("path", "args"):
            if name not in given:
                raise ProtocolError(400, code, f"missing field `{name}`")
        form = given.get("format")
        if not (form is None or isinstance(form, str)) or form not in _FORMS:
            raise ProtocolError(
                400,
                "BadFormat",
                f"format param must be one of [`json`, `convex_encoded_json`]. Got {str(form)[:100]}",
            )
        return Call(self._calls.check_path(given["path"]), given["args"], kind, _FORMS[form])


def respond(app: Flask, view: Callable[[Request], Body], current: Request) -> Response:
    """Return the response of a view, errors of the protocol included."""
    try:
        body = view(current)
    except ProtocolError as error:
        return _refusal(app, error)
    except (AuthProviderError, ConvexHTTPError) as error:
        if not error.public:
            raise
        return _refusal(app, protocol_error(error, current.path, request_id(current)))
    except HTTPException as error:  # the body breaks off, or is malformed
        if error.code is None or error.code < 400:
            raise
        return _refusal(app, ProtocolError(error.code, "BadRequest", error.description or error.name))
    if isinstance(body, Response):
        return body
    return app.response_class(msgspec.json.encode(body), content_type=_JSON)


def _refusal(app: Flask, error: ProtocolError) -> Response:
    body = msgspec.json.encode({"code": error.code, "message": error.message})
    response = app.response_class(body, error.status, content_type=_JSON)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return response


def _parse(data: bytes, code: str) -> Any:
    """Parse JSON of bounded depth.

    Raises:
        ProtocolError: It is not JSON, or is nested too deeply (400).
    """
    most = MAX_NESTING + _LEVELS_AROUND
    try:
        value = msgspec.json.decode(data)
        if may_exceed(data, most) and exceeds(value, most):
            raise RecursionError
    except RecursionError:
        raise ProtocolError(400, code, TOO_DEEP.partition(" - at ")[0]) from None
    except (msgspec.MsgspecError, UnicodeError, ValueError):
        raise ProtocolError(400, code, "Invalid JSON") from None
    return value


def _number_of(text: Any) -> int:
    try:
        return int(_TIMESTAMP.unpack(b64decode(text, validate=True))[0])
    except (ValueError, TypeError, struct.error):
        raise ProtocolError(400, "BadJsonBody", "ts must be base64 of 8 bytes") from None


KINDS: tuple[Kind, ...] = get_args(Kind)
