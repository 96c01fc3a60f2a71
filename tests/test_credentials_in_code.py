"""`ctx.api_keys` and `ctx.tokens`: credentials that functions create, list, rotate and revoke."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from flask_convex_http import (
    ArgumentValidationError,
    DocumentNotFoundError,
    MutationCtx,
    QueryCtx,
    Schema,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.credentials import IssuedCredential
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, memory_backend

pytestmark = EACH_ENGINE


@internal_mutation
def run(ctx: MutationCtx, *, body: Any) -> Any:
    """Call a Python function with the ctx, inside of the transaction."""
    return body(ctx)


@internal_query
def listed(ctx: QueryCtx, *, owner: str | None = None) -> list[str | None]:
    """Return the names of the keys of an owner."""
    return [info.name for info in ctx.api_keys.list(owner=owner)]


def backend_at(clock: Clock | None = None) -> Any:
    """Return a backend with the two functions, for a `with` statement."""
    return memory_backend(Schema(), [run, listed], clock=clock or Clock())


def mutate(backend: Backend, body: Callable[[MutationCtx], Any]) -> Any:
    """Run a Python function as a mutation."""
    return backend.runtime.transact(body, backend.caller())


def create(ctx: MutationCtx, **options: Any) -> IssuedCredential:
    """Create an API key."""
    return ctx.api_keys.create(**options)


def test_a_key_is_returned_once() -> None:
    """A new key is its text, works at once after the commit, and its repr and the list do not show it."""
    with backend_at() as backend:
        key = mutate(backend, lambda ctx: ctx.api_keys.create(name="ci", scopes=["read"], owner="ada"))
        found = backend.api_keys.verify(key)
        assert found is not None
        assert (found.id, found.owner, found.scopes) == (key.id, "ada", ["read"])
        assert (key.key, type(key.key), key.expires_at) == (str(key), str, None)
        (info,) = mutate(backend, lambda ctx: ctx.api_keys.list())
        assert (info.name, info.owner, info.status, info.prefix) == ("ci", "ada", "valid", key[:8])
        assert key not in repr(info) + repr(key)


def test_keys_roll_back_with_the_mutation() -> None:
    """A mutation that fails leaves no key and revokes none."""
    with backend_at() as backend:
        kept = mutate(backend, lambda ctx: ctx.api_keys.create(name="kept"))
        made: list[str] = []

        def fail(ctx: MutationCtx) -> None:
            made.append(ctx.api_keys.create(name="lost"))
            ctx.api_keys.revoke(kept.id)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            mutate(backend, fail)
        assert backend.api_keys.verify(made[0]) is None
        assert backend.api_keys.verify(kept) is not None
        assert backend.ctx().run_query(listed) == ["kept"]


def test_owners() -> None:
    """Keys are listed by owner, and an owner cannot revoke or rotate the key of another one."""
    with backend_at() as backend:
        ada, bob = (mutate(backend, partial(create, name=f"key of {owner}", owner=owner)) for owner in ("ada", "bob"))
        assert backend.ctx().run_query(listed, owner="ada") == ["key of ada"]
        for call in (
            lambda ctx: ctx.api_keys.revoke(bob.id, owner="ada"),
            lambda ctx: ctx.api_keys.rotate(bob.id, owner="ada"),
            lambda ctx: ctx.api_keys.revoke("api_keys_0", owner="ada"),
            lambda ctx: ctx.tokens.revoke(bob.id),
        ):
            with pytest.raises(DocumentNotFoundError):
                mutate(backend, call)
        assert mutate(backend, lambda ctx: ctx.api_keys.revoke(ada.id, owner="ada")).status == "revoked"
        assert backend.api_keys.verify(ada) is None


def test_rotation_overlaps() -> None:
    """A rotated key has the owner, name and scopes of the old one, which stays valid for the overlap."""
    clock = Clock()
    with backend_at(clock) as backend:
        old = mutate(backend, lambda ctx: ctx.api_keys.create(name="ci", scopes=["read"], owner="ada"))
        new = mutate(backend, lambda ctx: ctx.api_keys.rotate(old.id, overlap=timedelta(minutes=1)))
        found = backend.api_keys.verify(new)
        assert found is not None
        assert (found.name, found.owner, found.scopes, found.expires_at) == ("ci", "ada", ["read"], None)
        clock.advance(timedelta(seconds=59))
        assert backend.api_keys.verify(old) is not None
        clock.advance(timedelta(seconds=1))
        assert backend.api_keys.verify(old) is None
        with pytest.raises(DocumentNotFoundError, match="expired"):
            mutate(backend, lambda ctx: ctx.api_keys.rotate(old.id))
        at_once = mutate(backend, lambda ctx: ctx.api_keys.rotate(new.id, overlap=0, expires=60))
        assert backend.api_keys.verify(new) is None
        assert at_once.expires_at == clock() + 60_000


def test_tokens() -> None:
    """A token has an owner, which is the subject of its identity, and may have a name."""
    with backend_at() as backend:
        token = mutate(backend, lambda ctx: ctx.tokens.create(owner="ada", name="phone", expires=timedelta(days=1)))
        found = backend.tokens.verify(token)
        assert found is not None
        assert (found.subject, found.name) == ("ada", "phone")
        assert mutate(backend, lambda ctx: ctx.tokens.create(subject="bob")).startswith("cvxt_")
        assert [info.owner for info in mutate(backend, lambda ctx: ctx.tokens.list(owner="ada"))] == ["ada"]


def test_ended_credentials_are_purged() -> None:
    """A credential is deleted 30 days after it has expired or was revoked, a few at a time. Others stay."""
    clock = Clock()
    with backend_at(clock) as backend:

        def purge(limit: int = 50) -> int:
            purged: int = backend.engine.write(lambda found: backend.tokens.purge(found, clock(), limit))
            return purged

        def create_and_revoke(ctx: MutationCtx) -> None:
            ctx.tokens.create(owner="never")
            ctx.tokens.create(owner="later", expires=timedelta(days=2))
            for _ in range(2):
                ctx.tokens.create(owner="expired", expires=timedelta(days=1))
            for expires in (None, timedelta(days=1)):
                ctx.tokens.revoke(ctx.tokens.create(owner="revoked", expires=expires).id)

        mutate(backend, create_and_revoke)
        clock.advance(timedelta(days=30, seconds=-1))
        assert purge() == 0
        clock.advance(timedelta(seconds=1))
        assert [purge(), purge()] == [2, 0]
        clock.advance(timedelta(days=1))
        assert [purge(1), purge(1), purge(1)] == [1, 1, 0]
        assert [info.owner for info in mutate(backend, lambda ctx: ctx.tokens.list())] == ["never", "later"]
        mutate(backend, lambda ctx: ctx.api_keys.create(name="ci", expires=1))
        clock.advance(timedelta(days=31))
        assert Cleaner(backend).purge() is False
        assert mutate(backend, lambda ctx: (ctx.api_keys.list(), len(ctx.tokens.list()))) == ([], 1)


def test_expiries() -> None:
    """An expiry is a timedelta, seconds or an aware datetime in the future."""
    clock = Clock()
    with backend_at(clock) as backend:
        now = datetime.fromtimestamp(clock() / 1000, UTC)
        for expires in (60, timedelta(minutes=1), now + timedelta(minutes=1)):
            key = mutate(backend, partial(create, name="a", expires=expires))
            assert abs(key.expires_at - clock() - 60_000) < 1
        wrong: tuple[Any, ...] = (
            0,
            -1,
            "1d",
            now - timedelta(seconds=1),
            now.replace(tzinfo=None),
            timedelta(0),
            float("inf"),
        )
        for expires in wrong:
            with pytest.raises(ArgumentValidationError):
                mutate(backend, partial(create, name="a", expires=expires))


@pytest.mark.parametrize(
    "arguments", [{"name": ""}, {"name": "a", "scopes": "read"}, {"name": "a", "scopes": [" "]}, {"name": 3}]
)
def test_wrong_arguments(arguments: Any) -> None:
    """A name or a scope that is no text is an ArgumentValidationError, and a token needs an owner."""
    with backend_at() as backend:
        with pytest.raises(ArgumentValidationError):
            mutate(backend, lambda ctx: ctx.api_keys.create(**arguments))
        with pytest.raises(ArgumentValidationError, match="owner"):
            mutate(backend, lambda ctx: ctx.tokens.create())
