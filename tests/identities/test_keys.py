"""How the keys of an issuer are fetched, kept and refreshed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from flask_convex_http import OIDC, AuthenticationError, AuthProviderError, RegistrationError
from flask_convex_http.identities import key_cache
from flask_convex_http.testing import Clock
from tests.identities.checks import Checks, custom
from tests.identities.issuer import AUDIENCE, Issuer

COOLDOWN = timedelta(milliseconds=key_cache.UNKNOWN_MS)
RETRY = timedelta(milliseconds=key_cache.RETRY_MS)
REFRESH = timedelta(milliseconds=key_cache.REFRESH_MS)
EXPIRE = timedelta(milliseconds=key_cache.EXPIRE_MS)
STALE = timedelta(milliseconds=key_cache.STALE_MS)


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


def test_known_keys_cause_no_fetch(issuer: Issuer, clock: Clock) -> None:
    """A key that is known is returned without a fetch. Where `find` would fetch, there is none."""
    fetched: list[dict[str, Any]] = []

    def load() -> dict[str, Any]:
        fetched.append({"keys": issuer.keys})
        return fetched[-1]

    cache = key_cache.KeyCache("lamps", load, clock)
    with pytest.raises(AuthProviderError, match="must be fetched first"):
        cache.known("key_1", "ES256")
    assert cache.find("key_1", "ES256")[0] == cache.known("key_1", "ES256")
    with pytest.raises(AuthProviderError, match="must be fetched again first"):
        cache.known("key_2", "ES256")
    for find in (cache.find, cache.known):  # after the fetch that it causes
        with pytest.raises(AuthenticationError, match="no ES256 key"):
            find("key_2", "ES256")
    clock.advance(REFRESH)
    with pytest.raises(AuthProviderError, match="must be fetched first"):
        cache.known("key_1", "ES256")
    assert len(fetched) == 2


def _rotated(issuer: Issuer, clock: Clock) -> key_cache.KeyCache:
    """Return a cache with the keys of an issuer that has had a new key, `key_2`, since then."""
    cache = key_cache.KeyCache("lamps", lambda: {"keys": list(issuer.keys)}, clock)
    assert cache.find("key_1", "ES256")
    issuer.add_key("ES256", "key_2", 1)
    return cache


def _in_another_thread(call: Callable[[], Any]) -> Any:
    """Return the result of a call in another thread, or the error that it raises."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        return future.exception() or future.result()


def test_a_new_key_is_found_while_another_thread_fetches_it(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has looked for a new key just before another one has fetched it looks again."""
    look_up = key_cache.KeySet.find
    for find_first in ("find", "known"):
        cache, waiting = _rotated(issuer, clock), ["key_2"]

        def find(keys: key_cache.KeySet, kid: str, algorithm: str, cache: Any = cache, waiting: Any = waiting) -> Any:
            found = look_up(keys, kid, algorithm)
            if kid in waiting:
                waiting.clear()
                assert _in_another_thread(lambda: cache.find(kid, algorithm)[0])
            return found

        monkeypatch.setattr(key_cache.KeySet, "find", find)
        if find_first == "find":
            assert cache.find("key_2", "ES256")[0]
        else:
            with pytest.raises(AuthProviderError, match="must be fetched again first"):
                cache.known("key_2", "ES256")
        monkeypatch.setattr(key_cache.KeySet, "find", look_up)
        issuer.keys.pop()


def test_a_new_key_is_found_while_another_thread_is_about_to_fetch_it(issuer: Issuer, clock: Clock) -> None:
    """A thread that looks for a new key waits for the fetch of another one from the moment that it is decided on."""
    cache, results = _rotated(issuer, clock), list[Any]()

    class Interrupted:
        """A lock. After its first release another thread looks for the key."""

        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()
            if not is_interrupted.is_set():
                is_interrupted.set()
                results.append(_in_another_thread(lambda: cache.find("key_2", "ES256")[0]))

    lock, is_interrupted = cache._lock, threading.Event()
    cache._lock = Interrupted()  # type: ignore[assignment]
    results.append(cache.find("key_2", "ES256")[0])
    assert not any(isinstance(result, Exception) for result in results)
    assert len(results) == 2


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
