"""`ctx.api_keys` and `ctx.tokens`: API keys and access tokens that functions create, list, rotate and revoke.

A mutation writes them in its own transaction, so that a mutation that fails leaves none. A query only lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from flask_convex_http.credentials.store import Credentials
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.durations import seconds_of
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.errors import ArgumentValidationError, DocumentNotFoundError
from flask_convex_http.schema.system_tables import AccessToken, ApiKey

Expires = timedelta | datetime | float | None

_OVERLAP = timedelta(hours=24)


class IssuedCredential(str):
    """A new key or token. It is the text of the credential, which cannot be read again: only a hash is stored.

    Its `repr` hides the text, so that a log or a traceback does not show it.

    Attributes:
        id: The id, for `revoke` and `rotate`.
        key: The text as a plain `str`.
        expires_at: When it expires, in milliseconds since the epoch; None for never.
    """

    id: str
    expires_at: float | None

    @property
    def key(self) -> str:
        """The text as a plain `str`."""
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"<a credential with the id {self.id}>"


class CredentialInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stored key or token, without its text.

    Attributes:
        id: The id.
        name: The name for people; None for a token without one.
        owner: The owner. For a token this is its subject.
        prefix: The first characters of the text, to tell credentials apart.
        scopes: The scopes it grants.
        status: Whether it is valid now.
        created_at: When it was created, in milliseconds since the epoch, as all times here.
        expires_at: When it expires; None for never.
        revoked_at: When it was revoked; None if it was not.
        last_used_at: When it was last used, to about a minute; None if it was not.
    """

    id: str
    name: str | None
    owner: str | None
    prefix: str
    scopes: list[str]
    status: Literal["valid", "expired", "revoked"]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class CredentialReader:
    """Lists the keys or tokens in one snapshot.

    Args:
        store: The keys or tokens.
        snapshot: The snapshot.
    """

    __slots__ = ("_snapshot", "_store")

    def __init__(self, store: Credentials[Any], snapshot: Snapshot) -> None:
        self._store = store
        self._snapshot = snapshot

    def list(self, *, owner: str | None = None) -> list[CredentialInfo]:
        """Return the stored credentials, oldest first, those that have ended too. Their texts are not stored.

        Args:
            owner: Return those of this owner only.
        """
        return [_info(self._store, stored) for stored in self._store.stored_in(self._snapshot, owner)]


class CredentialWriter(CredentialReader):
    """Writes keys or tokens in the transaction of a mutation.

    Args:
        store: The keys or tokens.
        transaction: The transaction.
        times: Assigns creation times.
        now: The time of the mutation, in milliseconds since the epoch.
    """

    __slots__ = ("_now", "_times", "_transaction")

    def __init__(self, store: Credentials[Any], transaction: Transaction, times: CreationTimes, now: float) -> None:
        super().__init__(store, transaction)
        self._transaction = transaction
        self._times = times
        self._now = now

    def revoke(self, credential_id: str, /, *, owner: str | None = None) -> CredentialInfo:
        """Revoke a credential for good, from the commit on.

        Args:
            credential_id: Its id.
            owner: The owner that it must have. Give it if the id comes from a client.

        Raises:
            DocumentNotFoundError: There is no such credential, or it has another owner.
        """
        self._find(credential_id, owner)
        return _info(self._store, self._store.revoke_in(self._transaction, credential_id, self._now))

    def rotate(
        self,
        credential_id: str,
        /,
        *,
        overlap: timedelta | float = _OVERLAP,
        expires: Expires = None,
        owner: str | None = None,
    ) -> IssuedCredential:
        """Create a credential with the owner, name and scopes of a valid one, which expires after an overlap.

        Args:
            credential_id: The id of the old credential.
            overlap: How long the old credential stays valid, as a timedelta or seconds; 24 hours by default.
            expires: When the new one expires, as in `create`. By default with the old one's expiry.
            owner: The owner that it must have. Give it if the id comes from a client.

        Raises:
            DocumentNotFoundError: There is no such credential, it is not valid any more, or it has another owner.
            ArgumentValidationError: A duration is not valid.
        """
        seconds = seconds_of(overlap)
        if not 0 <= seconds < float("inf"):
            raise ArgumentValidationError(f"overlap={overlap!r} must be a timedelta or seconds, 0 or more")
        old = self._find(credential_id, owner)
        if self._store.status(old) != "valid":
            raise DocumentNotFoundError(f"{credential_id} is {self._store.status(old)}; create a new one")
        expires_at = old.expires_at if expires is None else expiry_of(expires, self._now)
        key, new, _ = self._store.rotate_in(self._transaction, self._times, old, self._now + seconds * 1000, expires_at)
        return _issued(key, new)

    def _create(self, scopes: Sequence[str], expires: Expires, **fields: str | None) -> IssuedCredential:
        """Create a credential."""
        expires_at = expiry_of(expires, self._now)
        key, new = self._store.create_in(self._transaction, self._times, _checked_scopes(scopes), expires_at, fields)
        return _issued(key, new)

    def _find(self, credential_id: str, owner: str | None) -> ApiKey | AccessToken:
        found: ApiKey | AccessToken = self._store.get_in(self._snapshot, credential_id)
        if owner is not None and owner_of(found) != owner:
            raise DocumentNotFoundError(f"There is no {credential_id} of this owner")
        return found


class ApiKeyReader(CredentialReader):
    """Lists API keys; `ctx.api_keys` of a query."""


class ApiKeyWriter(CredentialWriter):
    """Creates, lists, rotates and revokes API keys; `ctx.api_keys` of a mutation."""

    def create(
        self, *, name: str, scopes: Sequence[str] = (), expires: Expires = None, owner: str | None = None
    ) -> IssuedCredential:
        """Create an API key, and return it. It cannot be read again.

        Args:
            name: A name for people. Several keys may have one name.
            scopes: What the key may be used for.
            expires: When it expires: a timedelta or seconds from now, an aware datetime, or None for never.
            owner: The subject of the key's identity, such as a user's id. By default the key's own id.

        Raises:
            ArgumentValidationError: An argument is not valid.
        """
        checked = {
            "name": _checked_text("name", name),
            "owner": None if owner is None else _checked_text("owner", owner),
        }
        return self._create(scopes, expires, **checked)


class TokenReader(CredentialReader):
    """Lists access tokens; `ctx.tokens` of a query."""


class TokenWriter(CredentialWriter):
    """Creates, lists, rotates and revokes access tokens; `ctx.tokens` of a mutation."""

    def create(
        self,
        *,
        owner: str | None = None,
        subject: str | None = None,
        scopes: Sequence[str] = (),
        expires: Expires = None,
        name: str | None = None,
    ) -> IssuedCredential:
        """Create an access token, and return it. It cannot be read again.

        Args:
            owner: The subject of the token's identity, such as a user's id.
            subject: Another name of `owner`, as the command line has it. One of them is needed.
            scopes: What the token may be used for.
            expires: When it expires: a timedelta or seconds from now, an aware datetime, or None for never.
            name: A name for people, such as the device.

        Raises:
            ArgumentValidationError: An argument is not valid.
        """
        if owner is not None and subject is not None and owner != subject:
            raise ArgumentValidationError("owner= and subject= are the same; write one of them")
        whose = _checked_text("owner", subject if owner is None else owner)
        return self._create(scopes, expires, subject=whose, name=None if name is None else _checked_text("name", name))


def owner_of(stored: ApiKey | AccessToken) -> str | None:
    """Return the owner of a credential."""
    return stored.owner if isinstance(stored, ApiKey) else stored.subject


def expiry_of(expires: Any, now: float) -> float | None:
    """Return the time of an expiry in milliseconds since the epoch, or None for never.

    Raises:
        ArgumentValidationError: It is no time in the future.
    """
    if expires is None:
        return None
    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise ArgumentValidationError("expires= has no time zone: write datetime.now(timezone.utc) + ...")
        moment = expires.timestamp() * 1000
    else:
        moment = now + seconds_of(expires) * 1000
    if not now < moment < float("inf"):
        raise ArgumentValidationError(f"expires={expires!r} must be in the future: a timedelta, seconds or a datetime")
    return moment


def _info(store: Credentials[Any], stored: ApiKey | AccessToken) -> CredentialInfo:
    return CredentialInfo(
        id=stored.id,
        name=stored.name,
        owner=owner_of(stored),
        prefix=stored.hint,
        scopes=stored.scopes,
        status=store.status(stored),
        created_at=stored.creation_time,
        expires_at=stored.expires_at,
        revoked_at=stored.revoked_at,
        last_used_at=stored.last_used_at,
    )


def _issued(key: str, stored: ApiKey | AccessToken) -> IssuedCredential:
    made = IssuedCredential(key)
    made.id, made.expires_at = stored.id, stored.expires_at
    return made


def _checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ArgumentValidationError(f"{name}={value!r} must be a text that is not empty")
    return value


def _checked_scopes(scopes: Any) -> list[str]:
    if isinstance(scopes, str) or not all(isinstance(scope, str) and scope and not scope.isspace() for scope in scopes):
        raise ArgumentValidationError(f"scopes={scopes!r} must be a list of texts, such as ['read']")
    return list(dict.fromkeys(scopes))
