"""Fetch a document of an issuer or a sender: with a timeout and a size limit, and without redirects."""

from __future__ import annotations

import ipaddress
import time
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from flask_convex_http.errors import RegistrationError
from flask_convex_http.identities.deadline import DeadlineHandler

#: Seconds for the whole fetch of one document, and the timeout of each wait for the network.
TIMEOUT = 5.0
#: The largest document in bytes. A set of keys with a thousand RSA keys is smaller.
MAX_BYTES = 512 * 1024
#: The content types of a set of keys that a `CustomJWT` accepts, as in Convex.
JWKS_TYPES = frozenset({"application/json", "application/jwk-set+json"})

_CHUNK = 64 * 1024


class FetchError(Exception):
    """A document cannot be fetched, or is not what it should be. The message is for the operator."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they could lead to another host, or to plain HTTP."""

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str) -> None:
        """Refuse a redirect, which urllib then raises as an error of its status."""


def is_loopback(host: str | None) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_problem(url: str) -> str | None:
    """Return why keys cannot be fetched from a URL, or None. Plain HTTP is for this machine only."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return "is no URL"
    if parts.username is not None or parts.fragment:
        return "must have no user, password or fragment"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "must start with https:// (http:// is accepted on loopback only)"
    return None


def fetch(url: str, *, body: bytes | None = None, accept: str = "application/json") -> tuple[str, bytes]:
    """Return the content type and the bytes of the document at a URL.

    Args:
        url: A URL without a `url_problem`.
        body: JSON to send with POST. By default the document is fetched with GET.
        accept: The content type that is asked for.

    Raises:
        FetchError: There is none in time, or it is too large.
    """
    handlers: list[Any] = [_NoRedirects(), DeadlineHandler(time.monotonic() + TIMEOUT)]
    if is_loopback(urlsplit(url).hostname):
        handlers.append(urllib.request.ProxyHandler({}))
    headers = {"Accept": accept, "User-Agent": "flask_convex_http"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as response:
            return response.headers.get_content_type(), _read(response)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"{url} responds with {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(f"{url}: {error}") from None


def fetch_json(url: str, content_types: frozenset[str] | None = None) -> Any:
    """Return the JSON document at a URL.

    Args:
        url: A URL without a `url_problem`.
        content_types: The accepted content types, or None for any.

    Raises:
        FetchError: There is none in time, it is too large, or it is no JSON.
    """
    kind, body = fetch(url)
    if content_types is not None and kind not in content_types:
        raise FetchError(f"{url} has the content type {kind!r}, not {' or '.join(sorted(content_types))}")
    return _decoded(body, url)


def decode_data_url(url: str) -> Any:
    """Return the JSON document in a `data:` URL.

    Raises:
        RegistrationError: It is none.
    """
    try:
        with urllib.request.build_opener(urllib.request.DataHandler).open(url) as response:
            return _decoded(response.read(), "jwks=")
    except (OSError, ValueError, FetchError) as error:
        raise RegistrationError(f"jwks= is a data: URL whose content is not valid JSON: {error}") from None


def _read(response: Any) -> bytes:
    """Read a body within its limit."""
    parts, size = [], 0
    while chunk := response.read1(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise OSError(f"the document is larger than {MAX_BYTES // 1024} KiB")
    return b"".join(parts)


def _decoded(body: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FetchError(f"{where} is not valid JSON: {error}") from None
