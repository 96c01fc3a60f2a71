"""Runs the functions of clients of the sync protocol, and checks their credentials.

Queries run in a snapshot that others share. A mutation runs once for each session and request, since a client sends it
again when it has lost the connection before the response.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Snapshot
from flask_convex_http.errors import KeyInUseError
from flask_convex_http.function_api.calls import Call as FunctionCall
from flask_convex_http.function_api.calls import Calls, Error
from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.function_api.identity import Client
from flask_convex_http.functions.function import Kind
from flask_convex_http.idempotency.keyed_request import KeyedRequest, RequestContent, keyed_request
from flask_convex_http.identities import UserIdentity
from flask_convex_http.nesting import MAX_NESTING, exceeds
from flask_convex_http.runtime import Auth, Caller, MutationCtx, fresh_arguments
from flask_convex_http.schema.system_tables import StoredResponse
from flask_convex_http.storage.files import Site
from flask_convex_http.sync.read_sets import RecordingSnapshot
from flask_convex_http.sync.submissions import Call, Outcome, Ran

#: How long the response of a mutation is kept, in milliseconds: clients send it again within seconds.
_KEEP = 24 * 3600 * 1000.0
#: Seconds to wait for the first run of a mutation that a client sends again while it runs.
_BUSY_SECONDS, _BUSY_PAUSE = 60.0, 0.05

_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class SyncIdentity(msgspec.Struct, frozen=True):
    """The identity of a connection.

    Attributes:
        client: The caller.
        site: The beginning of absolute URLs.
        key: A value that is the same for the same identity.
    """

    client: Client
    site: str
    key: Hashable

    @classmethod
    def of(cls, client: Client, site: str) -> SyncIdentity:
        """Return the identity of a caller."""
        return cls(client, site, (site, client.is_admin, _canonical(client.identity)))

    @property
    def may_share(self) -> bool:
        """Whether results that do not depend on the identity are the same for all clients."""
        return not self.client.is_admin

    @property
    def expiry(self) -> float | None:
        """The time at which its token expires, in seconds since the epoch; None without a token that does."""
        claims = {} if self.client.identity is None else self.client.identity.claims
        expiry = claims.get("exp")
        return float(expiry) if isinstance(expiry, int | float) and not isinstance(expiry, bool) else None


class Finished(msgspec.Struct):
    """A mutation or an action that has ended.

    Attributes:
        value: Its result as JSON; None if it has failed.
        error_message: The error for the client.
        error_data: The data of an application's error, as JSON.
    """

    value: bytes | None = None
    error_message: str = ""
    error_data: bytes | None = None


class WatchedAuth(Auth):
    """The identity of a caller, which notes that a function has asked for it."""

    __slots__ = ("was_asked",)

    def __init__(self, identity: UserIdentity | None) -> None:
        super().__init__(identity)
        self.was_asked = False

    def get_user_identity(self) -> UserIdentity | None:
        """See `Auth`."""
        self.was_asked = True
        return self._identity

    @property
    def checked(self) -> UserIdentity | None:
        """See `Auth`."""
        self.was_asked = True
        return self._identity


class Execution:
    """Runs functions for clients.

    Args:
        backend: The deployment.
        calls: Finds functions, and reads and writes their values.
        context: Returns the context that functions run in, such as Flask's application context.
    """

    def __init__(self, backend: Backend, calls: Calls, context: Callable[[], AbstractContextManager[Any]]) -> None:
        self._backend = backend
        self._runtime = backend.runtime
        self._calls = calls
        self.context = context

    def run_query(self, snapshot: Snapshot, call: Call, identity: SyncIdentity, journal: str | None) -> Ran:
        """Run a query in a snapshot.

        Args:
            snapshot: The snapshot.
            call: The query.
            identity: The identity.
            journal: The journal of its last run, or None.

        Raises:
            ProtocolError: The database could not be read.
        """
        recording = RecordingSnapshot(snapshot, journal)
        auth = WatchedAuth(identity.client.identity)

        def site() -> str:
            auth.was_asked = True  # its URLs differ by the origin of the client
            return identity.site

        parsed, request_id = _parsed(call.path, call.args, "query"), secrets.token_hex(8)
        try:
            endpoint, arguments = self._calls.resolve(parsed, identity.client)
            caller = self._runtime.caller(auth, site, request_id).deeper()
            now = self._runtime.clock()
            value = self._runtime.query_in(recording, now, endpoint.function, arguments, caller, is_live=True)
            encoded = _encode(self._calls.encoded(endpoint, value, "encoded"))
            outcome = Outcome(value=encoded, journal=recording.page_pin.journal, digest=encoded)
        except Exception as error:
            outcome = self._failed_query(parsed, error, request_id, journal)
        return Ran(outcome, recording.read_set(), auth.was_asked)

    def run_mutation(self, session: str, request: int, call: Call, identity: SyncIdentity) -> Finished:
        """Run a mutation, or return the result that it has had.

        Args:
            session: The id of the client's session.
            request: The client's id of the request.
            call: The mutation.
            identity: The identity.
        """
        parsed, request_id = _parsed(call.path, call.args, "mutation"), secrets.token_hex(8)
        with self.context():
            try:
                endpoint, arguments = self._calls.resolve(parsed, identity.client)
                fresh = fresh_arguments(arguments)
                caller = self._caller(identity, request_id)
                function = endpoint.function

                def handle(ctx: MutationCtx) -> StoredResponse:
                    value = self._runtime.call(function, ctx, next(fresh), caller)
                    return StoredResponse(200, (), _encode(self._calls.encoded(endpoint, value, "encoded")))

                keyed = self._keyed(session, request, call, identity, request_id)
                return Finished(self._once(keyed, caller, handle, function.name).body)
            except Exception as error:
                return self._failed(parsed, error, request_id)

    def run_action(self, call: Call, identity: SyncIdentity) -> Finished:
        """Run an action."""
        parsed, request_id = _parsed(call.path, call.args, "action"), secrets.token_hex(8)
        with self.context():
            try:
                endpoint, arguments = self._calls.resolve(parsed, identity.client)
                caller = self._caller(identity, request_id)
                value = self._runtime.call(endpoint.function, self._runtime.action_ctx(caller), arguments, caller)
                return Finished(_encode(self._calls.encoded(endpoint, value, "encoded")))
            except Exception as error:
                return self._failed(parsed, error, request_id)

    # --- mutations ---------------------------------------------------------------------------------------------------

    def _once(
        self, keyed: KeyedRequest, caller: Caller, handle: Callable[[MutationCtx], StoredResponse], name: str
    ) -> StoredResponse:
        """Run a mutation unless it has run. If it runs at the moment, for an earlier connection, wait for its end."""
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                response, _ = self._backend.idempotency.run(keyed, caller, handle, name)
                return response
            except KeyInUseError:
                if time.monotonic() > end:
                    raise
                time.sleep(_BUSY_PAUSE)

    def _keyed(self, session: str, request: int, call: Call, identity: SyncIdentity, request_id: str) -> KeyedRequest:
        user = identity.client.identity
        name = "admin" if identity.client.is_admin else None
        return keyed_request(
            self._backend.signing,
            f"{session}:{request}",
            name if user is None else user.token_identifier,
            RequestContent("SYNC", call.path, "", call.args, is_json=True),
            request_id,
            _KEEP,
        )

    def _caller(self, identity: SyncIdentity, request_id: str) -> Caller:
        site: Site = lambda: identity.site  # noqa: E731
        return self._runtime.caller(Auth(identity.client.identity), site, request_id).deeper()

    # --- errors ------------------------------------------------------------------------------------------------------

    def _failed_query(self, call: FunctionCall, error: Exception, request_id: str, journal: str | None) -> Outcome:
        failed = self._error(call, error, request_id, is_query=True)
        data = None if failed.error_data is msgspec.UNSET else _encode(failed.error_data)
        message = failed.error_message
        return Outcome(None, message, data, journal=journal, digest=(message.replace(request_id, ""), data))

    def _failed(self, call: FunctionCall, error: Exception, request_id: str) -> Finished:
        failed = self._error(call, error, request_id, is_query=False)
        data = None if failed.error_data is msgspec.UNSET else _encode(failed.error_data)
        return Finished(None, failed.error_message, data)

    def _error(self, call: FunctionCall, error: Exception, request_id: str, *, is_query: bool) -> Error:
        """Return the response to an error.

        Raises:
            ProtocolError: It is a query, and the database could not be read.
        """
        try:
            return self._calls.error(call, error, request_id)
        except ProtocolError as refused:
            if is_query and refused.status >= 500:
                raise
            return Error(f"[Request ID: {request_id}] Server Error\n{refused.message}")


def call_of(path: str, args: list[msgspec.Raw], journal: str | None = None) -> Call:
    """Return the call of a message. Calls with the same arguments are equal.

    Raises:
        ValueError: The arguments are no JSON.
        RecursionError: They are nested too deeply.
    """
    values = [msgspec.json.decode(part) for part in args]
    if exceeds(values, MAX_NESTING + 1):
        raise RecursionError
    return Call(path, _canonical(values), journal)


def _parsed(path: str, args: bytes, kind: Kind) -> FunctionCall:
    return FunctionCall(path, msgspec.json.decode(args), kind, "encoded")
