"""Access to the dashboard: one-time links and sessions.

Both are random texts. `_settings` has their keyed hashes, so that every process on the database knows them, and a copy
of the database opens no session. A session that an admin key has opened ends when the key is revoked.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flask_convex_http.backend import Backend
from flask_convex_http.credentials.store import is_credential, make_credential
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.identities import UserIdentity
from flask_convex_http.rate_limits import Limit
from flask_convex_http.schema.index_ranges import between
from flask_convex_http.schema.system_tables import Setting

Role = Literal["full", "read-only"]

#: Milliseconds that a link and a session are valid.
LINK_LIFETIME = 10 * 60_000
SESSION_LIFETIME = 12 * 3_600_000
_LINK, _SESSION = "dashboard", "session"
_PURPOSES = {_LINK: "dashboard links", _SESSION: "dashboard sessions"}
_ROW = "dashboard_{}:"
_LIMIT = Limit.of("dashboard log-in", rate=10, period=15 * 60, capacity=10)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session of the dashboard, or a link that opens one.

    Attributes:
        role: Whether it may change something.
        by: The credential that has opened it, in words for people.
        expires: When it ends, in milliseconds since the epoch.
        admin_key: The fingerprint of the admin key that has opened it; None for a link.
    """

    role: Role
    by: str
    expires: float
    admin_key: str | None = None

    @property
    def can_write(self) -> bool:
        """Whether it may change something."""
        return self.role == "full"

    @property
    def identity(self) -> UserIdentity:
        """The identity that the commit log names as the cause of changes."""
        return UserIdentity(issuer="dashboard", subject=f"dashboard: {self.by}")


class Access:
    """The links and sessions of a deployment.

    Args:
        backend: The backend.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._table = backend.schema.table_for(Setting)

    def create_link(self, role: Role, name: str = "") -> str:
        """Return the code of a link that opens one session.

        Args:
            role: Whether the session may change something.
            name: A name for people, which the commit log shows as the cause of changes.
        """
        code = make_credential(_LINK)
        by = f"a one-time link ({name})" if name else "a one-time link"
        link = Session(role=role, by=by, expires=self._backend.clock() + LINK_LIFETIME)
        self._backend.engine.write(lambda write: self._add(write, _LINK, code, link))
        return code

    def count_attempt(self, caller: str) -> None:
        """Count an attempt to log in.

        Args:
            caller: The address of the client.

        Raises:
            RateLimitedError: There were too many from this address.
        """
        limits, now = self._backend.rate_limits, self._backend.clock()
        self._backend.engine.read(
            lambda read: limits.check(read, now, _LIMIT, caller, 1)
        )  # a rejected one writes nothing
        self._backend.engine.write(lambda write: limits.take(write, CreationTimes(now), now, _LIMIT, caller, 1))

    def open_session(self, credential: str) -> str | None:
        """Return the text of a new session for an admin key or the code of a link, or None if that is not valid."""
        if is_credential(_LINK, credential):
            return self._backend.engine.write(lambda write: self._redeem(write, credential))
        key = self._backend.admin_keys.find(credential)
        if key is None:
            return None
        named = f"admin key {key.hint}" + (f" ({key.name})" if key.name else "")
        opened = Session(
            role="read-only" if key.read_only else "full",
            by=named,
            expires=self._backend.clock() + SESSION_LIFETIME,
            admin_key=self._backend.admin_keys.fingerprint(credential),
        )
        return self._backend.engine.write(lambda write: self._open(write, opened))

    def find_session(self, text: str) -> Session | None:
        """Return the session with a text, or None if it has ended."""
        if not is_credential(_SESSION, text):
            return None
        row = self._backend.engine.lookup(self._table, {"key": self._key(_SESSION, text)})
        if row is None:
            return None
        session = _decode(self._table.read(row))
        if session.expires <= self._backend.clock():
            return None
        if session.admin_key is not None and not self._backend.admin_keys.knows(session.admin_key):
            return None
        return session

    def end_session(self, text: str) -> None:
        """End the session with a text."""
        self._backend.engine.write(lambda write: self._take(write, _SESSION, text))

    def end_all(self) -> int:
        """End every session and withdraw every link; return their number."""
        return self._backend.engine.write(lambda write: self._purge(write, float("inf")))

    def _redeem(self, write: Transaction, code: str) -> str | None:
        link = self._take(write, _LINK, code)
        if link is None or link.expires <= self._backend.clock():
            return None
        opened = msgspec.structs.replace(link, expires=self._backend.clock() + SESSION_LIFETIME)
        return self._open(write, opened)

    def _open(self, write: Transaction, session: Session) -> str:
        text = make_credential(_SESSION)
        self._add(write, _SESSION, text, session)
        return text

    def _add(self, write: Transaction, kind: str, text: str, session: Session) -> None:
        now = self._backend.clock()
        self._purge(write, now)
        row = Setting(key=self._key(kind, text), value=msgspec.json.encode(session).decode())
        insert(write, self._table, row, CreationTimes(now))

    def _take(self, write: Transaction, kind: str, text: str) -> Session | None:
        key = self._key(kind, text)
        row = self._query(write).with_index("by_key", key=key).unique()
        if row is None:
            return None
        write.delete(self._table, row.id)
        return _decode(row)

    def _purge(self, write: Transaction, now: float) -> int:
        """Delete expired rows, and return their number. There are few, so no worker has to."""
        rows = [row for kind in _PURPOSES for row in self._rows(write, kind) if _decode(row).expires <= now]
        for row in rows:
            write.delete(self._table, row.id)
        return len(rows)

    def _rows(self, snapshot: Snapshot, kind: str) -> list[Setting]:
        start = _ROW.format(kind)
        return self._query(snapshot).with_index("by_key", key=between(start, f"{start}~")).collect()

    def _query(self, snapshot: Snapshot) -> Query[Setting]:
        return Query(snapshot, self._table, self._table.indexes["by_creation_time"])

    def _key(self, kind: str, text: str) -> str:
        return _ROW.format(kind) + self._backend.signing.digest(_PURPOSES[kind], text)


def _decode(row: Setting) -> Session:
    return msgspec.json.decode(row.value, type=Session)
