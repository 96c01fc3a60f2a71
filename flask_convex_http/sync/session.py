"""The session of one client of the sync protocol: its versions, its queries, its mutations and its identity.

A session is on the event loop, and never waits there. Queries are in `LiveQueries`, and functions run in threads. What
a client must see in an order is sent in that order: the response to a mutation just before the first transition whose
snapshot has its writes, and a transition for each message that changes the query set or the identity.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.log import logger_of
from flask_convex_http.sync.execution import Finished, SyncIdentity, call_of
from flask_convex_http.sync.messages import (
    Action,
    ActionResponse,
    Add,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    ProtocolViolationError,
    StateVersion,
    decode,
    encode,
    encode_ts,
)
from flask_convex_http.sync.submissions import Call, Outcome, Submission, Update
from flask_convex_http.sync.transitions import transition_frames
from flask_convex_http.sync.websocket import GOING_AWAY, POLICY, SERVICE_RESTART, WebSocket

if TYPE_CHECKING:
    from flask_convex_http.sync.service import SyncService

logger = logger_of("live")


class Reached(msgspec.Struct):
    """The state of a client after a submission.

    Attributes:
        query_set: The version of the query set.
        identity: The version of the identity.
        response: The response to a mutation, without its commit; None for another submission.
        removed: The queries that were removed.
    """

    query_set: int
    identity: int
    response: MutationResponse | None = None
    removed: tuple[int, ...] = ()


class Session:
    """A client of the sync protocol.

    Args:
        service: Runs functions and queries.
        socket: The connection.
        identity: The identity before the client sends one.
        chunks: Whether the client understands transitions in several messages.
    """

    def __init__(self, service: SyncService, socket: WebSocket, identity: SyncIdentity, *, chunks: bool) -> None:
        self._service = service
        self._limits = service.limits
        self._socket = socket
        self._identity = identity
        self._chunks = chunks
        self._session_id: str | None = None
        self._opened = socket.last_received
        self._query_set = self._identity_version = 0  # as the client has asked for
        self._version = StateVersion()  # as the client knows
        self._queries: set[int] = set()
        self._sent: dict[int, Outcome] = {}
        self._unsent: dict[int, Outcome | None] = {}
        self._reached: Reached | None = None
        self._responses: list[MutationResponse] = []
        self._commit = 0
        self._in_flight = 0
        self._mutations: deque[tuple[int, Call, SyncIdentity]] = deque()
        self._mutation_bytes = 0
        self._is_mutating = False
        self._actions = 0
        self._waiting: deque[bytes] | None = None  # messages behind one whose credential is being checked
        self._end_of_identity: float | None = None
        self._credential: Authenticate | None = None
        self._next_check = 0.0

    # --- called by the connection ------------------------------------------------------------------------------------

    def on_message(self, data: bytes) -> None:
        """Handle a message of the client, or keep it until those before it are handled."""
        if self._waiting is not None:
            self._waiting.append(data)
            if len(self._waiting) > self._limits.mutations:
                self._refuse("Too many messages wait for the check of a credential")
            return
        try:
            self._handle(decode(data))
        except ProtocolViolationError as error:
            self._refuse(str(error))

    def on_writable(self) -> None:
        """Send the waiting messages, since the client has read the earlier ones."""
        self._flush()

    def on_close(self) -> None:
        """Release the queries."""
        self._mutations.clear()
        self._service.end(self)

    # --- called about once a second ----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send a sign of life, and close a connection that has none."""
        socket, limits = self._socket, self._limits
        if socket.paused_since is not None and now - socket.paused_since > limits.stall_seconds:
            logger.info("Closed the connection of a client that reads nothing")
            socket.abort()
        elif now - socket.last_received > limits.silence_seconds:
            socket.abort()
        elif self._session_id is None and now - self._opened > limits.connect_seconds:
            socket.close(POLICY, "The first message did not arrive in time")
        elif self._end_of_identity is not None and self._service.now() > self._end_of_identity:
            self._fail_identity("The token has expired", self._identity_version, is_update=False)
        elif self._credential is not None and now > self._next_check:
            self._next_check = now + limits.check_seconds
            self._service.identify(self._credential, self._identity.site, self._on_check)
        elif now - socket.last_sent > limits.ping_seconds and socket.paused_since is None:
            socket.send(encode(Ping()))
            socket.ping()

    def say_goodbye(self) -> None:
        """Close the connection so that the client connects again."""
        self._socket.close(SERVICE_RESTART, "The server restarts")

    # --- called with a round -----------------------------------------------------------------------------------------

    def on_update(self, commit: int, update: Update) -> None:
        """Tell the client about a round."""
        self._commit = commit
        self._in_flight -= len(update.tokens)
        self._update_hold()
        for reached in update.tokens:
            self._reached = reached
            for query_id in reached.removed:
                self._unsent[query_id] = None
            if reached.response is not None:
                self._responses.append(reached.response)
        for query_id, outcome in update.results.items():
            if query_id in self._queries:
                self._unsent[query_id] = outcome
        self._flush()

    # --- messages ----------------------------------------------------------------------------------------------------

    def _handle(self, message: ClientMessage) -> None:
        if isinstance(message, Connect):
            self._connect(message)
        elif self._session_id is None:
            raise ProtocolViolationError("The first message must be Connect")
        elif isinstance(message, ModifyQuerySet):
            self._modify(message)
        elif isinstance(message, Authenticate):
            self._authenticate(message)
        elif isinstance(message, Mutation):
            self._mutate(message)
        elif isinstance(message, Action):
            self._act(message)

    def _connect(self, message: Connect) -> None:
        if self._session_id is not None:
            raise ProtocolViolationError("Connect may be sent once")
        self._session_id = message.session_id

    def _modify(self, message: ModifyQuerySet) -> None:
        if message.base_version != self._query_set or message.new_version != self._query_set + 1:
            raise ProtocolViolationError(
                f"BaseVersionMismatch: Base version {message.base_version} passed up doesn't match the current version "
                f"{self._query_set}"
            )
        added: dict[int, Call] = {}
        removed: list[int] = []
        for change in message.modifications:
            if not isinstance(change, Add):
                removed.append(change.query_id)
                added.pop(change.query_id, None)
                self._queries.discard(change.query_id)
                continue
            if change.query_id in self._queries:
                raise ProtocolViolationError(f"The query {change.query_id} is in the query set already")
            added[change.query_id] = self._call(change, change.journal)
            self._queries.add(change.query_id)
        if len(self._queries) > self._limits.queries:
            raise ProtocolViolationError(f"A client may subscribe to {self._limits.queries} queries")
        self._query_set = message.new_version
        self._submit(added, tuple(removed))

    def _mutate(self, message: Mutation) -> None:
        if len(self._mutations) >= self._limits.mutations:
            raise ProtocolViolationError("Too many mutations wait for their turn")
        call = self._call(message)
        self._mutations.append((message.request_id, call, self._identity))
        self._mutation_bytes += len(call.args)
        self._run_next_mutation()
        self._update_hold()

    def _act(self, message: Action) -> None:
        if self._actions >= self._limits.actions:
            raise ProtocolViolationError("Too many actions run")
        call, identity, request_id = self._call(message), self._identity, message.request_id
        self._actions += 1
        self._service.run_action(call, identity, lambda finished: self._on_action(request_id, finished))

    def _call(self, message: Add | Mutation | Action, journal: str | None = None) -> Call:
        path, component = message.udf_path, message.component_path
        try:
            # there are no components, so this is the name of no function
            return call_of(f"{component}/{path}" if component else path, message.args, journal)
        except (ValueError, RecursionError):
            raise ProtocolViolationError("Invalid arguments") from None

    def _update_hold(self) -> None:
        """Read from the client, unless a credential is being checked or much waits for its turn."""
        limits = self._limits
        is_busy = self._mutation_bytes > limits.waiting_bytes or self._in_flight > limits.in_flight
        self._socket.hold(is_held=is_busy or self._waiting is not None)

    # --- mutations and actions ---------------------------------------------------------------------------------------

    def _run_next_mutation(self) -> None:
        if self._is_mutating or not self._mutations or self._session_id is None:
            return
        self._is_mutating = True
        request_id, call, identity = self._mutations.popleft()
        self._mutation_bytes -= len(call.args)
        self._service.run_mutation(
            self._session_id, request_id, call, identity, lambda finished: self._on_mutation(request_id, finished)
        )

    def _on_mutation(self, request_id: int, finished: Finished) -> None:
        self._is_mutating = False
        if finished.value is None:
            self._socket.send(
                encode(MutationResponse(request_id, False, finished.error_message, [], error_data=_data(finished)))
            )
            self._submit({}, ())  # the client in Python waits for a transition after a failure too
        else:
            self._submit({}, (), MutationResponse(request_id, True, msgspec.Raw(finished.value), []))
        self._run_next_mutation()
        self._update_hold()

    def _on_action(self, request_id: int, finished: Finished) -> None:
        self._actions -= 1
        result = finished.error_message if finished.value is None else msgspec.Raw(finished.value)
        response = ActionResponse(request_id, finished.value is not None, result, [], error_data=_data(finished))
        self._socket.send(encode(response))

    # --- identity ----------------------------------------------------------------------------------------------------

    def _authenticate(self, message: Authenticate) -> None:
        if message.base_version != self._identity_version:
            raise ProtocolViolationError(
                f"BaseVersionMismatch: Base version {message.base_version} passed up doesn't match the current version "
                f"{self._identity_version}"
            )
        self._waiting = deque()
        self._update_hold()
        self._credential = message
        self._next_check = self._socket.last_received + self._limits.check_seconds
        self._service.identify(message, self._identity.site, self._on_identity)

    def _on_check(self, found: SyncIdentity | ProtocolError) -> None:
        """End a connection whose credential was revoked. An issuer that cannot be asked now changes nothing."""
        if isinstance(found, ProtocolError) and found.status < 500 and self._waiting is None:
            self._fail_identity("The credential is not valid any more", self._identity_version, is_update=False)

    def _on_identity(self, found: SyncIdentity | ProtocolError) -> None:
        if isinstance(found, ProtocolError):
            self._fail_identity(found.message, self._identity_version, is_update=True)
            return
        self._identity = found
        self._identity_version += 1
        self._end_of_identity = found.expiry
        self._submit({}, ())
        waiting, self._waiting = self._waiting or deque(), None
        self._update_hold()
        while waiting:
            data = waiting.popleft()
            self.on_message(data)
            if self._waiting is not None:  # another credential
                self._waiting.extend(waiting)
                return

    def _fail_identity(self, error: str, version: int, *, is_update: bool) -> None:
        self._socket.send(encode(AuthError(error, version, is_update)))
        self._socket.close(POLICY, "The credential is not valid")

    # --- transitions -------------------------------------------------------------------------------------------------

    def _submit(
        self, added: dict[int, Call], removed: tuple[int, ...], response: MutationResponse | None = None
    ) -> None:
        token = Reached(self._query_set, self._identity_version, response, removed)
        self._in_flight += 1
        self._update_hold()
        self._service.submit(Submission(self, self._identity, added, removed, token=token))

    def _flush(self) -> None:
        """Send a transition to the last round, unless the client reads too slowly."""
        if self._socket.paused_since is not None or self._socket.is_closing:
            return
        changed = {query_id: outcome for query_id, outcome in self._unsent.items() if self._is_news(query_id, outcome)}
        self._unsent = {}
        reached, self._reached = self._reached, None
        if reached is None and not changed:
            return
        ts = encode_ts(self._commit)
        for response in self._responses:
            response.ts = ts
            self._socket.send(encode(response))
        self._responses = []
        start = self._version
        if reached is None:
            self._version = StateVersion(start.query_set, ts, start.identity)
        else:
            self._version = StateVersion(reached.query_set, ts, reached.identity)
        for frame in transition_frames(start, self._version, changed, chunks=self._chunks):
            self._socket.send(frame)

    def _is_news(self, query_id: int, outcome: Outcome | None) -> bool:
        if outcome is None:  # it was removed, perhaps before the client had a result
            return self._sent.pop(query_id, None) is not None
        known = self._sent.get(query_id)
        self._sent[query_id] = outcome
        return known is None or known.digest != outcome.digest

    def _refuse(self, error: str) -> None:
        """Tell the client that it has violated the protocol, and close the connection."""
        logger.info("A client has violated the sync protocol: %s", error)
        self._socket.send(encode(FatalError(error)))
        self._socket.close(GOING_AWAY, "The protocol was violated")


def _data(finished: Finished) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if finished.error_data is None else msgspec.Raw(finished.error_data)
