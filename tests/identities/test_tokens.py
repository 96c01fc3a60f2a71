"""JWTs of an issuer on loopback: which are accepted, and how its keys are fetched."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flask_convex_http import OIDC, AuthenticationError, AuthProviderError, CustomJWT, RegistrationError, UserIdentity
from flask_convex_http.identities import AuthProvider, key_cache
from flask_convex_http.identities.tokens import Tokens
from flask_convex_http.testing import Clock
from tests.identities.issuer import AUDIENCE, Issuer, encoded, issuing, jwk_of, private_key

COOLDOWN = timedelta(milliseconds=key_cache.UNKNOWN_MS)
RETRY = timedelta(milliseconds=key_cache.RETRY_MS)
REFRESH = timedelta(milliseconds=key_cache.REFRESH_MS)
EXPIRE = timedelta(milliseconds=key_cache.EXPIRE_MS)
STALE = timedelta(milliseconds=key_cache.STALE_MS)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as started:
        yield started


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Checks:
    """Tokens checked for one provider."""

    def __init__(self, provider: AuthProvider, clock: Clock) -> None:
        self._tokens = Tokens([provider], clock)
        self.identify = self._tokens.identify

    def accepts(self, token: str) -> bool:
        """Return whether a token is accepted."""
        try:
            self.identify(token)
        except AuthenticationError:
            return False
        return True

    def rejection(self, token: str) -> str:
        """Return the reason for which a token is rejected."""
        with pytest.raises(AuthenticationError) as caught:
            self.identify(token)
        return str(caught.value)


@pytest.fixture
def oidc(issuer: Issuer, clock: Clock) -> Checks:
    return Checks(OIDC(issuer.url, audience=AUDIENCE), clock)


def custom(issuer: Issuer, clock: Clock, **options: Any) -> Checks:
    """Return checks for a `CustomJWT`."""
    given = {"issuer": issuer.url, "jwks": f"{issuer.url}/jwks.json", "algorithm": "ES256"} | options
    return Checks(CustomJWT(**given), clock)


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


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_are_fetched_once(issuer: Issuer, oidc: Checks) -> None:
    """Tokens of known keys cause no further requests to the issuer."""
    for number in range(5):
        assert oidc.accepts(issuer.token(jti=str(number)))
    assert issuer.requests == ["/.well-known/openid-configuration", "/jwks.json"]


def test_many_threads_share_one_fetch(issuer: Issuer, oidc: Checks) -> None:
    """Threads that need keys at the same time wait for one fetch."""
    issuer.delay = 0.05
    tokens = [issuer.token(jti=str(number)) for number in range(16)]
    accepted: list[bool] = []
    threads = [threading.Thread(target=lambda token=token: accepted.append(oidc.accepts(token))) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted == [True] * 16
    assert len(issuer.requests) == 2


def test_rotation(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """A new key is found at its first token, and a removed one is rejected after the next refresh."""
    old = issuer.token()
    assert oidc.accepts(old)
    issuer.keys.clear()
    issuer.add_key("ES256", "key_2", 1)
    assert oidc.accepts(issuer.token(kid="key_2", number=1))
    assert "no ES256 key" in oidc.rejection(old)


def test_a_removed_key_is_rejected_after_the_refresh(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """Without a new key, a request waits for the refresh after ten minutes, and remembers no token of a removed key."""
    old = issuer.token(exp=clock() / 1000 + 3600)
    assert oidc.accepts(old)
    issuer.keys.clear()
    assert oidc.accepts(old)
    clock.advance(EXPIRE)
    assert "no ES256 key" in oidc.rejection(old)


def test_keys_are_refreshed_in_the_background(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """After five minutes the next token starts a refresh and does not wait for it."""
    token = issuer.token(exp=clock() / 1000 + 3600)
    assert oidc.accepts(token)
    clock.advance(REFRESH)
    assert oidc.accepts(token)
    for thread in threading.enumerate():
        if thread.name == "flask_convex_http-keys":
            thread.join()
    assert len(issuer.requests) == 4


def test_unknown_keys_cause_few_requests(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """Tokens with unknown key ids cause one refresh each ten seconds, and valid tokens are accepted meanwhile."""
    for number in range(20):
        assert not oidc.accepts(issuer.token(kid=f"unknown_{number}"))
    assert len(issuer.requests) == 4
    assert oidc.accepts(issuer.token())
    clock.advance(COOLDOWN)
    assert not oidc.accepts(issuer.token(kid="unknown"))
    assert len(issuer.requests) == 6


def test_an_issuer_that_is_down(issuer: Issuer, oidc: Checks, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """While the issuer is down its last keys are used for a day, and it is asked again every few seconds."""
    token = issuer.token(exp=clock() / 1000 + 1_000_000)
    assert oidc.accepts(token)
    issuer.is_down = True
    clock.advance(EXPIRE)
    assert oidc.accepts(token)
    asked = len(issuer.requests)
    assert oidc.accepts(token)
    assert "no ES256 key" in oidc.rejection(issuer.token(kid="key_2", exp=clock() / 1000 + 60))
    assert len(issuer.requests) == asked
    assert "the last keys stay in use" in caplog.text
    clock.advance(STALE)
    with pytest.raises(AuthProviderError):
        oidc.identify(token)
    issuer.is_down = False
    clock.advance(RETRY)
    assert oidc.accepts(token)


def test_an_issuer_that_was_never_up(issuer: Issuer, oidc: Checks, clock: Clock) -> None:
    """Without keys a token cannot be checked, which is no fault of the token: 503, and the keys are fetched later."""
    issuer.is_down = True
    for _ in range(3):
        with pytest.raises(AuthProviderError) as caught:
            oidc.identify(issuer.token())
    assert (caught.value.status, caught.value.retry_after, len(issuer.requests)) == (503, 5, 1)
    assert "expired" in oidc.rejection(issuer.token(exp=1))
    issuer.is_down = False
    clock.advance(RETRY)
    assert oidc.accepts(issuer.token())


def test_a_slow_issuer(issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for a slow issuer for a bounded time, and later ones do not wait at all."""
    monkeypatch.setattr(key_cache, "WAIT", 0.05)
    issuer.may_respond.clear()
    oidc = Checks(OIDC(issuer.url, audience=AUDIENCE), clock)
    for _ in range(3):
        with pytest.raises(AuthProviderError):
            oidc.identify(issuer.token())
    issuer.may_respond.set()
    for thread in threading.enumerate():
        if thread.name == "flask_convex_http-keys":
            thread.join()
    assert len(issuer.requests) == 2  # one fetch: the discovery document and the keys
    assert oidc.accepts(issuer.token())


@pytest.mark.parametrize(
    ("fault", "logged"),
    [
        ({"padding": 1024 * 1024}, "larger than 512 KiB"),
        ({"raw": b"<html>"}, "not valid JSON"),
        ({"raw": b"[" * 100_000}, "not valid JSON"),
        ({"raw": b"[]"}, "no JWKS"),
        ({"raw": b'{"keys": {"a": 1}}'}, "no JWKS"),
        ({"raw": b""}, "not valid JSON"),
        ({"discovery": {"issuer": "https://evil.example"}}, "another issuer"),
        ({"discovery": {"jwks_uri": "http://keys.example/jwks"}}, "must start with https://"),
        ({"discovery": {"jwks_uri": "file:///etc/passwd"}}, "is no URL"),
        ({"discovery": {"jwks_uri": None}}, "is missing"),
    ],
)
def test_wrong_documents(
    issuer: Issuer, oidc: Checks, fault: dict[str, Any], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A document that is too large, malformed or of another issuer is logged, and no key of it is used."""
    vars(issuer).update(fault)
    with pytest.raises(AuthProviderError):
        oidc.identify(issuer.token())
    assert logged in caplog.text


def test_the_content_type_of_a_jwks(issuer: Issuer, clock: Clock) -> None:
    """The keys of a custom provider must be served as JSON."""
    for kind, accepted in {"application/jwk-set+json": True, "text/html; charset=utf-8": False}.items():
        issuer.content_type = kind
        checks = custom(issuer, clock)
        if accepted:
            assert checks.accepts(issuer.token())
        else:
            with pytest.raises(AuthProviderError):
                checks.identify(issuer.token())


def test_keys_in_a_data_url(issuer: Issuer, clock: Clock) -> None:
    """`jwks=` may hold the keys themselves, and then nothing is fetched."""
    body = base64.b64encode(json.dumps({"keys": issuer.keys}).encode()).decode()
    checks = custom(issuer, clock, jwks=f"data:text/plain;charset=utf-8;base64,{body}")
    assert checks.accepts(issuer.token())
    assert issuer.requests == []
    with pytest.raises(RegistrationError, match="not valid JSON"):
        custom(issuer, clock, jwks="data:application/json,nonsense")


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example",
        "ftp://auth.example",
        "https://",
        "https://user:secret@auth.example",
        "https://auth.example#x",
        "https://auth example",
        "https://[::1",
        "http://127.0.0.1.evil.example",
        "",
        3,
    ],
)
def test_urls_of_issuers(url: Any) -> None:
    """An issuer must be at an https:// URL, or on loopback."""
    with pytest.raises(RegistrationError):
        OIDC(url, audience=AUDIENCE)
    with pytest.raises(RegistrationError):
        CustomJWT(issuer="shop", jwks=url, algorithm="ES256")


def test_wrong_providers() -> None:
    """An argument that cannot work is refused when the provider is made."""
    for audience in ("", [], [3]):
        with pytest.raises(RegistrationError):
            OIDC("https://auth.example", audience=audience)  # type: ignore[arg-type]
    for leeway in (-1, 301, "5", float("nan")):
        with pytest.raises(RegistrationError, match="leeway"):
            OIDC("https://auth.example", audience="a", leeway=leeway)  # type: ignore[arg-type]
