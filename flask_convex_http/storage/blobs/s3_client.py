"""The bucket of an S3 store through obstore: configured from the environment, with errors of the package.

Rules of this module:

* obstore's threads do not survive a fork, and a call in the child would wait forever. A process that was forked after
  obstore was used is refused at once. A fork before the first use is fine.
* obstore's texts never leave this module, since they repeat requests and so may contain secrets. Status and code are
  enough.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from flask_convex_http.errors import ConvexHTTPError, EngineError, OverloadedError, UnavailableError

#: Variables with the address of another S3, in the order in which AWS's tools read them.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: Variables whose values go into the headers of a request.
_VALUES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")
#: A request is repeated while that is safe, and fails soon enough for a client that waits.
_RETRIES: dict[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
_TIMEOUTS = {"connect_timeout": "5s", "timeout": "60s"}

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
#: Paths of the metadata service that a cloud machine asks for its role.
_ROLE = re.compile(r"/latest/(api/token|meta-data)")
_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

#: The process that has used obstore, with any store.
_user: int | None = None


class Bucket:
    """A prefix in a bucket. It opens nothing before its first use.

    Args:
        url: `s3://bucket/prefix`.
    """

    def __init__(self, url: str) -> None:
        self.name, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        self._store: tuple[int, S3Store] | None = None

    def store(self) -> S3Store:
        """Return obstore's own store.

        Raises:
            EngineError: This process was forked from one that had used a store.
        """
        global _user
        process = os.getpid()
        if _user not in (None, process):
            raise EngineError(
                f"Files in S3 were used in process {_user} before it was forked into this one, which obstore cannot "
                "bear: fork first, and store or read files afterwards"
            )
        _user = process
        if self._store is None or self._store[0] != process:
            with self.translated():
                self._store = process, self._made()
        return self._store[1]

    def close(self) -> None:
        """Close the connections."""
        self._store = None

    @contextmanager
    def translated(self, *expected: Callable[[Exception], bool]) -> Iterator[None]:
        """Translate obstore's errors into errors of the package, except the expected ones."""
        try:
            yield
        except (BaseError, ValueError, OSError) as error:
            if _code(error) != "NoSuchBucket" and any(is_expected(error) for is_expected in expected):
                raise
            raise self._translate(error) from None

    def _made(self) -> S3Store:
        _check_values()
        endpoint = _endpoint()
        config: dict[str, Any] = {} if "AWS_VIRTUAL_HOSTED_STYLE_REQUEST" in os.environ else _style(endpoint, self.name)
        options: dict[str, Any] = {**_TIMEOUTS, **({"allow_http": True} if _is_plain(endpoint) else {})}
        return S3Store(
            self.name,
            prefix=self._prefix or None,
            # One request for each deletion, since some stores lack the request for many.
            config={**config, "disable_bulk_delete": True},  # type: ignore[arg-type]
            client_options=options,  # type: ignore[arg-type]
            retry_config=_RETRIES,  # type: ignore[arg-type]
        )

    def _translate(self, error: Exception) -> ConvexHTTPError:
        status, code, text = status_of(error), _code(error), str(error)
        where = f"The bucket {self.name!r} of CONVEX_STORAGE_URL"
        if code == "NoSuchBucket":
            return EngineError(f"{where} does not exist: make it, or write the name of one that does")
        if _ROLE.search(text):
            return EngineError(f"{where} needs credentials: set {_CREDENTIALS}, or give the machine a role")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in (401, 403):
            return EngineError(
                f"{where} refuses what was asked ({code or status}): check {_CREDENTIALS}, AWS_REGION, and what they "
                "may do there"
            )
        if status in (429, 503):
            return OverloadedError("The file store is busy: try again in a moment")
        if status is not None and status < 500:
            return EngineError(f"{where} answered {status} {code}".rstrip())
        if status is not None:
            return UnavailableError(f"The file store failed ({code or status})")
        if "HTTP error" in text:
            return UnavailableError("The file store does not answer")
        return EngineError(f"{where} cannot be used ({type(error).__name__}): check AWS_ENDPOINT_URL and AWS_REGION")


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of the store's response, or None without a response."""
    found = _STATUS.search(str(error))
    return None if found is None else int(found[1])


def is_missing(error: Exception) -> bool:
    """Return whether an error means that the path has no object."""
    return isinstance(error, FileNotFoundError)


def is_taken(error: Exception) -> bool:
    """Return whether an error means that the path has an object, or another one."""
    return status_of(error) in (409, 412)


def is_beyond_the_end(error: Exception) -> bool:
    """Return whether an error means that the object has none of the requested bytes."""
    return status_of(error) == 416


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return "" if found is None else found[1]


# obstore reads all of this from the environment itself, but panics about values that cannot be sent.


def _check_values() -> None:
    for name in _VALUES:
        value = os.environ.get(name, "")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise EngineError(f"{name} has a line break, a space or another character that no such value has")


def _endpoint() -> str | None:
    """Return the address of another S3 than AWS's."""
    name = next((name for name in _ENDPOINTS if os.environ.get(name)), "")
    endpoint = os.environ.get(name)
    if endpoint is not None and not re.fullmatch(r"https?://[^\s/?#@]+[^\s?#@]*", endpoint):
        raise EngineError(f"{name} must look like https://s3.example.com, without a bucket")
    return endpoint


def _is_plain(endpoint: str | None) -> bool:
    return endpoint is not None and endpoint.startswith("http://")


def _style(endpoint: str | None, bucket: str) -> dict[str, Any]:
    """Return the URL style.

    AWS wants the bucket in the host if its certificate allows it; others want it in the path.
    """
    return {"virtual_hosted_style_request": endpoint is None and "." not in bucket}
