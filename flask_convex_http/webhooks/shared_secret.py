"""A provider for senders that sign nothing and only send a secret: in a header, in the URL, or by Basic auth.

The secret proves who sent a delivery. It does not protect its content from whoever can read it, so such a webhook needs
HTTPS. As no id is signed, the id of a delivery is the payload's or a digest of the body.
"""

from __future__ import annotations

import base64
import hmac
from typing import Unpack

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.webhooks.configured import ConfiguredProvider, EventOptions, check_places
from flask_convex_http.webhooks.events import Delivery, SignedRequest
from flask_convex_http.webhooks.headers import URL
from flask_convex_http.webhooks.secrets import Secrets

_AUTHORIZATION = "Authorization"


class SharedSecret(ConfiguredProvider):
    """Webhooks with a static secret, which is compared in constant time.

    The secret is in exactly one place. The further options are those of `EventOptions`; an id in a header is
    `unsigned_id_header`.

    Args:
        secret: The secret, `from_env(...)`, or a list of these.
        header: The header with the secret.
        prefix: The text before it in the header, such as `Bearer` and a space.
        query: The parameter of the URL's query string with the secret. Access logs of servers and proxies show URLs, so
            prefer a header where the sender has the choice.
        basic: The user name of Basic auth, whose password is the secret.
        **options: See `EventOptions`.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    name = "shared-secret"

    def __init__(
        self,
        *,
        secret: Secrets,
        header: str | None = None,
        prefix: str = "",
        query: str | None = None,
        basic: str | None = None,
        **options: Unpack[EventOptions],
    ) -> None:
        places = [place for place in (header, query, basic) if place]
        if len(places) != 1 or not isinstance(places[0], str):  # basic=True, for example
            raise RegistrationError(
                'name the one place of the secret: header="X-Token", query="token" or basic="the user name"'
            )
        if options.get("id_header") is not None:
            raise RegistrationError("nothing is signed: write unsigned_id_header= instead of id_header=")
        if prefix and header is None:
            raise RegistrationError("prefix= is the text before a secret in a header: name it, header=")
        check_places(options)
        self._secret_header = _AUTHORIZATION if basic else header
        self._prefix, self._query, self._basic = prefix, query, basic
        place = URL if query else (self._secret_header or "").lower()
        self.credential_headers = frozenset({place})
        super().__init__(
            secret=secret,
            signed=("url",) if query else (),
            needed=(self._secret_header,),
            id_is_signed=False,
            **options,
        )

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the secret of a delivery with a configured one."""
        received, expected = self._received(delivery), self._expected(key)
        # A server decodes a header as ISO-8859-1, a mapping of another kind has its text.
        spellings = (received.encode("utf-8", "surrogatepass"), received.encode("latin-1", "replace"))
        matched = [hmac.compare_digest(spelling, expected) for spelling in spellings]
        return any(matched)

    def _received(self, delivery: Delivery) -> str:
        if self._query is None:
            return delivery.header(self._secret_header or "")
        value = delivery.query.get(self._query)
        if value is None:
            raise VerificationError("missing-header", f"Missing query parameter {self._query}")
        return value

    def _expected(self, key: bytes) -> bytes:
        if self._basic is not None:
            return b"Basic " + base64.b64encode(self._basic.encode() + b":" + key)
        return self._prefix.encode() + key

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Return the headers of a delivery. A secret in the URL is added by `sign_request`."""
        headers = self.named_headers(event_id, event_type)
        if self._secret_header is not None:
            headers[self._secret_header] = self._expected(self.key(secret)).decode()
        return headers

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Return a request with the secret in its place."""
        headers = self.sign(request.body, secret=secret, event_id=event_id, event_type=event_type, now=now)
        return (
            request.with_headers(headers) if self._query is None else request.with_query(headers, {self._query: secret})
        )
