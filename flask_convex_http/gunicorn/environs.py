"""The WSGI environments of plain requests, with the same content as gunicorn's, made with less work.

gunicorn makes an object for `wsgi.errors` for each request, and looks at each case that a request may be. An unusual
request is left to gunicorn.
"""

from __future__ import annotations

import io
import os
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]

from flask_convex_http.gunicorn.heads import PlainRequest
from flask_convex_http.gunicorn.responses import WholeResponse

Environ = dict[str, Any]

_WITHOUT_PREFIX = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}


class _ErrorStream(io.RawIOBase):
    """`wsgi.errors` of all requests of a worker.

    Args:
        cfg: gunicorn's settings.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def write(self, data: Any) -> None:
        """Write a text to the streams that gunicorn's error log has now: it may have reopened its file."""
        wsgi.WSGIErrorsWrapper(self._cfg).write(data)


class Environs:
    """Makes the WSGI environments of a worker's requests.

    Args:
        cfg: gunicorn's settings.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self._base: Environ = wsgi.base_environ(cfg) | {"wsgi.errors": _ErrorStream(cfg)}

    def create(self, req: Any, conn: Any) -> tuple[WholeResponse, Environ]:
        """Return the response and the environment of a request, as `gunicorn.http.wsgi.create` does."""
        if not _is_plain(req, conn):
            created: tuple[WholeResponse, Environ]
            created = wsgi.create(req, conn.sock, conn.client, conn.server, self._cfg, response_class=WholeResponse)
            return created
        resp = WholeResponse(req, conn.sock, self._cfg)
        environ = self._base | {
            "wsgi.input": req.body,
            "wsgi.url_scheme": req.scheme,
            "wsgi.early_hints": wsgi._make_early_hints_callback(req, conn.sock, resp),
            "gunicorn.socket": conn.sock,
            "REQUEST_METHOD": req.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": req.path,
            "QUERY_STRING": req.query,
            "RAW_URI": req.uri,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": conn.server[0],
            "SERVER_PORT": str(conn.server[1]),
            "REMOTE_ADDR": conn.client[0],
            "REMOTE_PORT": str(conn.client[1]),
        }
        _add_fields(environ, req.headers)
        return resp, environ


def _is_plain(req: Any, conn: Any) -> bool:
    """Return whether a request is plain, and its connection one of TCP."""
    if type(req) is not PlainRequest or not req.is_plain or req._expected_100_continue or "%" in req.path:
        return False
    return type(conn.client) is tuple and type(conn.server) is tuple and not os.environ.get("SCRIPT_NAME")


def _add_fields(environ: Environ, fields: list[tuple[str, str]]) -> None:
    for name, value in fields:
        key = _WITHOUT_PREFIX.get(name) or "HTTP_" + name.replace("-", "_")
        if key in environ and name not in _WITHOUT_PREFIX:  # RFC 9110, 5.3: a field that is sent twice is a list
            value = f"{environ[key]},{value}"
        environ[key] = value
