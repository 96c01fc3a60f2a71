"""The part of a generated Python client that is the same for every app.

`flask convex codegen` copies this module into the file that it writes. It needs nothing but the standard library of
Python 3.10, and uses `requests` where that is installed. It never imports this package.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import functools
import http.client
import importlib
import json
import math
import re
import selectors
import struct
import types
import typing
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NewType, Protocol, TypeVar  # noqa: F401  # the classes below use all

# --- values and errors ------------------------------------------------------------------------------------------------

T = TypeVar("T")
ClientT = TypeVar("ClientT", bound="BaseClient")
StoredFileId = NewType("StoredFileId", str)


class Unset(enum.Enum):
    """The type of UNSET, which stands for an argument or a field that is left out."""

    UNSET = "UNSET"


UNSET = Unset.UNSET


class ClientError(Exception):
    """A call has failed."""


class FunctionError(ClientError):
    """The function has failed, or does not exist, or its arguments are wrong."""


class ConvexError(FunctionError):
    """The function has raised a `ConvexError`.

    Attributes:
        data: The data of the error.
    """

    def __init__(self, message: str, data: Any) -> None:
        super().__init__(message)
        self.data = data


class ResponseError(ClientError):
    """The response has an HTTP status that is no success.

    Attributes:
        status: The status.
        code: The name of the error, or an empty text.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a paginated query.

    Attributes:
        page: The documents.
        is_done: Whether this is the last page.
        continue_cursor: The cursor of the next page.
    """

    page: list[T]
    is_done: bool
    continue_cursor: str


# --- encoding ---------------------------------------------------------------------------------------------------------

#: Numbers up to this one are exact as floats.
_EXACT = 2**53


def encode(value: Any) -> Any:
    """Return a value as JSON has it, in Convex's encoding."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else {"$integer": _base64(struct.pack("<q", value))}
    if isinstance(value, float):
        is_plain = math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0)
        return value if is_plain else {"$float": _base64(struct.pack("<d", value))}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": _base64(value)}
    return _encode_compound(value)


def _encode_compound(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = getattr(value, "__wire__", {})
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return encode({names.get(name, name): part for name, part in found.items()})
    if isinstance(value, Mapping):
        return {encode_key(key): encode(part) for key, part in value.items() if part is not UNSET}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(part) for part in value]
    return encode_key(value)


def encode_key(value: Any) -> str:
    """Return a value as a text.

    Raises:
        TypeError: The value is of another type.
    """
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        length = abs(value)
        sign = "-" if value.days < 0 else ""
        return f"{sign}P{length.days}DT{length.seconds}.{length.microseconds:06}S"
    if isinstance(value, (str, int, float, decimal.Decimal, uuid.UUID)):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no type of a value that a function takes")


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


# --- decoding ---------------------------------------------------------------------------------------------------------

#: Makes a value of a type from one that `parse` returned.
Read = Callable[[Any], Any]

_DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")


def parse(body: bytes) -> Any:
    """Parse JSON in Convex's encoding.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(body, object_hook=_untagged)


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        return value
    ((tag, text),) = value.items()
    if tag == "$integer":
        return struct.unpack("<q", base64.b64decode(text))[0]
    if tag == "$float":
        return struct.unpack("<d", base64.b64decode(text))[0]
    return base64.b64decode(text) if tag == "$bytes" else value


@functools.cache
def result_reader(method: Callable[..., Any]) -> Read:
    """Return what makes the result of a method."""
    return reader(typing.get_type_hints(method)["return"])


@functools.cache
def reader(kind: Any) -> Read:
    """Return what makes a value of a type."""
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(parts)
    if origin is Literal:
        return lambda value: next((part for part in parts if part == value), value)  # 1.0 is 1
    if origin is list:
        item = reader(parts[0])
        return lambda value: [item(part) for part in value]
    if origin is tuple:
        readers = [reader(part) for part in parts]
        return lambda value: tuple(read(part) for read, part in zip(readers, value, strict=True))
    if origin is dict:
        key, item = reader(parts[0]), reader(parts[1])
        return lambda value: {key(name): item(part) for name, part in value.items()}
    if origin is Page:
        item = reader(parts[0])
        return lambda value: Page([item(part) for part in value["page"]], value["isDone"], value["continueCursor"])
    return _record_reader(kind) if dataclasses.is_dataclass(kind) else _SCALARS.get(kind, _as_it_is)


def _record_reader(kind: Any) -> Read:
    names = getattr(kind, "__wire__", {})

    @functools.cache
    def fields() -> list[tuple[str, str, Read]]:  # when it is needed, since a record may contain itself
        hints = typing.get_type_hints(kind)
        return [
            (field.name, names.get(field.name, field.name), reader(hints[field.name]))
            for field in dataclasses.fields(kind)
        ]

    return lambda value: kind(**{name: read(value[wire]) for name, wire, read in fields() if wire in value})


def _union_reader(members: tuple[Any, ...]) -> Read:
    """Return what makes a value of a union, whose members have different forms in JSON or different tags."""
    tagged = {member.__tag__: reader(member) for member in members if hasattr(member, "__tag__")}
    by_form = {_form_of(member): reader(member) for member in members if not hasattr(member, "__tag__")}
    by_form.setdefault("float", by_form.get("int", _as_it_is))
    by_form.setdefault("int", by_form["float"])

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            for (tag, name), read_tagged in tagged.items():
                if value.get(tag) == name:
                    return read_tagged(value)
        return by_form.get(type(value).__name__, _as_it_is)(value)

    return read


def _form_of(kind: Any) -> str:
    """Return the name of the type that `parse` returns for a value of a type."""
    kind = getattr(kind, "__supertype__", kind)
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return type(typing.get_args(kind)[0]).__name__
    if origin is tuple:
        return "list"
    if dataclasses.is_dataclass(origin):
        return "dict"
    return "str" if origin in _TEXTS else getattr(origin, "__name__", "")


def _as_it_is(value: Any) -> Any:
    return value


def _read_datetime(value: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))


def _read_duration(value: str) -> datetime.timedelta:
    found = _DURATION.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no duration")
    sign, days, hours, minutes, seconds = found.groups()
    length = datetime.timedelta(int(days or 0), float(seconds or 0), 0, 0, int(minutes or 0), int(hours or 0))
    return -length if sign else length


_TEXTS: dict[Any, Read] = {
    datetime.datetime: _read_datetime,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    datetime.timedelta: _read_duration,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
}
_SCALARS: dict[Any, Read] = {int: int, float: float, **_TEXTS}

# --- HTTP -------------------------------------------------------------------------------------------------------------


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


def _default_transport(timeout: float) -> Transport:
    try:
        return RequestsTransport(importlib.import_module("requests"), timeout)
    except ImportError:
        return StandardTransport(timeout)


# --- the client -------------------------------------------------------------------------------------------------------


class BaseClient:
    """Calls functions. Several threads may use one client.

    Args:
        url: The URL of the app, with the prefix of its function API if there is one.
        token: The JWT of the user.
        admin_key: A key of `flask convex admin-key`, instead of a token.
        timeout: The seconds to wait for the server.
        headers: Further headers of each request.
        transport: What sends the requests. By default `requests`, and `http.client` where that is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        admin_key: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no URL of an app: it starts with http:// or https://")
        self._url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._transport = transport or _default_transport(timeout)
        self._authorization = None if admin_key is None else f"Convex {admin_key}"
        if token is not None:
            self.set_auth(token)

    def __enter__(self: ClientT) -> ClientT:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def set_auth(self, token: str | None) -> None:
        """Send a JWT with each call from now on, or none."""
        self._authorization = None if token is None else f"Bearer {token}"

    def upload(self, url: str, data: bytes, content_type: str = "application/octet-stream") -> StoredFileId:
        """Upload a file to a URL that `generate_upload_url` has returned, and return the id of the file.

        Raises:
            ResponseError: The server has rejected the upload.
            OSError: The server cannot be reached.
        """
        found = self._post(url, data, {"Content-Type": content_type})
        return StoredFileId(found["storageId"])

    def call(self, method: Callable[..., T], kind: str, path: str, arguments: Mapping[str, Any]) -> T:
        """Call a function and return its result.

        Args:
            method: The method of the function, whose annotation has the type of the result.
            kind: "query", "mutation" or "action".
            path: The name of the function.
            arguments: The arguments, in which UNSET stands for one that is left out.

        Raises:
            ConvexError: The function has raised a `ConvexError`.
            FunctionError: The function has failed, or does not exist, or its arguments are wrong.
            ResponseError: The server has rejected the request.
            OSError: The server cannot be reached.
        """
        request = {"path": path, "format": "convex_encoded_json", "args": encode(arguments)}
        headers = {**self._headers, "Content-Type": "application/json"}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        found = self._post(f"{self._url}/api/{kind}", json.dumps(request).encode(), headers)
        if found.get("status") == "success":
            result: T = result_reader(method)(found["value"])
            return result
        message = str(found.get("errorMessage", "The call has failed"))
        if "errorData" in found:
            raise ConvexError(message, found["errorData"])
        raise FunctionError(message)

    def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        status, content = self._transport.post(url, body, headers)
        try:
            found = parse(content)
        except ValueError:
            found = None
        if 200 <= status < 300 and isinstance(found, dict):
            return found
        error = found if isinstance(found, dict) else {}
        text = error.get("message") or f"The response is no JSON: {content[:200]!r}"
        raise ResponseError(status, str(error.get("code", "")), f"{status}: {text}")


class Module:
    """The functions of a module of the app."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client
