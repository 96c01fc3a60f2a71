"""The base class of the client that is generated in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask_convex_http.codegen.python_base.decoding import parse, result_reader
from flask_convex_http.codegen.python_base.encoding import encode
from flask_convex_http.codegen.python_base.transport import Transport, default_transport
from flask_convex_http.codegen.python_base.values import (
    ConvexError,
    FunctionError,
    ResponseError,
    StoredFileId,
    T,
)

ClientT = TypeVar("ClientT", bound="BaseClient")


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
        self._transport = transport or default_transport(timeout)
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
