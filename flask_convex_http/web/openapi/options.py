"""`OpenAPI`: what an application says about its document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask_convex_http.errors import RegistrationError


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAPI:
    """The OpenAPI document of an app, and the paths of the document and of its page.

    A route of the app with exactly such a path wins.

    Args:
        title: The name of the API, by default that of the Flask app.
        version: The version of the API.
        description: A text about the API, in CommonMark.
        path: The path of the document.
        docs: The path of the documentation page, or None for no page.
        servers: The URLs of the API. By default it is where the document is.

    Raises:
        RegistrationError: A path does not start with a slash or has variables, both are equal, or a text is no text.
    """

    title: str | None = None
    version: str = "1"
    description: str | None = None
    path: str = "/openapi.json"
    docs: str | None = "/docs"
    servers: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("title", "version", "description"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "version"):
                raise RegistrationError(f'OpenAPI: {name}={value!r} must be a text, such as {name}="1.2"')
        for name in ("path", "docs"):
            value = getattr(self, name)
            if value is None and name == "docs":
                continue
            if not isinstance(value, str) or not value.startswith("/") or set(value) & set("<>?#*"):
                raise RegistrationError(f"OpenAPI: {name}={value!r} must be a path that starts with a / and is fixed")
        if self.path == self.docs:
            raise RegistrationError(f"OpenAPI: path and docs are both {self.path!r}; give each a path of its own")
        if isinstance(self.servers, str):
            raise RegistrationError(f"OpenAPI: servers={self.servers!r} must be a list; write [{self.servers!r}]")
        object.__setattr__(self, "servers", tuple(self.servers))
