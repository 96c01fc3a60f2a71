"""`ctx.once`: a call to another service that is made once, with its result in a row.

The row is inserted before the call, so that no other process makes the call concurrently, and holds the result after
it. Each attempt replaces the row of the previous one. An attempt that finds another id there was considered lost.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.durations import seconds_of
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.errors import (
    ArgumentRangeError,
    ArgumentValidationError,
    CallInProgressError,
    ConvexHTTPError,
    FunctionCallError,
    OverloadedError,
    ReturnsValidationError,
    UnavailableError,
)
from flask_convex_http.log import logger_of
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import lte
from flask_convex_http.schema.system_tables import OnceCall
from flask_convex_http.signing import Signing
from flask_convex_http.validation.records import shorten

T = TypeVar("T")

logger = logger_of()

MAX_KEY_LENGTH = 1000
#: Seconds of a hundred years, the longest retention of a result.
_LONGEST = 100 * 365.25 * 86400
#: Milliseconds after which an unfinished call of another process is considered lost.
LOST_AFTER = 60_000.0
#: Seconds between attempts to record the end of a call.
_PAUSES = (0.05, 0.25, 1.0)


@dataclass(frozen=True, slots=True)
class OnceCalls:
    """The calls of `ctx.once`.

    Attributes:
        engine: The database.
        schema: The tables.
        signing: Makes the tokens.
        clock: Returns the time in milliseconds since the epoch.
        sleep: Waits for a number of seconds.
    """

    engine: Engine
    schema: Schema
    signing: Signing
    clock: Callable[[], float]
    sleep: Callable[[float], None] = time.sleep
    _under_way: dict[tuple[int, str], object] = field(default_factory=dict, init=False)

    def run(self, key: str, call: Callable[[str], Any], keep: timedelta | float, owner: str) -> Any:
        """Return the recorded result of a call, or make the call and record its result.

        Args:
            key: The application's key of the call.
            call: Makes the call. It gets a token that depends only on the key and the deployment's secret.
            keep: How long the result is remembered, as a timedelta or seconds.
            owner: The caller. Only one attempt of a job runs at a time, so an unfinished call of the same owner is
                over.

        Raises:
            ArgumentValidationError: The key is not a text of 1 to 1000 characters.
            FunctionCallError: `keep` is not a positive length of time, or this is inside a mutation.
            CallInProgressError: Another process makes the call, or began it less than a minute ago and died.
            ReturnsValidationError: The call was made, now or before, and JSON cannot hold its result.
            OverloadedError: The database is busy. If the call was made, the next attempt makes it again with the same
                token.
            UnavailableError: The database cannot be used. The same holds.
        """
        wanted = _Wanted.of(key, keep, owner, call)
        found = self._recorded(key)
        if found is None:
            with self._alone(key):
                found = self._make(wanted, call)
        if found.error is not None:
            raise ReturnsValidationError(found.error)
        return json.loads(found.result or "null")

    def purge(self, transaction: Transaction, now: float, limit: int) -> int:
        """Delete expired rows, at most `limit`, and return their number."""
        query = Query(transaction, self._table, self._table.indexes["by_creation_time"])
        expired = query.with_index("by_expiry", expires=lte(now)).take(limit)
        for row in expired:
            transaction.delete(self._table, row.id)
        return len(expired)

    @property
    def _table(self) -> Table[OnceCall]:
        return self.schema.table_for(OnceCall)

    def _recorded(self, key: str) -> OnceCall | None:
        """Return the recorded result, or None."""
        row = self.engine.lookup(self._table, {"key": key})
        found = None if row is None else self._table.read(row)
        return found if found and _is_remembered(found, self.clock()) else None

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Exclude other threads of this process, and a nested call with the same key, during the call."""
        place, mine = (os.getpid(), key), object()
        if self._under_way.setdefault(place, mine) is not mine:
            raise _in_progress(key)
        try:
            yield
        finally:
            del self._under_way[place]

    def _make(self, wanted: _Wanted, call: Callable[[str], Any]) -> OnceCall:
        token = self.signing.sign("once", wanted.key)
        claim = self.engine.write(lambda transaction: self._claim(transaction, wanted))
        if isinstance(claim, OnceCall):
            return claim
        try:
            answer = call(token)
        except BaseException:
            self._release(wanted, claim)
            raise
        result, error = _as_json(wanted.key, answer)
        return self._write_patiently(lambda transaction: self._record(transaction, wanted, result, error))

    # --- steps: each a transaction -----------------------------------------------------------------------------------

    def _claim(self, transaction: Transaction, wanted: _Wanted) -> OnceCall | str:
        """Return the result that another process has recorded, or the id of the row that claims the call."""
        now = self.clock()
        found = self._find(transaction, wanted.key)
        if found and _is_remembered(found, now):
            return found
        if found and found.owner != wanted.owner and _may_be_under_way(found, now):
            raise _in_progress(wanted.key)
        return self._put(transaction, found, wanted.started(now))

    def _record(self, transaction: Transaction, wanted: _Wanted, result: str | None, error: str | None) -> OnceCall:
        """Record the end of the call. A call that was considered lost may do so too, and the first result stays."""
        now = self.clock()
        found = self._find(transaction, wanted.key)
        if found and _is_remembered(found, now):
            return found
        row = wanted.done(found.started if found else now, now, result, error)
        self._put(transaction, found, row)
        return row

    def _release(self, wanted: _Wanted, claim: str) -> None:
        """Release the claim of a failed call. A row that another process recorded or claimed has another id."""
        try:
            self._write_patiently(lambda transaction: transaction.delete(self._table, claim))
        except ConvexHTTPError:  # the call's own error is more useful
            logger.exception("once(%r): could not record that the call failed", wanted.key)

    def _write_patiently(self, work: Callable[[Transaction], T]) -> T:
        """Write even if the database is busy for long: without the record, the next attempt repeats the call."""
        for pause in _PAUSES:
            with contextlib.suppress(OverloadedError, UnavailableError):
                return self.engine.write(work)
            self.sleep(pause)
        return self.engine.write(work)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _find(self, transaction: Transaction, key: str) -> OnceCall | None:
        query = Query(transaction, self._table, self._table.indexes["by_creation_time"])
        return query.with_index("by_key", key=key).first()

    def _put(self, transaction: Transaction, old: OnceCall | None, new: OnceCall) -> str:
        """Store a row in place of another, and return its id."""
        if old:
            transaction.delete(self._table, old.id)
        return insert(transaction, self._table, new, CreationTimes(self.clock()))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A checked request; `keep` is in milliseconds."""

    key: str
    keep: float
    owner: str

    @classmethod
    def of(cls, key: str, keep: timedelta | float, owner: str, call: object) -> _Wanted:
        if not callable(call):
            raise FunctionCallError(f"once({key!r}): the call must be a function that takes the token, not {call!r}")
        expected = f"once: the key must be a text of 1 to {MAX_KEY_LENGTH} characters"
        if not isinstance(key, str):
            raise ArgumentValidationError(f"{expected}, not {key!r}")
        if not 1 <= len(key) <= MAX_KEY_LENGTH:
            raise ArgumentRangeError(f"{expected}, not {len(key)} characters")
        if any("\ud800" <= character <= "\udfff" for character in key):
            raise ArgumentRangeError("once: the key must be a text without lone surrogates")
        seconds = seconds_of(keep)
        if not 0 < seconds < math.inf:
            raise FunctionCallError(f"once({key!r}, keep={keep!r}): it must be a timedelta or seconds, more than 0")
        return cls(key, min(seconds, _LONGEST) * 1000.0, owner)

    def started(self, now: float) -> OnceCall:
        expires = now + max(self.keep, LOST_AFTER)
        return OnceCall(key=self.key, state="started", owner=self.owner, started=now, expires=expires)

    def done(self, started: float, now: float, result: str | None, error: str | None) -> OnceCall:
        expires = now + self.keep
        return OnceCall(
            key=self.key, state="done", owner=self.owner, started=started, expires=expires, result=result, error=error
        )


def _is_remembered(row: OnceCall, now: float) -> bool:
    return row.state == "done" and now < row.expires


def _may_be_under_way(row: OnceCall, now: float) -> bool:
    """Return whether a call may still be running. A start in the future only shows that the clock was set back."""
    return row.state == "started" and abs(now - row.started) < LOST_AFTER


def _in_progress(key: str) -> CallInProgressError:
    logger.info("once(%r): the call is being made at this moment", key)  # clients must not see the key
    return CallInProgressError("The same call is being made at this moment; try again later")


def _as_json(key: str, answer: Any) -> tuple[str | None, str | None]:
    """Return the result as JSON, or the reason that there is none. The call was made, so every error is caught."""
    try:
        text = json.dumps(answer, allow_nan=False, separators=(",", ":"))
        json.loads(text)
    except Exception as error:
        return None, (
            f"once({key!r}): the call was made and will not be made again, but JSON cannot hold its result "
            f"({shorten(repr(error))}); let it answer text, numbers, lists and dicts"
        )
    return text, None
