"""The live queries of an app: the event loop, the thread that runs queries, and the threads that run functions.

Nothing of it exists before the first connection of a process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Snapshot
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.function_api.identity import ANONYMOUS, Client
from flask_convex_http.log import logger_of
from flask_convex_http.sync.event_loop import EventLoop
from flask_convex_http.sync.execution import Execution, Finished, SyncIdentity
from flask_convex_http.sync.limits import SyncLimits
from flask_convex_http.sync.live_queries import LiveQueries, RunQuery
from flask_convex_http.sync.messages import Authenticate
from flask_convex_http.sync.positions import ChangeReader
from flask_convex_http.sync.submissions import Call, Ran, Round, Submission

if TYPE_CHECKING:
    from flask_convex_http.sync.change_follower import ChangeFollower
    from flask_convex_http.sync.session import Session
    from flask_convex_http.sync.websocket import WebSocket

T = TypeVar("T")
#: The app's `SyncService`, in its extensions.
SERVICE = "convex_http_sync"
logger = logger_of("live")

#: Threads for mutations and credentials, and for actions, which may wait for other services.
_MUTATION_THREADS, _ACTION_THREADS = 8, 32

#: Returns the caller of an `Authenticate` message. Raises `ProtocolError`.
Identify = Callable[[Authenticate], Client]


class SyncService:
    """The sync protocol of an app.

    Args:
        backend: The deployment.
        context: Returns the context that functions run in, such as Flask's application context.
        limits: What clients may hold.

    Attributes:
        limits: What clients may hold.
        runners: What runs queries, by the type of the call.
        loop: The event loop.
        queries: The live queries of the process; None before its first connection.
    """

    def __init__(
        self, backend: Backend, context: Callable[[], AbstractContextManager[Any]], limits: SyncLimits
    ) -> None:
        self.limits = limits
        self.queries: LiveQueries | None = None
        self.runners: dict[type, RunQuery] = {}
        self._backend = backend
        self._context = context
        self._follower: ChangeFollower | None = None
        self._execution: Execution
        self._identify: Identify
        self.loop = EventLoop(
            most=limits.connections,
            most_of_one=limits.connections_of_one,
            on_start=self._start,
            on_stop=self._stop,
        )
        backend.before_close.append(self.loop.stop)

    def serve_clients(self, execution: Execution, identify: Identify) -> None:
        """Serve clients of the sync protocol.

        Args:
            execution: Runs their functions.
            identify: Checks their credentials.
        """
        self._execution = execution
        self._identify = identify
        self.runners[Call] = execution.run_query

    # --- connections -------------------------------------------------------------------------------------------------

    def adopt(self, sock: socket.socket, head: bytes, address: str, site: str, *, chunks: bool) -> None:
        """Serve a WebSocket, whose place is reserved.

        Args:
            sock: The connection.
            head: The request of its handshake.
            address: The address of the client.
            site: The beginning of absolute URLs.
            chunks: Whether the client understands transitions in several messages.
        """
        from flask_convex_http.sync.session import Session
        from flask_convex_http.sync.websocket import WebSocket

        def open_session(websocket: WebSocket) -> Session:
            session = Session(self, websocket, SyncIdentity.of(ANONYMOUS, site), chunks=chunks)
            self.loop.add(session)
            return session

        def make() -> WebSocket:
            return WebSocket(
                head,
                max_size=self.limits.message_bytes,
                on_open=open_session,
                on_gone=lambda _: self.loop.release(address),
            )

        self.loop.adopt(sock, make)

    def end(self, session: Session) -> None:
        """Release the queries of a session. Called on the loop."""
        self.loop.discard(session)
        self.submit(Submission(session, is_end=True))

    def submit(self, submission: Submission) -> None:
        """Pass a submission on to the thread that runs queries."""
        assert self.queries is not None
        self.queries.submit(submission)

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._backend.clock() / 1000

    def follower(self) -> ChangeFollower:
        """Return what reads commits for the clients of the process. Called on the loop."""
        if self._follower is None:
            from flask_convex_http.sync.change_follower import ChangeFollower

            backend = self._backend
            self._follower = ChangeFollower(backend.engine, backend.history.feed, self.loop.call)
            self._follower.start()
        return self._follower

    # --- functions ---------------------------------------------------------------------------------------------------

    def run_mutation(
        self, session_id: str, request_id: int, call: Call, identity: SyncIdentity, done: Callable[[Finished], None]
    ) -> None:
        """Run a mutation in a thread, and call a function on the loop when it has ended."""
        execution = self._execution
        self._in_thread(
            self._mutations, lambda: execution.run_mutation(session_id, request_id, call, identity), done, _FAILED
        )

    def run_action(self, call: Call, identity: SyncIdentity, done: Callable[[Finished], None]) -> None:
        """Run an action in a thread, and call a function on the loop when it has ended."""
        self._in_thread(self._actions, lambda: self._execution.run_action(call, identity), done, _FAILED)

    def identify(self, message: Authenticate, site: str, done: Callable[[SyncIdentity | ProtocolError], None]) -> None:
        """Check a credential in a thread, and call a function on the loop with the identity or the error."""

        def check() -> SyncIdentity | ProtocolError:
            try:
                with self._context():
                    return SyncIdentity.of(self._identify(message), site)
            except ProtocolError as error:
                return error
            except ConvexHTTPError as error:
                return ProtocolError(503, "AuthProviderDiscoveryFailed", error.client_message or "Try again later")

        failed: SyncIdentity | ProtocolError = ProtocolError(500, "InternalServerError", "Try again later")
        self._in_thread(self._mutations, check, done, failed)

    def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[[], T], done: Callable[[T], None], failed: T) -> None:
        def finish(future: Future[T]) -> None:
            error = future.exception()
            if error is not None:
                logger.error("A function could not be run for a client", exc_info=error)
            result = failed if error is not None else future.result()
            self.loop.call(lambda: done(result))

        try:
            pool.submit(work).add_done_callback(finish)
        except RuntimeError:  # the process ends: the client sends it again elsewhere
            return

    # --- start and stop ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._follower = None  # one that a fork has left behind has no thread
        self._mutations = ThreadPoolExecutor(_MUTATION_THREADS, "convex-live-mutation")
        self._actions = ThreadPoolExecutor(_ACTION_THREADS, "convex-live-action")
        self.queries = LiveQueries(self._backend.engine, self._changes(), self._run_query, self._context, self._deliver)
        self.queries.start()
        logger.info("Live queries start in process %d", os.getpid())

    def _changes(self) -> ChangeReader | None:
        backend = self._backend
        if backend.settings.history_retention is None:
            return None
        from flask_convex_http.sync.changes import Changes

        return Changes(backend.engine, backend.schema)

    def _run_query(self, snapshot: Snapshot, call: Any, identity: Any, journal: str | None) -> Ran:
        return self.runners[type(call)](snapshot, call, identity, journal)

    def _stop(self) -> None:
        assert self.queries is not None
        self.queries.stop()
        if self._follower is not None:
            self._follower.stop()
        self._mutations.shutdown(wait=False)
        self._actions.shutdown(wait=False)

    def _deliver(self, ended: Round) -> None:
        """Pass a round to the sessions, on the loop."""

        def deliver() -> None:
            for session, update in ended.updates.items():
                session.on_update(ended.commit, update)

        self.loop.call(deliver)


_FAILED = Finished(error_message="Server Error")


def service_of(app: Any, backend: Backend) -> SyncService:
    """Return the service of an app, which is made at the first call.

    Args:
        app: The Flask app.
        backend: Its backend.
    """
    known: SyncService | None = app.extensions.get(SERVICE)
    if known is not None:
        return known
    settings = backend.settings
    limits = SyncLimits(settings.live_connections, settings.live_connections_per_address)
    return cast("SyncService", app.extensions.setdefault(SERVICE, SyncService(backend, app.app_context, limits)))
