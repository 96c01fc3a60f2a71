"""The endpoint of Convex's WebSocket clients in an installation that cannot serve them."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Flask, Response

from flask_convex_http.log import logger_of

logger = logger_of("live")


class MissingSync:
    """Responds to WebSocket clients with 501, and names the missing package once in the log."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._is_told = False

    def sync(self, **_: Any) -> Response:
        """Respond to the request of a client."""
        if not self._is_told:
            self._is_told = True
            logger.error(
                "A WebSocket client was refused, because live queries need a package: pip install 'websockets>=14'"
            )
        body = msgspec.json.encode({"code": "LiveQueriesUnavailable", "message": "This server has no live queries"})
        return self._app.response_class(body, 501, content_type="application/json")
