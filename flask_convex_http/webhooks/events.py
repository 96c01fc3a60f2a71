"""What a webhook is, before and after it is verified: headers and bytes that came in, and the event that was in them.

Only values are here; whether a delivery is genuine is `base`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_convex_http.errors import VerificationError

#: Headers that are credentials of somebody, and not a part of a delivery: they are not kept.
CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_HEADER_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """One verified delivery.

    Args:
        id: The provider's id of the event or delivery; the same for each retry.
        type: What happened, in the provider's words; empty where the provider does not say.
        data: The payload's own data.
        payload: All of the parsed body.
        body: The verified bytes.
        headers: The headers as received, with lower-case names and without cookies and credentials.
        provider: stripe, svix, standard, github, slack, shopify or hmac.
        received_at: Milliseconds since the epoch.
        secret_label: Which secret matched: its variable's name, or `secret N`.
    """

    id: str
    type: str
    # A payload holds other people's personal data: the repr, which ends up in logs, leaves it out.
    data: Any = field(repr=False)
    payload: Any = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    provider: str
    received_at: float
    secret_label: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was received: headers with lower-case names, the raw body, and the time in ms since the epoch."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    now: float

    def header(self, *names: str) -> str:
        """Return the first of these headers that was sent.

        Args:
            names: One header's name, and others that stand in for it when it was not sent.

        Returns:
            The value as received.

        Raises:
            VerificationError: None was sent, or the first that was sent is empty.
        """
        value = self.headers.get(names[0].lower())
        for name in names[1:]:
            value = self.headers.get(name.lower()) if value is None else value
        if value is None or not value.strip():
            raise VerificationError("missing-header", f"Missing {names[0]} header")
        return value

    def token(self, *names: str) -> str:
        """Return a header that holds an identifier: printable ASCII without spaces.

        Args:
            names: As for `header`.

        Raises:
            VerificationError: The header is missing or holds something else.
        """
        value = self.header(*names)
        if not _HEADER_TOKEN.fullmatch(value):
            raise VerificationError("malformed", f"{names[0]} header is malformed")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a provider read in a delivery whose signature matched."""

    id: str
    type: str
    data: Any
    payload: Any
