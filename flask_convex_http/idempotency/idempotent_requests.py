"""Run a request with an idempotency key: its effects happen once, for any number of retries.

The effects of a request, its scheduled jobs, its key and its response are one commit. A retry finds the key, gets the
stored response and runs nothing. A handler that raises, or whose response asks the client to try again, leaves neither
effects nor a key, so that a retry runs it.

While a request runs, another one with its key is 409. Threads of a process see that in a dict. Processes see it in the
locks of the engine, which are best effort. The unique index of the keys decides in the end: of two requests that both
run, one commits. The other is rolled back, and then finds the key.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from flask_convex_http.engines import KeyLocks
from flask_convex_http.errors import (
    ConvexHTTPError,
    KeyInUseError,
    RequestError,
    is_engine_failure,
)
from flask_convex_http.idempotency.keyed_request import HEADER, KeyedRequest
from flask_convex_http.idempotency.stored_keys import ALL, StoredKeys, expired_by, with_key
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import Caller, MutationCalls, MutationCtx, Runtime
from flask_convex_http.schema.system_tables import IdempotencyKey, StoredResponse

logger = logger_of()

#: Statuses below 500 that ask the client to send the request again.
_TRY_AGAIN = (408, 425, 429)

#: Rows that one transaction of a command deletes, and that it finds at a time.
_BATCH, _FOUND = 50, 10_000

Handle = Callable[[MutationCtx], StoredResponse]
#: The process of a request that runs, and the id of its row.
_Place = tuple[int, str]


class NotStoredError(Exception):
    """A handler returned a response that asks the client to try again: roll back its effects and send it.

    Args:
        response: The response.
    """

    def __init__(self, response: StoredResponse) -> None:
        super().__init__(f"The handler has returned {response.status}")
        self.response = response


@dataclass(slots=True)
class IdempotentRequests:
    """The idempotent requests of an application.

    Attributes:
        runtime: Runs the handlers.
        keys: The rows of the keys.
    """

    runtime: Runtime
    keys: StoredKeys = field(init=False)
    _locks: KeyLocks | None = field(init=False)
    _running: dict[_Place, KeyedRequest] = field(default_factory=dict, init=False)
    #: The running requests whose keys are not looked up yet. Those of a group commit are looked up together.
    #: A dict, since the first ones to run are the first ones to be written.
    _unknown: dict[_Place, None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.keys = StoredKeys(self.runtime.schema)
        self._locks = self.runtime.engine.key_locks

    def run(self, request: KeyedRequest, caller: Caller, handle: Handle, name: str) -> tuple[StoredResponse, bool]:
        """Return the stored response to a request, or run its handler and store the response.

        Args:
            request: The request.
            caller: The caller that the handler runs for.
            handle: Runs the handler. The engine may call it again from the start.
            name: The handler, for log lines.

        Returns:
            The response, and whether it was stored before.

        Raises:
            RequestError: The key belongs to another request (422).
            KeyInUseError: A request with the key runs at this moment.
            Exception: Any exception of the handler. Its effects are rolled back, and the key is unused.
        """
        # Where processes lock keys, transactions run one after another. A look in the transaction then conflicts with
        # nothing, and takes a third of the time of a look before it.
        known = self._lookup(request) if self._locks is None else None
        if known is not None and not self._has_expired(known):
            return _repeat(known, request), True
        try:
            place = self._acquire(request)
        except KeyInUseError:
            return self._repeat_stored(request), True
        try:
            return self._run(request, place, caller, handle, name, was_known=known is not None)
        finally:
            self._release(request, place)

    def run_once(self, caller: Caller, handle: Callable[[MutationCtx], int], name: str) -> None:
        """Run a handler for a request without a key, and store no response.

        Args:
            caller: The caller that the handler runs for.
            handle: Runs the handler, and returns the status of its response. The engine may call it again.
            name: The handler, for log lines.

        Raises:
            Exception: Any exception of the handler. Its effects are rolled back.
        """

        def work(calls: MutationCalls) -> None:
            status = handle(calls.ctx())
            if _asks_to_retry(status):
                raise NotStoredError(StoredResponse(status))

        with contextlib.suppress(NotStoredError):
            self.runtime.write(work, caller, name=name)

    def list_keys(self, key: str | None, limit: int) -> list[IdempotencyKey]:
        """Return keys, newest first.

        Args:
            key: Only this key, of any caller; None for all.
            limit: The maximum number to return.
        """
        return [] if _is_impossible(key) else self.keys.newest(self.runtime.engine, key, limit)

    def delete_keys(self, *, key: str | None, is_all: bool) -> int:
        """Delete keys, in several transactions, and return their number.

        Args:
            key: Delete this key of every caller.
            is_all: Delete all keys. Without it and without a key only expired ones are deleted.
        """
        if _is_impossible(key):
            return 0
        engine, now, count = self.runtime.engine, self.runtime.clock(), 0
        which = with_key(key) if key is not None else ALL if is_all else expired_by(now)
        until = now if key is None and not is_all else math.inf
        while found := self.keys.ids(engine, which, _FOUND):
            for start in range(0, len(found), _BATCH):
                delete = partial(self.keys.delete, ids=found[start : start + _BATCH], now=until)
                count += engine.write(delete)
        return count

    def _run(
        self, request: KeyedRequest, place: _Place, caller: Caller, handle: Handle, name: str, *, was_known: bool
    ) -> tuple[StoredResponse, bool]:
        def work(calls: MutationCalls) -> StoredResponse | IdempotencyKey:
            transaction = calls.transaction
            if self._locks is None and not transaction.try_lock(request.number):
                raise _in_use()
            if was_known:
                known = self.keys.find(transaction, request)
            else:
                self._unknown.pop(place, None)
                known = self.keys.find_again(transaction, request, self._others)
            if known is not None and not self._has_expired(known):
                return known
            response = handle(calls.ctx())
            if _asks_to_retry(response.status):
                raise NotStoredError(response)
            if known is not None:
                self.keys.delete(transaction, [known.id])
            self.keys.add(transaction, self.runtime.times, calls.now, request, response)
            return response

        try:
            result = self.runtime.write(work, caller, name=name)
        except NotStoredError as error:
            return error.response, False
        except Exception as error:
            known = self._known_after(error, request)
            if known is None or self._has_expired(known):
                raise
            result = known
        if isinstance(result, StoredResponse):
            return result, False
        return _repeat(result, request), True

    def _others(self) -> list[str]:
        """Return the ids of the keys of this process that are not looked up yet."""
        this = os.getpid()
        return [row_id for process, row_id in self._unknown.copy() if process == this]

    def _lookup(self, request: KeyedRequest) -> IdempotencyKey | None:
        return self.keys.lookup(self.runtime.engine, request)

    def _known_after(self, error: Exception, request: KeyedRequest) -> IdempotencyKey | None:
        """Return the row of a key whose transaction failed, if it has one.

        A duplicate was faster, and this one met its effects or its row. Or the response was stored long ago, and the
        database takes no writes now.
        """
        if isinstance(error, KeyInUseError):
            return None
        if not is_engine_failure(error):
            return self._lookup(request)
        if self._locks is None:  # it was looked up before the transaction
            return None
        try:
            return self._lookup(request)
        except ConvexHTTPError:  # the database takes no reads either
            return None

    def _repeat_stored(self, request: KeyedRequest) -> StoredResponse:
        """Return the stored response to a request whose key another one holds, perhaps to be repeated too.

        Raises:
            KeyInUseError: None is stored, so the other one runs.
            RequestError: The key belongs to another request.
        """
        known = self._lookup(request)
        if known is None or self._has_expired(known):
            raise _in_use()
        return _repeat(known, request)

    def _acquire(self, request: KeyedRequest) -> _Place:
        """Exclude other requests with the key until `_release`, which takes the returned place.

        Raises:
            KeyInUseError: Another one runs.
        """
        place = (os.getpid(), request.row_id)
        if self._running.setdefault(place, request) is not request:
            raise _in_use()
        if self._locks is not None and not self._locks.acquire(request.number):
            del self._running[place]
            raise _in_use()
        self._unknown[place] = None
        return place

    def _release(self, request: KeyedRequest, place: _Place) -> None:
        if self._locks is not None:
            self._locks.release(request.number)
        self._unknown.pop(place, None)
        del self._running[place]

    def _has_expired(self, known: IdempotencyKey) -> bool:
        return known.expires <= self.runtime.clock()


def _asks_to_retry(status: int) -> bool:
    return status >= 500 or status in _TRY_AGAIN


def _repeat(known: IdempotencyKey, request: KeyedRequest) -> StoredResponse:
    """Return the stored response.

    Raises:
        RequestError: The key belongs to another request.
    """
    # Two keys have one id once in 2**64 pairs.
    if known.fingerprint != request.fingerprint or (known.key, known.identity) != (request.key, request.identity):
        logger.info("A key of %s %s was sent with another request [request %s]", *_names(known), request.request_id)
        raise RequestError(f"This {HEADER} was used for another request; send a new key", 422)
    logger.info(
        "A retry of %s %s got the stored response %d of request %s [request %s]",
        *_names(known),
        known.status,
        known.request_id,
        request.request_id,
    )
    return StoredResponse(known.status, known.headers, known.body)


def _is_impossible(key: str | None) -> bool:
    """Return whether no request has a key. A database may not even take it as a value to compare with."""
    return key is not None and not (key.isascii() and key.isprintable())


def _names(known: IdempotencyKey) -> tuple[str, str]:
    return known.method, repr(known.path)


def _in_use() -> ConvexHTTPError:
    return KeyInUseError(f"A request with this {HEADER} is being processed; try again later")
