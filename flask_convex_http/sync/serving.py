"""Serve the sync protocol of an app: the view that takes the connection of a request over.

The rules have the lowest rank, like those of the function API.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import msgspec
from flask import Flask, Request, Response, request

from flask_convex_http.backend import Backend
from flask_convex_http.function_api.calls import Calls
from flask_convex_http.function_api.identity import Client
from flask_convex_http.log import logger_of
from flask_convex_http.sync.credentials import client_of_message
from flask_convex_http.sync.execution import Execution
from flask_convex_http.sync.handed_over import HandedOver
from flask_convex_http.sync.handover import Environ, can_hand_over
from flask_convex_http.sync.handshake import is_upgrade, request_head
from flask_convex_http.sync.messages import Authenticate
from flask_convex_http.sync.service import SyncService, service_of
from flask_convex_http.web.cors import Policy
from flask_convex_http.web.guards.request_identity import identify_token
from flask_convex_http.web.state import site_of

logger = logger_of("live")

#: A version in the path, which the clients in JavaScript send. They understand transitions in several messages.
_VERSION = re.compile(r"\d+\.\d+\.\d+[A-Za-z0-9.+-]*", re.ASCII)
_RETRY_AFTER = "5"


def sync_views(app: Flask, backend: Backend, calls: Calls, cors: Policy) -> SyncViews:
    """Return the views of an app. Nothing starts before the first connection.

    Args:
        app: The app.
        backend: Its backend.
        calls: Finds functions, and reads and writes their values.
        cors: The origins whose pages may connect, beside those of the app itself.
    """
    execution = Execution(backend, calls, app.app_context)

    def identify(message: Authenticate) -> Client:
        return client_of_message(message, lambda token: identify_token(backend, token), backend.admin_keys)

    service = service_of(app, backend)
    service.serve_clients(execution, identify)
    apply = cors.applier(["GET"]) if cors else None
    return SyncViews(app, service, lambda current: _is_own(current) or (apply is not None and _is_allowed(apply)))


class SyncViews:
    """The views of the sync protocol.

    Args:
        app: The app.
        service: The live queries of the app.
        allows: Returns whether the page that has sent a request may connect.
    """

    def __init__(self, app: Flask, service: SyncService, allows: Callable[[Request], bool]) -> None:
        self._app = app
        self._service = service
        self._allows = allows
        self._is_told = False

    def sync(self, version: str | None = None, **_: str) -> Response:
        """Respond to the request of a client.

        Args:
            version: The version of the client in the path, if it sends one.
        """
        if version is not None and not _VERSION.fullmatch(version):
            return self._refuse(400, "ClientVersionUnsupported", f"{version[:50]!r} is not a version")
        return self._open(request, chunks=version is not None)

    def _open(self, current: Request, *, chunks: bool) -> Response:
        environ, service = current.environ, self._service
        if not is_upgrade(environ):
            response = self._refuse(426, "UpgradeRequired", "This path speaks WebSocket only")
            response.headers["Upgrade"] = "websocket"
            return response
        if "HTTP_ORIGIN" in environ and not self._allows(current):
            return self._refuse(403, "Forbidden", "Pages of this origin may not connect")
        if not can_hand_over(environ):
            self._tell()
            return self._refuse(501, "LiveQueriesUnavailable", "This server has no live queries")
        address = current.remote_addr or ""
        if not service.loop.reserve(address):
            logger.warning("A client was refused, since the limit of connections is reached")
            response = self._refuse(503, "Overloaded", "There are too many connections; try again later")
            response.headers["Retry-After"] = _RETRY_AFTER
            return response
        return _WebSocketResponse(service, address, site_of(current), chunks=chunks)

    def _refuse(self, status: int, code: str, message: str) -> Response:
        body = msgspec.json.encode({"code": code, "message": message})
        return self._app.response_class(body, status, content_type="application/json")

    def _tell(self) -> None:
        """Tell the developer once why live queries do not work."""
        if not self._is_told:
            self._is_told = True
            logger.error(
                "Live queries need the connection of the request: serve the app with gunicorn and "
                "`-c python:flask_convex_http.gunicorn`, or with `flask run`, and end TLS in a proxy"
            )


def _is_own(current: Request) -> bool:
    """Return whether a page of the app itself has sent a request."""
    return str(current.environ["HTTP_ORIGIN"]).partition("://")[2] == current.host


def _is_allowed(apply: Callable[[Response], Response]) -> bool:
    """Return whether the rules of CORS let the page that has sent the current request read a response."""
    return "Access-Control-Allow-Origin" in apply(Response()).headers


class _WebSocketResponse(HandedOver):
    """The response that hands the connection of a WebSocket over.

    Args:
        service: Serves the connection.
        address: The address of the client, whose place is reserved.
        site: The beginning of absolute URLs.
        chunks: Whether the client understands transitions in several messages.
    """

    def __init__(self, service: SyncService, address: str, site: str, *, chunks: bool) -> None:
        super().__init__(service, address, status=101)
        self._site = site
        self._chunks = chunks

    def _serve(self, taken: socket.socket, environ: Environ) -> None:
        self._service.adopt(taken, request_head(environ), self._address, self._site, chunks=self._chunks)
