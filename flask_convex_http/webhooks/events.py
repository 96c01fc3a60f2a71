"""The values of a webhook: the delivery as received, and the event that was verified in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_convex_http.errors import VerificationError

#: Headers of any sender that are kept with a delivery, for people who look into it. No other header is kept but those
#: that the provider names, since any other may hold a credential.
KEPT_HEADERS = frozenset(
    {
        *("accept", "content-encoding", "content-length", "content-type", "date", "host", "user-agent"),
        *("traceparent", "x-request-id"),
    }
)
#: Headers that hold credentials. One that a provider requires is kept with a verified delivery, so that it can be
#: verified again, but it is not kept with a rejected one and not shown.
CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"})
_HEADER_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """The event of a verified delivery.

    Args:
        id: The sender's id of the event or delivery, the same for each retry.
        type: The sender's type of the event, or an empty string if it has none.
        data: The data in the payload, or the payload itself if the sender has no such field.
        payload: The whole parsed body.
        body: The verified bytes.
        headers: The headers that the provider names, and a few such as `content-type`, with lower-case names.
        provider: The provider's name: stripe, svix, standard, github, slack, shopify or hmac.
        received_at: When the delivery was received, in milliseconds since the epoch.
        secret_label: The secret that matched: the name of its variable, or `secret N`.
    """

    id: str
    type: str
    # A payload contains personal data, so the repr, which may be logged, leaves it out.
    data: Any = field(repr=False)
    payload: Any = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    provider: str
    received_at: float
    secret_label: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received delivery: headers with lower-case names, the raw body, and the time in ms since the epoch."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    now: float

    def header(self, *names: str) -> str:
        """Return the value of the first of these headers that is present.

        Args:
            names: The name of a header, and names that replace it when it is missing.

        Raises:
            VerificationError: All are missing, or the first present one is empty.
        """
        value = self.headers.get(names[0].lower())
        for name in names[1:]:
            value = self.headers.get(name.lower()) if value is None else value
        if value is None or not value.strip():
            raise VerificationError("missing-header", f"Missing {names[0]} header")
        return value

    def token(self, *names: str) -> str:
        """Return the value of a header that holds an identifier: printable ASCII without spaces.

        Args:
            names: The names, as for `header`.

        Raises:
            VerificationError: The header is missing, or its value is not an identifier.
        """
        value = self.header(*names)
        if not _HEADER_TOKEN.fullmatch(value):
            raise VerificationError("malformed", f"{names[0]} header is malformed")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The id, type, data and payload that a provider reads from a verified delivery."""

    id: str
    type: str
    data: Any
    payload: Any
