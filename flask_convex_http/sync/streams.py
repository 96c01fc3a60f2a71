"""Opens streams of server-sent events for `http.live`, and runs their queries."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import msgspec
from flask import Flask, Request, Response

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Snapshot
from flask_convex_http.errors import ConvexError, ConvexHTTPError, is_engine_failure
from flask_convex_http.function_api.identity import Client
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.sync.event_stream import EventStream, event
from flask_convex_http.sync.execution import SyncIdentity, WatchedAuth
from flask_convex_http.sync.handover import Environ, can_hand_over, take_socket
from flask_convex_http.sync.read_sets import RecordingSnapshot
from flask_convex_http.sync.service import SyncService, service_of
from flask_convex_http.sync.submissions import Call, Outcome, Ran
from flask_convex_http.web.live import LiveQuery
from flask_convex_http.web.request_ids import HEADER, request_id
from flask_convex_http.web.responses import error_response, json_response
from flask_convex_http.web.state import site_of

logger = logger_of("live")

_TYPE = "text/event-stream; charset=utf-8"
#: Milliseconds until a client connects again, where its connection cannot stay.
_RETRY_MS = 3000


class StreamCall(Call, frozen=True):
    """A query of a stream, whose path is the function's name in Python, and whose arguments are JSON by its rules."""


class StreamRunner:
    """Runs the queries of streams.

    Args:
        backend: The deployment.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def run(self, snapshot: Snapshot, call: Call, identity: SyncIdentity, journal: str | None) -> Ran:
        """Run a query in a snapshot.

        Raises:
            ConvexHTTPError: The database could not be read.
        """
        recording, auth = RecordingSnapshot(snapshot), WatchedAuth(identity.client.identity)

        def site() -> str:
            auth.was_asked = True
            return identity.site

        runtime = self._backend.runtime
        try:
            function = self._backend.functions.find(call.path)
            arguments = function.check_arguments((), msgspec.json.decode(call.args), json=True)
            value = runtime.query_in(
                recording, runtime.clock(), function, arguments, runtime.caller(auth, site).deeper()
            )
            data = json_response(value).get_data()
            outcome = Outcome(value=data, digest=data)
        except Exception as error:
            if is_engine_failure(error):
                raise
            outcome = _failed(call, error)
        return Ran(outcome, recording.read_set(), auth.was_asked)


def open_stream(app: Flask, backend: Backend, ctx: ActionCtx, current: Request, query: LiveQuery[Any]) -> Response:
    """Return the response of a stream, whose connection leaves the server.

    Where that is not possible, as with the test client, the response is one event. Clients ask again after a while.

    Args:
        app: The app.
        backend: Its backend.
        ctx: The ctx of the handler.
        current: The request.
        query: The query.

    Raises:
        FunctionNotFoundError: There is no function of that name.
        FunctionCallError: The function is not a query.
        ArgumentValidationError: The arguments do not match.
        AuthenticationError: The credential of the request is not valid.
    """
    function, arguments = backend.runtime.resolve(query.function, "query", query.args, query.kwargs, 1)
    identity = SyncIdentity.of(Client(ctx.auth.get_user_identity()), site_of(current))
    call = StreamCall(function.name, msgspec.json.encode(arguments))
    if current.method != "GET" or not can_hand_over(current.environ):
        with backend.engine.snapshot() as snapshot:
            outcome = StreamRunner(backend).run(snapshot, call, identity, None).outcome
        body = b"retry: %d\n%b" % (_RETRY_MS, event(0, outcome))
        return _with_headers(app.response_class(body, content_type=_TYPE))
    service = service_of(app, backend)
    service.runners.setdefault(StreamCall, StreamRunner(backend).run)
    address = current.remote_addr or ""
    if not service.loop.reserve(address):
        response = error_response("There are too many connections; try again later", 503, {"Retry-After": "5"})
        return response
    return _with_headers(_Stream(service, call, identity, address, request_id(current)))


def _with_headers(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"  # for nginx, which would wait for more
    return response


def _failed(call: Call, error: Exception) -> Outcome:
    if isinstance(error, ConvexError):
        data = json_response({"error": error.message, "data": error.data}).get_data()
    elif isinstance(error, ConvexHTTPError) and error.public and error.status < 500:
        data = json_response({"error": error.client_message or str(error)}).get_data()
    else:
        identity = secrets.token_hex(8)
        logger.error("The live query %r failed [%s]", call.path, identity, exc_info=error)
        data = b'{"error":"Internal server error"}'
    return Outcome(error_data=data, digest=(data,))


class _Stream(Response):
    """The response of a request whose connection leaves the server, which sends nothing.

    Args:
        service: Runs the query.
        call: The query.
        identity: The identity of the client.
        address: The address of the client, whose place is reserved.
        request_id: The id of the request.
    """

    def __init__(
        self, service: SyncService, call: StreamCall, identity: SyncIdentity, address: str, request_id: str
    ) -> None:
        super().__init__(content_type=_TYPE)
        self._service = service
        self._call = call
        self._identity = identity
        self._address = address
        self._request_id = request_id

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Take the connection over, and end the request by the exception that its server expects."""
        try:
            taken, end = take_socket(environ)
        except OSError:
            self._service.loop.release(self._address)
            logger.exception("The connection of a client could not be taken over")
            return Response(status=503)(environ, start_response)
        head = self._head(environ)
        self._service.loop.adopt(
            taken, lambda: EventStream(self._service, head, self._call, self._identity, self._address)
        )
        raise end

    def _head(self, environ: Environ) -> bytes:
        headers = self.get_wsgi_headers(environ)
        headers.remove("Content-Length")
        headers["Connection"] = "close"
        headers[HEADER] = self._request_id
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
