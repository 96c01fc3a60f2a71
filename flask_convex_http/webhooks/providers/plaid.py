"""Plaid's webhooks: `Plaid-Verification`, a JWT whose claims hold the time and the SHA-256 of the body.

The key that signed it is fetched from Plaid's API by its id, with the application's credentials. This happens before
any transaction begins. The host is Plaid's, never one that a delivery names. The algorithm, the time and the digest are
checked first, so that only a delivery that could be genuine causes a fetch.
Rules: https://plaid.com/docs/api/webhooks/webhook-verification/

Plaid numbers no events, and two events may have equal bodies: every update of an account's transactions has. So the id
is a digest of the signed time and the body. A retry that Plaid signs anew is another event.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.identities.fetch import FetchError, fetch, url_problem
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.jws import Jws, require_pyjwt
from flask_convex_http.webhooks.jwt_signature import checked_token
from flask_convex_http.webhooks.parsing import parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.remote import RemoteDocuments
from flask_convex_http.webhooks.tenant_secrets import TenantSecrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

if TYPE_CHECKING:
    from flask_convex_http.webhooks.secrets import Secrets

Environment = Literal["production", "sandbox"]

_HEADER = "Plaid-Verification"
_ALGORITHM = "ES256"
_APIS = {"production": "https://production.plaid.com", "sandbox": "https://sandbox.plaid.com"}
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Plaid(Provider):
    """Webhooks of Plaid. The data of an event is its body.

    Args:
        client_id: The `client_id` of the application.
        secret: The secret of the application for this environment, `from_env(...)`, or a list of these. Plaid's keys
            are fetched with it.
        environment: "production" or "sandbox".
        api_url: The URL of a local stand-in of Plaid's API. By default that of the environment.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: An argument is invalid.
    """

    name = "plaid"
    object_field = ""
    required_headers = ((_HEADER,),)
    profile = Profile(
        signed=("body", _HEADER),
        id_from="body",
        id_is_signed=True,
        timeout=timedelta(seconds=10),
        # Plaid waits 30 seconds, and each time four times as long, for up to 24 hours.
        retries=tuple(timedelta(seconds=30 * 4**step) for step in range(6)),
        redelivery=timedelta(hours=24),
        source="https://plaid.com/docs/api/webhooks/",
    )

    def __init__(
        self,
        *,
        client_id: str,
        secret: Secrets,
        environment: Environment = "production",
        api_url: str | None = None,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)
        if isinstance(secret, TenantSecrets):
            raise RegistrationError("Plaid takes no per_tenant(...): the credentials are those of one application")
        if not isinstance(client_id, str) or not client_id.strip():
            raise RegistrationError("client_id must be the client_id of the application, from Plaid's dashboard")
        if environment not in _APIS:
            raise RegistrationError(f"environment must be one of {', '.join(_APIS)}, not {environment!r}")
        self._client_id = client_id.strip()
        self._url = f"{_checked_url(api_url) if api_url else _APIS[environment]}/webhook_verification_key/get"
        self._public_keys: RemoteDocuments[PublicKey] = RemoteDocuments("Plaid", self._fetched_key)

    def with_secrets(self, secrets: Secrets) -> Self:
        """Return a provider like this one that fetches keys with other secrets."""
        other = super().with_secrets(secrets)
        other._public_keys = RemoteDocuments("Plaid", other._fetched_key)
        return other

    def timestamp(self, delivery: Delivery) -> float:
        """Return the time at which the token was issued."""
        return _issued_at(_token(delivery).claims)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Verify the digest of the body, and the token with the key that it names. This may fetch the key."""
        token = _token(delivery)
        key_id = str(token.header.get("kid"))
        if not token.names(_ALGORITHM) or not _KEY_ID.fullmatch(key_id):
            raise VerificationError("malformed", f"{_HEADER} header is not a token of Plaid")
        digest = hashlib.sha256(delivery.body).hexdigest()
        claimed = str(token.claims.get("request_body_sha256")).encode("utf-8", "replace")
        if not hmac.compare_digest(claimed, digest.encode()):
            return False
        public = self._public_keys.get(key_id, may_fetch=delivery.may_fetch)
        return not public.is_expired and token.is_signed(_ALGORITHM, public.key)

    def read(self, delivery: Delivery) -> Content:
        """Read an event, whose type is Plaid's type and code: `TRANSACTIONS.SYNC_UPDATES_AVAILABLE`."""
        payload = parse_object(delivery.body)
        issued = _issued_at(_token(delivery).claims)
        return Content(
            id=hashlib.sha256(b"%d.%b" % (int(issued), delivery.body)).hexdigest(),
            type=f"{text_field(payload, 'webhook_type')}.{text_field(payload, 'webhook_code')}",
            data=payload,
            payload=payload,
        )

    def _fetched_key(self, key_id: str) -> PublicKey:
        """Fetch a key with the first secret that Plaid accepts.

        Raises:
            FetchError: There is none.
        """
        problem = FetchError("no secret is set")
        for _, secret in self.current_keys().usable:
            request = {"client_id": self._client_id, "secret": secret.decode(), "key_id": key_id}
            try:
                _, body = fetch(self._url, body=msgspec.json.encode(request))
                return PublicKey(msgspec.json.decode(body))
            except FetchError as error:
                problem = error
            except Exception as error:  # whatever is wrong with a key, it is no key
                problem = FetchError(f"{self._url} has no {_ALGORITHM} key: {type(error).__name__}")
        raise problem


class PublicKey:
    """A key as Plaid's API returns it. An expired one verifies nothing."""

    def __init__(self, document: Any) -> None:
        key = document["key"]
        self.is_expired = key.get("expired_at") is not None
        self.key: Any = require_pyjwt().PyJWK({name: key[name] for name in ("kty", "crv", "x", "y")}, _ALGORITHM).key


def _token(delivery: Delivery) -> Jws:
    """Return the token, which anyone may have written."""
    return _parsed(delivery.header(_HEADER))


@functools.lru_cache(maxsize=16)  # each delivery asks several times
def _parsed(token: str) -> Jws:
    return Jws.of(checked_token(token))


def _issued_at(claims: dict[str, Any]) -> float:
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        raise VerificationError("malformed", f"{_HEADER} header has no iat")
    return float(issued)


def _checked_url(url: str) -> str:
    problem = url_problem(url)
    if problem is not None:
        raise RegistrationError(f"api_url={url!r} {problem}")
    return url.rstrip("/")
