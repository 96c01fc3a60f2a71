"""JSON responses that are sent as they were made, unless someone looks at their headers.

Werkzeug makes a `Headers` for a response and another one when it is sent, which takes a fifth of the time of a small
request. The responses here make their headers when these are used, as by a function of `after_request`. They are then
sent as any other response of Flask is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

JSON = "application/json"
_WITHOUT_BODY = (204, 304)


class JsonResponse(Response):
    """A response with JSON, which `of` makes."""

    _length = 0
    _further: tuple[tuple[str, str], ...] = ()
    _used_headers: Headers | None = None
    _closers: list[Callable[[], Any]] | None = None

    @classmethod
    def of(cls, body: bytes, status: int, further: tuple[tuple[str, str], ...] = ()) -> JsonResponse:
        """Return a response.

        Args:
            body: The JSON.
            status: The HTTP status.
            further: Further headers.
        """
        response = cls.__new__(cls)
        response.__dict__.update(_attributes(status))
        response.response = [body]
        response._length = len(body)
        response._further = further
        return response

    @property
    def headers(self) -> Headers:
        """The headers."""
        if self._used_headers is None:
            self._used_headers = Headers(self._own_headers())
        return self._used_headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._used_headers = headers

    @property
    def is_plain(self) -> bool:
        """Whether it has no headers but the type and the length of its JSON."""
        return self._used_headers is None and not self._further

    def fields(self) -> list[tuple[str, str]]:
        """Return the names and values of the headers, in order, without making a `Headers`."""
        return self._own_headers() if self._used_headers is None else list(self._used_headers)

    def call_on_close(self, func: Callable[[], Any]) -> Callable[[], Any]:
        """Call a function when the response is closed. Returns the function."""
        self._closers = [*(self._closers or ()), func]
        return func

    def close(self) -> None:
        """Close the response."""
        super().close()
        for close in self._closers or ():
            close()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send the response."""
        body: Any = self.response
        is_own = type(body) is list and len(body) == 1 and type(body[0]) is bytes
        if not is_own or self._used_headers is not None or self._closers is not None:
            return super().__call__(environ, start_response)
        if self.status_code < 200 or self.status_code in _WITHOUT_BODY:
            return super().__call__(environ, start_response)
        start_response(self.status, self._own_headers())
        return () if environ["REQUEST_METHOD"] == "HEAD" else body

    def _own_headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", JSON), ("Content-Length", str(self._length)), *self._further]


def fields_of(response: Response) -> list[tuple[str, str]]:
    """Return the names and values of the headers of any response, in order."""
    return response.fields() if isinstance(response, JsonResponse) else list(response.headers)


@functools.lru_cache
def _attributes(status: int) -> dict[str, Any]:
    """Return the attributes of a response without body and headers. Its list of functions to call stays empty."""
    attributes = vars(Response(status=status)).copy()
    del attributes["headers"]
    return attributes
