"""Webhooks with a JWT: the sender's published keys, claims, expiry, and keys that cannot be fetched."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_convex_http import JwtSignature, RegistrationError, VerificationError, VerificationUnavailableError
from tests.identities.issuer import Issuer, issuing

BODY = b'{"message": {"messageId": "1"}}'


@pytest.fixture(name="issuer")
def _issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


def provider_of(issuer: Issuer, **options: Any) -> JwtSignature:
    """Return a provider with the keys of an issuer."""
    return JwtSignature(
        jwks=f"{issuer.url}/jwks.json",
        audience="convex",
        issuer=issuer.url,
        algorithm="ES256",
        id_field="message.messageId",
        **options,
    )


def reason(provider: JwtSignature, token: str, body: bytes = BODY) -> str:
    """Return the reason for which a token is rejected, or an empty text."""
    result = provider.verdict({"Authorization": f"Bearer {token}"}, body, now=time.time() * 1000)
    return result.reason if isinstance(result, VerificationError) else ""


def test_token_is_verified_with_fetched_keys(issuer: Issuer) -> None:
    """A valid token is accepted, the keys are fetched once, and the token is not stored."""
    provider = provider_of(issuer, claims={"sub": "user_1"})
    assert issuer.requests == []
    event = provider.verify({"Authorization": f"Bearer {issuer.token()}"}, BODY)
    assert (event.id, event.secret_label) == ("1", "jwt")
    assert "authorization" not in event.headers
    assert provider.verify({"Authorization": f"Bearer {issuer.token()}"}, BODY) is not None
    assert issuer.requests == ["/jwks.json"]


def test_token_for_others_is_rejected(issuer: Issuer) -> None:
    """A token with another audience, issuer, key, algorithm or claim, or one that expired, is rejected."""
    provider = provider_of(issuer, claims={"sub": "user_1"})
    now = time.time()
    assert reason(provider, issuer.token(aud="other")) == "no-match"
    assert reason(provider, issuer.token(iss="https://other.example")) == "no-match"
    assert reason(provider, issuer.token(exp=int(now) - 61)) == "too-old"
    assert issuer.requests == []  # none of these is worth a fetch
    assert reason(provider, issuer.token(exp=int(now) - 30)) == ""
    assert reason(provider, issuer.token(sub="other")) == "no-match"
    assert reason(provider, issuer.token(number=1)) == "no-match"
    assert reason(provider, issuer.token("EdDSA")) == "no-match"
    assert reason(provider, issuer.token(kid=None)) == "no-match"
    assert reason(provider, issuer.token(kid="unknown")) == "no-match"
    assert reason(provider, issuer.token(exp=None)) == "malformed"
    for garbage in ("", "x", "a.b.c", "." * 20_000, "\u00e9"):
        assert reason(provider, garbage) == "malformed"


def test_claim_covers_the_body(issuer: Issuer) -> None:
    """With `body_claim` the token must have the digest of the body."""
    provider = provider_of(issuer, body_claim="request_body_sha256")
    token = issuer.token(request_body_sha256=hashlib.sha256(BODY).hexdigest())
    assert reason(provider, token) == ""
    assert reason(provider, token, BODY + b" ") == "no-match"
    assert reason(provider, issuer.token()) == "no-match"


def test_issuer_that_is_down_lets_the_sender_retry(issuer: Issuer) -> None:
    """While no keys can be fetched, a delivery is neither accepted nor rejected."""
    issuer.is_down = True
    with pytest.raises(VerificationUnavailableError) as caught:
        reason(provider_of(issuer), issuer.token())
    assert (caught.value.status, caught.value.retry_after) == (503, 5)


@pytest.mark.parametrize(
    "changes",
    [{"jwks": "http://a.example/k"}, {"jwks": "ftp://a"}, {"audience": ""}, {"algorithm": "HS256"}, {"id_header": "X"}],
)
def test_choices_that_verify_nothing_are_rejected(changes: Any) -> None:
    """Keys over plain HTTP, no audience, a symmetric algorithm, or an unsigned id raise RegistrationError."""
    good: dict[str, Any] = {"jwks": "https://a.example/k", "audience": "a", "issuer": "i"}
    JwtSignature(**good)
    with pytest.raises(RegistrationError):
        JwtSignature(**(good | changes))
