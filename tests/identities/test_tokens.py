"""JWTs of an issuer on loopback: which are accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flask_convex_http import OIDC, AuthenticationError, RegistrationError, UserIdentity
from flask_convex_http.identities.tokens import Tokens
from flask_convex_http.testing import Clock
from tests.identities.checks import Checks, custom
from tests.identities.issuer import AUDIENCE, Issuer, encoded, issuing, jwk_of, private_key

# --- identities ------------------------------------------------------------------------------------------------------


def test_the_identity_of_a_token(issuer: Issuer, oidc: Checks) -> None:
    """The identity has the standard claims as fields, the scopes, and all claims."""
    identity = oidc.identify(
        issuer.token(
            name="Ada",
            email="ada@example.com",
            email_verified=True,
            given_name="Ada",
            profile="https://example.com/ada",
            picture="https://example.com/ada.png",
            birthdate="1815-12-10",
            zoneinfo="Europe/London",
            locale="en-GB",
            address={"formatted": "London"},
            updated_at=0,
            scope="read write",
            org="engines",
        )
    )
    assert (identity.subject, identity.issuer) == ("user_1", issuer.url)
    assert identity.token_identifier == f"{issuer.url}|user_1"
    assert (identity.name, identity.email, identity.email_verified) == ("Ada", "ada@example.com", True)
    assert (identity.given_name, identity.birthday, identity.timezone) == ("Ada", "1815-12-10", "Europe/London")
    assert (identity.profile_url, identity.picture_url) == ("https://example.com/ada", "https://example.com/ada.png")
    assert (identity.language, identity.address, identity.updated_at) == ("en-GB", "London", "1970-01-01T00:00:00Z")
    assert identity.scopes == ("read", "write")
    assert (identity.claims["org"], identity.claims["aud"]) == ("engines", AUDIENCE)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, ()),
        ({"scope": "a  b a"}, ("a", "b")),
        ({"scp": ["a", "b", 3, ""]}, ("a", "b")),
        ({"scp": "a b"}, ("a", "b")),
        ({"permissions": ["c"], "scope": "a"}, ("a", "c")),
        ({"scope": {"a": 1}, "permissions": 7}, ()),
    ],
)
def test_scopes(issuer: Issuer, oidc: Checks, claims: dict[str, Any], scopes: tuple[str, ...]) -> None:
    """The scopes are those of `scope`, `scp` and `permissions` together."""
    assert oidc.identify(issuer.token(**claims)).scopes == scopes


def test_odd_values_of_standard_claims_are_left_to_the_claims(issuer: Issuer, oidc: Checks) -> None:
    """A standard claim of another type is in `claims` alone."""
    odd: dict[str, Any] = {"name": 3, "email": ["a"], "email_verified": "yes", "address": [1], "updated_at": 1e300}
    identity = oidc.identify(issuer.token(**odd))
    assert identity == UserIdentity(subject="user_1", issuer=issuer.url, claims=identity.claims)
    assert identity.claims["name"] == 3


# --- signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_algorithms(issuer: Issuer, clock: Clock, algorithm: Any) -> None:
    """OIDC accepts each algorithm with a public key, and a custom provider its own only."""
    issuer.keys.clear()
    issuer.add_key(algorithm, "key_2")
    token = issuer.token(algorithm, "key_2")
    assert Checks(OIDC(issuer.url, audience=AUDIENCE), clock).accepts(token)
    assert custom(issuer, clock, algorithm=algorithm).accepts(token)
    other = "ES256" if algorithm == "EdDSA" else "EdDSA"
    assert "algorithm" in custom(issuer, clock, algorithm=other).rejection(token)


def test_a_token_of_another_key_is_rejected(issuer: Issuer, oidc: Checks) -> None:
    """A signature by another key, a changed payload and an empty signature are not valid."""
    good = issuer.token()
    head, _, signature = good.split(".")
    assert "signature" in oidc.rejection(issuer.token(number=1))
    assert "signature" in oidc.rejection(f"{head}.{encoded(issuer.claims(sub='admin'))}.{signature}")
    assert "signature" in oidc.rejection(good.rpartition(".")[0] + ".")
    assert oidc.accepts(good)


def test_tokens_without_a_signature_are_rejected(issuer: Issuer, oidc: Checks) -> None:
    """The algorithm `none` is never accepted, in whatever case."""
    names: list[Any] = ["none", "None", "NONE", "nOnE", "", None, 1, ["ES256"], {}]
    for name in names:
        head = encoded({"alg": name, "kid": "key_1", "typ": "JWT"})
        for signature in ("", "AAAA"):
            assert not oidc.accepts(f"{head}.{encoded(issuer.claims())}.{signature}")


def test_a_public_key_does_not_sign(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """A symmetric signature with the public key as its secret is rejected (key confusion), in each form of the key."""
    issuer.add_key("RS256", "rsa")
    public = private_key("RS256").public_key()
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(issuer.keys[-1]).encode(),
        b"",
    ]
    for secret in forms:
        for name in ("HS256", "RS256"):
            signed = f"{encoded({'alg': name, 'kid': 'rsa'})}.{encoded(issuer.claims())}"
            digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            assert not oidc.accepts(f"{signed}.{encoded(digest)}")
    with pytest.raises(RegistrationError, match="symmetric"):
        custom(issuer, clock, algorithm="HS256")


def test_only_fitting_keys_are_used(issuer: Issuer, oidc: Checks) -> None:
    """A JWKS entry that is symmetric, small, of another use, curve or algorithm, or malformed checks no signature."""
    small = rsa.generate_private_key(65537, 1024)
    issuer.keys += [
        {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode()},
        jwk_of("RS256", small, "small"),
        jwk_of("ES256", private_key("ES256"), "enc", use="enc"),
        jwk_of("ES256", private_key("ES256"), "other", alg="ES384"),
        jwk_of("ES256", private_key("ES256"), "ops", key_ops=["sign"]),
        {"kty": "EC", "kid": "half", "crv": "P-256", "x": "AA"},
        {"kty": [], "kid": "odd", "crv": {}, "key_ops": 3},
        {"kid": 7},
        "no key",  # type: ignore[list-item]
    ]
    for kid in ("enc", "other", "ops", "half", "odd", "oct"):
        assert "no ES256 key" in oidc.rejection(issuer.token(kid=kid))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = jwt.encode(issuer.claims(), small, "RS256", headers={"kid": "small"})
    assert "no RS256 key" in oidc.rejection(token)
    assert oidc.accepts(issuer.token())


def test_headers_of_tokens(issuer: Issuer, oidc: Checks) -> None:
    """A token needs a `kid`, must have no critical parameter, and cannot bring its own key."""
    assert "'kid'" in oidc.rejection(issuer.token(kid=None))
    assert not oidc.accepts(issuer.token(headers={"crit": ["exp"]}))
    own = {"jwk": jwk_of("ES256", private_key("ES256", 1), "key_1"), "jku": "https://evil.example"}
    assert "signature" in oidc.rejection(issuer.token(number=1, headers=own))


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "no exp"),
        ({"exp": "tomorrow"}, "no number"),
        ({"exp": True}, "no number"),
        ({"exp": float("inf")}, "no number"),
        ({"nbf": 32503680000}, "will be valid"),
        ({"iat": 32503680000}, "will be valid"),
        ({"iat": []}, "no number"),
        ({"sub": None}, "no sub"),
        ({"sub": 7}, "no sub"),
        ({"sub": ""}, "no sub"),
        ({"sub": "\ud800"}, "no JWT"),
        ({"name": ["a\udfff"]}, "no JWT"),
        ({"iss": None}, "no issuer"),
        ({"iss": ["a"]}, "no issuer"),
        ({"iss": "https://evil.example"}, "No auth provider"),
        ({"aud": None}, "No auth provider"),
        ({"aud": "other"}, "No auth provider"),
        ({"aud": [AUDIENCE, "other"]}, "No auth provider"),
        ({"aud": []}, "No auth provider"),
        ({"aud": {"a": 1}}, "No auth provider"),
        ({"aud": [[AUDIENCE]]}, "No auth provider"),
    ],
)
def test_rejected_claims(issuer: Issuer, oidc: Checks, changes: dict[str, Any], reason: str) -> None:
    """A token with a wrong time, subject, issuer or audience is rejected, and the log can say why."""
    if not isinstance(changes.get("iss", ""), str):
        token = f"{encoded({'alg': 'ES256', 'kid': 'key_1'})}.{encoded(issuer.claims(**changes))}.AAAA"
    else:
        token = issuer.token(**changes)
    assert reason in oidc.rejection(token)


def test_leeway(issuer: Issuer, clock: Clock) -> None:
    """OIDC has no leeway for the expiry, a custom provider five seconds, and both five for times in the future."""
    now = clock() / 1000
    expired, long_ago = issuer.token(exp=now - 3), issuer.token(exp=now - 6)
    early, far = issuer.token(iat=now + 3), issuer.token(iat=now + 10)
    strict, lenient = Checks(OIDC(issuer.url, audience=AUDIENCE), clock), custom(issuer, clock)
    assert [strict.accepts(token) for token in (expired, long_ago, early, far)] == [False, False, True, False]
    assert [lenient.accepts(token) for token in (expired, long_ago, early, far)] == [True, False, True, False]
    wide = Checks(OIDC(issuer.url, audience=AUDIENCE, leeway=timedelta(seconds=10)), clock)
    assert wide.accepts(long_ago)


def test_a_remembered_token_expires(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """A token that was accepted before is rejected from its expiry on."""
    token = issuer.token(exp=clock() / 1000 + 60)
    assert oidc.accepts(token)
    clock.advance(timedelta(seconds=59))
    assert oidc.accepts(token)
    clock.advance(timedelta(seconds=1))
    assert "expired" in oidc.rejection(token)


def test_audiences(issuer: Issuer, clock: Clock) -> None:
    """OIDC wants no audience but its own, a custom provider at least one of its own, or any without `audience=`."""
    both, other = issuer.token(aud=["a", "b"]), issuer.token(aud="c")
    assert [Checks(OIDC(issuer.url, audience=list(own)), clock).accepts(both) for own in ("ab", "a")] == [True, False]
    assert [custom(issuer, clock, audience=own).accepts(both) for own in ("a", "c")] == [True, False]
    assert custom(issuer, clock).accepts(other)


def test_forms_of_an_issuer(issuer: Issuer, clock: Clock) -> None:
    """For OIDC a slash at the end of the issuer makes no difference; a custom provider compares exactly."""
    slash = issuer.token(iss=f"{issuer.url}/")
    assert Checks(OIDC(f"{issuer.url}/", audience=AUDIENCE), clock).accepts(issuer.token())
    assert Checks(OIDC(issuer.url, audience=AUDIENCE), clock).accepts(slash)
    assert not custom(issuer, clock).accepts(slash)
    assert OIDC("acme.example", audience="a").issues("https://acme.example/")


def test_several_providers(issuer: Issuer, clock: Clock) -> None:
    """The provider is the one of the token's issuer and audience."""
    with issuing() as second:
        second.keys.clear()
        second.add_key("ES256", "key_1", 1)
        tokens = Tokens([OIDC(one.url, audience=AUDIENCE) for one in (issuer, second)], clock)
        assert tokens.identify(second.token(number=1)).issuer == second.url
        assert tokens.identify(issuer.token()).issuer == issuer.url
        with pytest.raises(AuthenticationError, match="signature"):
            tokens.identify(second.token())  # signed with a key of the first issuer
