"""The values of a webhook: the delivery as received, and the event that was verified in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.headers import METHOD, URL, WsgiHeaders, lower_case

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
#: Parameters of a query string that are read. One with more is malformed.
_MOST_PARAMETERS = 1000
_HEADER_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """The event of a verified delivery.

    Args:
        id: The sender's id of the event or delivery, the same for each retry.
        type: The sender's type of the event, or an empty string if it has none.
        data: The data in the payload, or the payload itself if the sender has no such field.
        payload: The whole parsed body.
        body: The verified bytes. For an element of a batch the JSON of the element.
        headers: The headers that the provider names, and a few such as `content-type`, with lower-case names. A
            provider that signs the URL adds `:method` and `:url`, and an element of a batch has `:element`.
        provider: The provider's name, such as stripe or github.
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


class Delivery(msgspec.Struct, frozen=True):  # made for each forgery, in a fifth of a dataclass's time
    """A received delivery.

    Attributes:
        headers: The headers, with lower-case names.
        body: The raw body.
        now: When it was received, in milliseconds since the epoch.
        may_fetch: Whether a key of the sender may be fetched for it. If not, `VerificationUnavailableError` is raised
            where one would be.
    """

    headers: Mapping[str, str]
    body: bytes
    now: float
    may_fetch: bool = True

    def __repr__(self) -> str:
        return f"Delivery(now={self.now})"

    @property
    def method(self) -> str:
        """The method of the request, POST unless something else is known."""
        return self.headers.method if isinstance(self.headers, WsgiHeaders) else self.headers.get(METHOD, "POST")

    @property
    def url(self) -> str:
        """The URL of the request as the sender wrote it, with its query string, or an empty text if it is not known.

        Behind a proxy it is the sender's only if the app uses `werkzeug.middleware.proxy_fix.ProxyFix`. A provider that
        verifies the URL names `url` in `Profile.signed`, so that it is stored with the delivery.
        """
        return self.headers.url if isinstance(self.headers, WsgiHeaders) else self.headers.get(URL, "")

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL's query string. A repeated one has its first value."""
        url = self.url
        if "?" not in url:
            return {}
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
        return dict(reversed(pairs))

    def header(self, *names: str) -> str:
        """Return the value of the first of these headers that is present.

        Args:
            names: The name of a header, and names that replace it when it is missing.

        Raises:
            VerificationError: All are missing, or the first present one is empty.
        """
        for name in names:
            value = self.headers.get(name.lower())
            if value is not None:
                break
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


def check_texts(content: Content) -> None:
    """Check the id and the type of an event. Deliveries with an empty id would be duplicates of each other.

    Raises:
        VerificationError: The provider has read something else than texts from a body.
    """
    for name, value in (("id", content.id), ("type", content.type)):
        if not isinstance(value, str):
            raise VerificationError("malformed", f"Webhook {name} must be a text, not {type(value).__name__}")
    if not content.id:
        raise VerificationError("malformed", "Webhook id is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """The response to a sender that verifies a URL, where a text or a JSON object alone does not suffice.

    Attributes:
        body: A text, which is sent as `text/plain`, or an object, which is sent as JSON.
        status: The status.
        headers: Further headers, such as Asana's `X-Hook-Secret`.
    """

    body: str | Mapping[str, Any] = field(default="", repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


#: What a handshake returns: a text, an object, a whole response, or None for a request that is no handshake.
HandshakeReply: TypeAlias = str | Mapping[str, Any] | Handshake | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request of a test delivery, as its sender would send it.

    Attributes:
        body: The body.
        headers: The headers.
        method: The method.
        url: The URL, or an empty text if it is not known. A sender may add a query parameter.
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    url: str = ""

    def headers_of(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers as a delivery of this request has them."""
        return lower_case(headers, self.method, self.url)

    def with_headers(self, headers: Mapping[str, str]) -> SignedRequest:
        """Return the request with other headers."""
        return replace(self, headers=headers)

    def with_query(self, headers: Mapping[str, str], parameters: Mapping[str, str]) -> SignedRequest:
        """Return the request with other headers and further query parameters."""
        mark = "&" if "?" in self.url else "?"
        return replace(self, headers=headers, url=f"{self.url}{mark}{urlencode(parameters)}")
