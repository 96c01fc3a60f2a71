"""Opens streams of server-sent events for `http.live`, and runs their queries."""

from __future__ import annotations

import secrets
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
from flask_convex_http.sync.handover import can_hand_over
from flask_convex_http.sync.read_sets import RecordingSnapshot
from flask_convex_http.sync.server_sent_events import MEDIA_TYPE, EventResponse, with_stream_headers
from flask_convex_http.sync.service import service_of
from flask_convex_http.sync.submissions import Call, Outcome, Ran
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.responses.responses import error_response, json_response
from flask_convex_http.web.state import site_of
from flask_convex_http.web.streams.live import LiveQuery

logger = logger_of("live")

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
            caller = runtime.caller(auth, site).deeper()
            value = runtime.query_in(recording, runtime.clock(), function, arguments, caller, is_live=True)
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
        return with_stream_headers(app.response_class(body, content_type=MEDIA_TYPE))
    service = service_of(app, backend)
    service.runners.setdefault(StreamCall, StreamRunner(backend).run)
    address = current.remote_addr or ""
    if not service.loop.reserve(address):
        response = error_response("There are too many connections; try again later", 503, {"Retry-After": "5"})
        return response

    def make(head: bytes) -> EventStream:
        return EventStream(service, head, call, identity, address)

    return with_stream_headers(EventResponse(service, make, address, request_id(current)))


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
