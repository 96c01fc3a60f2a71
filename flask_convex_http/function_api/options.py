"""`FunctionApi`: the options of the function API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flask_convex_http.errors import RegistrationError
from flask_convex_http.web.cors import CorsOption, cors_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionApi:
    """How Convex's clients reach the functions of an app.

    Args:
        prefix: The path that comes before `/api/` and `/version`, such as "/convex". Clients add it to their URL.
        cors: The origins whose pages may call functions: "*", an origin, several, a `Cors`, or False for none.
        casing: "camel" for camelCase names on the wire: `items:list_items` is `api.items.listItems`, and arguments and
            fields likewise. None for the names as Python writes them.

    Raises:
        RegistrationError: An option cannot work.
    """

    prefix: str = ""
    cors: CorsOption = "*"
    casing: Literal["camel"] | None = "camel"

    def __post_init__(self) -> None:
        prefix = self.prefix
        if not isinstance(prefix, str) or (prefix and not prefix.startswith("/")) or prefix.endswith("/"):
            raise RegistrationError(f'FunctionApi(prefix={prefix!r}) must be a path such as "/convex", or ""')
        if set(prefix) & set("<>?#*"):
            raise RegistrationError(f"FunctionApi(prefix={prefix!r}) must be a fixed path")
        if self.casing not in ("camel", None):
            raise RegistrationError(f'FunctionApi(casing={self.casing!r}) must be "camel" or None')
        cors_policy(self.cors, None)
