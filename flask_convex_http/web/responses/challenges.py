"""`WWW-Authenticate`: the header of 401 and 403 that says which credential a route wants (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Scopes that the header can name (RFC 6750, 3). Others are left out.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """The challenge of an authentication scheme.

    Attributes:
        scheme: The scheme, with its fixed parameters.
        missing: The error for a request without a credential.
        invalid: The error for an unknown, expired or revoked credential.
        other: The challenge of another scheme that the route accepts too.
    """

    scheme: str
    missing: str
    invalid: str
    other: str = ""

    def headers(
        self, error: str | None = None, scopes: Iterable[str] = (), description: str | None = None
    ) -> dict[str, str]:
        """Return the header, with an error code of RFC 6750 for a request that has a credential.

        Args:
            error: "invalid_token" or "insufficient_scope".
            scopes: The scopes that the route needs.
            description: A sentence on the error, in ASCII and without quotes.
        """
        named = sorted(scopes)
        parameters = [] if error is None else [f'error="{error}"']
        if description is not None:
            parameters.append(f'error_description="{description}"')
        if named and all(map(_SCOPE.fullmatch, named)):
            parameters.append(f'scope="{" ".join(named)}"')
        separator = ", " if "=" in self.scheme else " "
        value = separator.join([self.scheme, ", ".join(parameters)]) if parameters else self.scheme
        return {"WWW-Authenticate": f"{value}, {self.other}" if self.other else value}


_KEY_SCHEME = 'ApiKey header="X-API-Key"'
#: `X-API-Key` has no registered scheme. The name of the header tells a client what to send.
API_KEY = Challenge(_KEY_SCHEME, "Missing API key", "Invalid API key")
BEARER = Challenge("Bearer", "Missing or invalid Authorization header", "Invalid token")
ANY = Challenge("Bearer", "Missing credentials", "Invalid credentials", _KEY_SCHEME)
#: A rejected delivery whose sender demands 401, which must have a challenge. No scheme is registered for it.
WEBHOOK_SIGNATURE = "Webhook-Signature"
