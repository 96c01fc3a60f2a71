"""The headers of a delivery with lower-case names: a copy of any mapping, or a view of a WSGI environment.

The view copies nothing. A forged delivery needs two or three of its headers, and a copy of all of them cost more than
the check of its signature.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

#: What is stored with a delivery as if it were a header, named like the pseudo-header fields of HTTP/2 (RFC 9113, 8.3).
#: No client can send them: a field name has no colon, and `WsgiHeaders` does not read one that has.
METHOD = ":method"
URL = ":url"
#: The place of an event in a batch, `0/2`.
ELEMENT = ":element"

_PREFIX = "HTTP_"
#: Headers whose name in a WSGI environment has no prefix (PEP 3333). Servers may add the name with it too.
_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
_SECOND_SPELLINGS = frozenset(_PREFIX + key for key in _UNPREFIXED.values())


class WsgiHeaders(Mapping[str, str]):
    """The headers of a request, read from its WSGI environment when they are asked for.

    Args:
        environ: The WSGI environment.
    """

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a header, or the default.

        Args:
            name: The name in lower case.
            default: The value if the header is missing.
        """
        return self._environ.get(_environ_key(name), default)

    @property
    def method(self) -> str:
        """The method of the request."""
        return str(self._environ.get("REQUEST_METHOD", "POST"))

    @property
    def url(self) -> str:
        """The URL of the request as the client wrote it, with its query string."""
        return url_of(self._environ)

    def __getitem__(self, name: str) -> str:
        value: str = self._environ[_environ_key(name)]
        return value

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key.startswith(_PREFIX) and key not in _SECOND_SPELLINGS:
                yield key[len(_PREFIX) :].replace("_", "-").lower()
        for name, key in _UNPREFIXED.items():
            if self._environ.get(key):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def lower_case(headers: Mapping[str, str], method: str | None = None, url: str | None = None) -> Mapping[str, str]:
    """Return headers with lower-case names.

    Args:
        headers: The headers.
        method: The method of the request, if the headers do not have it.
        url: The URL of the request, if the headers do not have it.
    """
    if method is None and url is None and isinstance(headers, WsgiHeaders):
        return headers
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        # RFC 9110, 5.3: a header sent twice equals one with both values joined.
        lowered[name] = f"{lowered[name]}, {value}" if name in lowered else value
    if method is not None:
        lowered[METHOD] = method
    if url is not None:
        lowered[URL] = url
    return lowered


def url_of(environ: Mapping[str, Any]) -> str:
    """Return the URL of a WSGI request as the client wrote it.

    The scheme and the host are those of the proxy's client if `werkzeug.middleware.proxy_fix.ProxyFix` is configured.

    Args:
        environ: The WSGI environment.
    """
    host = environ.get("HTTP_HOST") or f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
    query = environ.get("QUERY_STRING", "")
    return f"{environ.get('wsgi.url_scheme', 'http')}://{host}{_path_of(environ)}" + (f"?{query}" if query else "")


def _path_of(environ: Mapping[str, Any]) -> str:
    """Return the path as written. WSGI decodes it, and most servers keep what was written under a name of their own.

    What a server kept is used only if it is the path that was matched.
    """
    root, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    written = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0]
    decoded = unquote(written, "latin-1")  # as PEP 3333 has the bytes of a path
    if decoded == root + path:
        return written
    quoted_root = quote(root, safe="/~!$&'()*+,;=:@", encoding="latin-1")
    if decoded == path:  # a proxy removed a prefix, which ProxyFix restored
        return quoted_root + written
    return quoted_root + quote(path, safe="/~!$&'()*+,;=:@", encoding="latin-1")


@functools.lru_cache(maxsize=1024)
def _environ_key(name: str) -> str:
    if name.startswith(":"):
        return ""
    return _UNPREFIXED.get(name) or _PREFIX + name.upper().replace("-", "_")
