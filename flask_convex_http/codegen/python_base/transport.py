"""Send the requests of a generated Python client."""

from __future__ import annotations

import http.client
import importlib
import selectors
import urllib.parse
from collections.abc import Mapping
from typing import Any, Protocol


class Transport(Protocol):
    """Sends requests."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a POST request and return the status and the body of its response.

        Raises:
            OSError: The server cannot be reached, or the connection broke.
        """

    def close(self) -> None:
        """Close all connections."""


class StandardTransport:
    """Sends requests with `http.client`, over connections that stay open. Each carries one request at a time.

    Args:
        timeout: The seconds to wait for the server.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """See `Transport`."""
        parts = urllib.parse.urlsplit(url)
        idle = self._idle.setdefault((parts.scheme, parts.netloc), [])
        connection = self._taken(idle) or self._new(parts.scheme, parts.netloc)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            connection.request("POST", target, body, dict(headers))
            response = connection.getresponse()
            found = response.status, response.read()
            is_open = connection.sock is not None  # http.client closes it, if the server wants that
        except http.client.HTTPException as error:
            connection.close()
            raise ConnectionError(f"{url}: {error!r}") from error
        except BaseException:
            connection.close()  # a later request must not get this response
            raise
        if is_open:
            idle.append(connection)
        return found

    def close(self) -> None:
        """See `Transport`."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def _new(self, scheme: str, host: str) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        return kind(host, timeout=self._timeout)

    def _taken(self, idle: list[http.client.HTTPConnection]) -> http.client.HTTPConnection | None:
        """Return the idle connection that was used last, or None."""
        try:
            connection = idle.pop()
        except IndexError:  # another thread may have been faster, so the length says nothing
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(connection.sock, selectors.EVENT_READ)
            if selector.select(0):
                connection.close()  # the server has closed it; the request opens it again
        return connection


class RequestsTransport:
    """Sends requests with `requests`, which knows proxies and more kinds of certificates.

    Args:
        requests: The module.
        timeout: The seconds to wait for the server.
    """

    def __init__(self, requests: Any, timeout: float) -> None:
        self._session = requests.Session()
        self._timeout = timeout

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """See `Transport`."""
        response = self._session.post(
            url, data=body, headers=dict(headers), timeout=self._timeout, allow_redirects=False
        )
        return response.status_code, response.content

    def close(self) -> None:
        """See `Transport`."""
        self._session.close()


def default_transport(timeout: float) -> Transport:
    """Return what sends requests: `requests` where it is installed, and `http.client` otherwise."""
    try:
        return RequestsTransport(importlib.import_module("requests"), timeout)
    except ImportError:
        return StandardTransport(timeout)
