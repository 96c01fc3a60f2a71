"""API keys and access tokens: their form, their validity, and their stored rows."""

import re
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import DocumentNotFoundError, Schema, UserIdentity
from flask_convex_http.backend import Backend
from flask_convex_http.credentials import LAST_USED_INTERVAL, Credentials, is_credential, make_credential
from flask_convex_http.engines import Engine
from flask_convex_http.schema.system_tables import ApiKey
from flask_convex_http.signing import Signing
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend, settings_in
from tests.lengths import SAMPLED, examples
from tests.services import HookedEngine

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

MINUTE = timedelta(milliseconds=LAST_USED_INTERVAL)


class NoDatabase:
    """An engine that must not be used."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the database was used: {name}")


def no_secret() -> str:
    raise AssertionError("the secret was loaded")


def create(backend: Backend, name: str = "ci", scopes: list[str] | None = None, **more: Any) -> tuple[str, ApiKey]:
    return backend.api_keys.create(name=name, scopes=scopes or [], **more)


# --- form of a key ---------------------------------------------------------------------------------------------------


def test_form_of_a_key() -> None:
    """A key is its prefix, an underscore, and letters and digits, so that it is easy to select and to scan for."""
    key = make_credential("cvx")
    assert re.fullmatch(r"cvx_[0-9A-Za-z]{43,}", key)
    assert is_credential("cvx", key)
    assert len({make_credential("cvx") for _ in range(1000)}) == 1000


def test_prefix_belongs_to_the_key() -> None:
    """A key is invalid under another prefix, even if its own prefix is replaced."""
    key = make_credential("cvx")
    assert not is_credential("cvxt", key)
    assert not is_credential("cvxt", key.replace("cvx_", "cvxt_"))


@SAMPLED
@given(st.data())
@settings(deadline=None, max_examples=examples(100))
def test_checksum(data: st.DataObject) -> None:
    """The checksum rejects a key with a character changed, dropped or doubled."""
    key = make_credential("cvx")
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != key[place]))
    assert not is_credential("cvx", key[:place] + other + key[place + 1 :])
    assert not is_credential("cvx", key[:place] + key[place + 1 :])
    assert not is_credential("cvx", key[:place] + key[place] + key[place:])


MALFORMED = ["", "_", "cvx", "cvx_", "\0", "\ud800", "é" * 55, "cvx_" * 9, "a" * 100_000]
MALFORMED += ["cvx_" + "a" * length for length in range(43, 56)]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_key_needs_no_database(text: str) -> None:
    """A malformed key is rejected without a query and without the secret."""
    engine: Any = NoDatabase()
    credentials: Credentials[ApiKey] = Credentials(
        ApiKey, "cvx", engine=engine, schema=Schema(ApiKey), signing=Signing(no_secret), clock=Clock()
    )
    assert credentials.verify(text) is None
    with pytest.raises(AssertionError, match=r"was (used|loaded)"):
        credentials.verify(make_credential("cvx"))


@SAMPLED
@given(st.text(st.characters(codec=None)))
@settings(deadline=None, max_examples=examples(100))
def test_any_text_can_be_checked(text: str) -> None:
    """Checking any text raises no error."""
    assert not is_credential("cvx", text)
    assert not is_credential("cvx", f"cvx_{text}")


# --- validity --------------------------------------------------------------------------------------------------------


def test_verify() -> None:
    """A created key is valid, and a well-formed key that was not created is invalid."""
    with memory_backend(Schema()) as backend:
        key, created = create(backend, scopes=["read", "write"])
        found = backend.api_keys.verify(key)
        assert found == created
        assert found is not None
        assert (found.name, found.scopes) == ("ci", ["read", "write"])
        assert backend.api_keys.verify(make_credential("cvx")) is None


def test_keys_and_tokens_are_separate() -> None:
    """An access token is no API key, nor the other way round."""
    with memory_backend(Schema()) as backend:
        key, _ = create(backend)
        token, _ = backend.tokens.create(subject="ada")
        found = backend.tokens.verify(token)
        assert found is not None
        assert found.subject == "ada"
        assert backend.tokens.verify(key) is None
        assert backend.api_keys.verify(token) is None


def test_expiry() -> None:
    """A key is valid until the moment at which it expires."""
    clock = Clock()
    with memory_backend(Schema(), clock=clock) as backend:
        key, _ = create(backend, expires_at=clock() + 1000)
        clock.advance(timedelta(milliseconds=999))
        assert backend.api_keys.verify(key) is not None
        clock.advance(timedelta(milliseconds=1))
        assert backend.api_keys.verify(key) is None


def test_revocation() -> None:
    """A revoked key is invalid, keeps the time of its first revocation, and leaves other keys valid."""
    with memory_backend(Schema()) as backend:
        (key, created), (other, _) = create(backend), create(backend)
        revoked = backend.api_keys.revoke(created.id)
        assert backend.api_keys.status(revoked) == "revoked"
        assert backend.api_keys.revoke(created.id) == revoked
        assert backend.api_keys.verify(key) is None
        assert backend.api_keys.verify(other) is not None


def test_a_revocation_elsewhere_holds_at_once(tmp_path: Path) -> None:
    """A key that is revoked by other connections is invalid at its next use, though it was valid a moment ago."""
    with (
        closing(Backend(settings_in(tmp_path), Schema(), folder=tmp_path)) as backend,
        closing(Backend(settings_in(tmp_path), Schema(), folder=tmp_path)) as other,
    ):
        backend.migrate()
        key, document = create(backend)
        for _ in range(3):
            assert backend.api_keys.verify(key) == document
        other.api_keys.revoke(document.id)
        assert backend.api_keys.verify(key) is None


def test_a_key_in_use_is_not_read_again() -> None:
    """SQLite tells whether anything was committed, so a key that was just verified needs no read until then."""
    with memory_backend(Schema()) as backend:
        key, document = create(backend)
        reads: list[object] = []
        keys = Credentials(
            ApiKey,
            backend.api_keys.prefix,
            engine=cast("Engine", HookedEngine(backend.engine, lambda: reads.append(1))),
            schema=backend.schema,
            signing=backend.signing,
            clock=backend.clock,
        )
        assert [keys.verify(key) for _ in range(50)] == [document] * 50
        if backend.engine.version() is None:
            assert len(reads) == 50
            return
        assert len(reads) < 10
        reads.clear()
        create(backend, "other")
        keys.verify(key)
        assert reads


def test_rotation() -> None:
    """A rotated key has the name and scopes of the old key, which expires no later than before."""
    clock = Clock()
    with memory_backend(Schema(), clock=clock) as backend:
        old_key, old = create(backend, scopes=["read"], expires_at=clock() + 1000)
        key, new, old = backend.api_keys.rotate(old.id, old_expires_at=clock() + 5000, expires_at=None)
        assert (new.name, new.scopes, new.expires_at) == (old.name, ["read"], None)
        assert old.expires_at == clock() + 1000
        assert (backend.api_keys.verify(key), backend.api_keys.verify(old_key)) == (new, old)


def test_unknown_keys_cannot_be_changed() -> None:
    """Revoking or rotating an unknown key raises DocumentNotFoundError."""
    with memory_backend(Schema()) as backend:
        for document_id in ("nothing", f"api_keys_{'0' * 32}"):
            with pytest.raises(DocumentNotFoundError):
                backend.api_keys.revoke(document_id)
            with pytest.raises(DocumentNotFoundError):
                backend.api_keys.rotate(document_id, old_expires_at=0, expires_at=None)


def test_all() -> None:
    """Keys are listed in the order of their creation."""
    with memory_backend(Schema()) as backend:
        names = ["a", "b", "c"]
        for name in names:
            create(backend, name)
        assert [key.name for key in backend.api_keys.all()] == names


# --- stored rows -----------------------------------------------------------------------------------------------------


def test_only_a_hash_is_stored() -> None:
    """A row has the first characters of the key and a hash, which depends on the secret and the table."""
    with memory_backend(Schema()) as backend:
        key, created = create(backend)
        assert key.startswith(created.hint)
        assert len(created.hint) == len("cvx_") + 4
        assert key[len(created.hint) :] not in repr(created)
    one, other = (Signing(lambda secret=secret: secret) for secret in ("a" * 32, "b" * 32))  # type: ignore[misc]
    assert one.digest("api_keys", key) != other.digest("api_keys", key)
    assert one.digest("api_keys", key) != one.digest("access_tokens", key)
    assert one.digest("api_keys", key) == one.digest("api_keys", key)


def test_secret_is_stored_in_the_database(tmp_path: Path) -> None:
    """Without a secret in the settings the first migration creates one, and keys stay valid after a restart."""
    first = Backend(settings_in(tmp_path), Schema(), folder=tmp_path)
    first.migrate()
    key, _ = create(first)
    first.close()
    second = Backend(settings_in(tmp_path), Schema(), folder=tmp_path)
    second.migrate()
    assert second.api_keys.verify(key) is not None
    second.close()
    other = Backend(settings_in(tmp_path, secret="another secret, of enough characters"), Schema(), folder=tmp_path)
    assert other.api_keys.verify(key) is None
    other.close()


def test_last_use() -> None:
    """The last use is recorded by record_use() instead of verify(), and at most once a minute."""
    clock = Clock()
    with memory_backend(Schema(), clock=clock) as backend:
        keys = backend.api_keys
        key, _ = create(backend)

        def last_used() -> float | None:
            (document,) = keys.all()
            return document.last_used_at

        keys.record_use()
        assert last_used() is None
        first = clock()
        assert keys.verify(key)
        assert last_used() is None
        keys.record_use()
        assert last_used() == first
        clock.advance(MINUTE - timedelta(milliseconds=1))
        assert keys.verify(key)
        keys.record_use()
        assert last_used() == first
        assert not keys.use_is_due()
        clock.advance(timedelta(milliseconds=1))
        assert keys.use_is_due()
        keys.record_use()
        assert last_used() == first + LAST_USED_INTERVAL - 1


def test_rejected_key_is_not_recorded_as_used() -> None:
    """A rejected key is not recorded as used."""
    with memory_backend(Schema()) as backend:
        key, created = create(backend)
        backend.api_keys.revoke(created.id)
        assert backend.api_keys.verify(key) is None
        backend.api_keys.record_use()
        assert backend.api_keys.all()[0].last_used_at is None


def test_use_by_many_threads() -> None:
    """Threads can verify keys while others record their use."""
    clock = Clock()
    with memory_backend(Schema(), clock=clock) as backend:
        keys = [create(backend)[0] for _ in range(4)]
        failures: list[BaseException] = []

        def use(key: str) -> None:
            try:
                for _ in range(50):
                    assert backend.api_keys.verify(key)
                    clock.advance(MINUTE)
                    backend.api_keys.record_use()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=use, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert all(document.last_used_at for document in backend.api_keys.all())


# --- identities and signatures ---------------------------------------------------------------------------------------


def test_token_identifier() -> None:
    """The token identifier differs between issuers."""
    ada = UserIdentity(subject="ada", issuer="https://a.example")
    assert ada.token_identifier == "https://a.example|ada"
    assert ada.token_identifier != UserIdentity(subject="ada", issuer="https://b.example").token_identifier


def test_signatures() -> None:
    """A signature is valid for its text, its purpose and its secret only."""
    signing = Signing(lambda: "a" * 32)
    signature = signing.sign("file", "text")
    assert re.fullmatch(r"[A-Za-z0-9_-]+", signature)
    assert signing.verify("file", "text", signature)
    assert not signing.verify("upload", "text", signature)
    assert not signing.verify("file", "texts", signature)
    assert not Signing(lambda: "b" * 32).verify("file", "text", signature)


@SAMPLED
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
@settings(deadline=None, max_examples=examples(100))
def test_other_signatures_are_invalid(text: str, signature: str) -> None:
    """Any other text is an invalid signature and raises no error."""
    assert not Signing(lambda: "a" * 32).verify("file", text, signature)


def test_secret_is_loaded_once() -> None:
    """The secret is loaded once, when it is first needed."""
    loads: list[int] = []

    def load() -> str:
        loads.append(1)
        return "a" * 32

    signing = Signing(load)
    assert loads == []
    signing.sign("file", "a")
    signing.digest("keys", "b")
    assert loads == [1]
