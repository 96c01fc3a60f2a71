"""The response of a request whose connection leaves the server, which then sends nothing."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Response

from flask_convex_http.log import logger_of
from flask_convex_http.sync.handover import Environ, take_socket

if TYPE_CHECKING:
    from flask_convex_http.sync.service import SyncService

logger = logger_of("live")


class HandedOver(Response):
    """A response that hands its connection over.

    Args:
        service: Serves the connections of the process.
        address: The address of the client, whose place is reserved.
        options: The arguments of Flask's response.
    """

    def __init__(self, service: SyncService, address: str, **options: Any) -> None:
        super().__init__(**options)
        self._service = service
        self._address = address

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Take the connection over, and end the request by the exception that its server expects."""
        try:
            taken, end = take_socket(environ)
        except OSError:
            self._service.loop.release(self._address)
            logger.exception("The connection of a client could not be taken over")
            return Response(status=503)(environ, start_response)
        self._serve(taken, environ)
        raise end

    @abstractmethod
    def _serve(self, taken: socket.socket, environ: Environ) -> None:
        """Let the event loop serve the connection."""
