"""An asyncio loop on a thread of a serving process, which holds the connections that WSGI servers hand over.

It starts with the first connection of a process, never in a process that is forked later. When the process ends, the
close code makes the clients connect again, at another worker or after the restart.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from flask_convex_http.log import logger_of

logger = logger_of("live")

#: Seconds between two looks at the connections.
_TICK = 1.0
#: Seconds that clients have to close their connections when the process ends.
_FAREWELL = 2.0


class Connection(Protocol):
    """A connection on the loop."""

    def tick(self, now: float) -> None:
        """Send pings and close late connections, about once a second."""

    def say_goodbye(self) -> None:
        """Close the connection so that the client connects again."""


#: Makes the protocol of a connection, on the loop.
Factory = Callable[[], asyncio.Protocol]


class EventLoop:
    """The loop of a process, with the places of its connections.

    Args:
        most: The largest number of connections.
        most_of_one: The largest number of connections from one address.
        on_start: Called in the thread that starts the loop, before the first connection.
        on_stop: Called when the process ends, after the connections were closed.
    """

    def __init__(
        self, *, most: int, most_of_one: int, on_start: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._on_start = on_start
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._places: Counter[str] = Counter()
        self._connections: set[Connection] = set()
        self._pid: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def connections(self) -> int:
        """The number of connections."""
        return self._places.total()

    def reserve(self, address: str) -> bool:
        """Reserve the place of a connection, and return whether there was one.

        Args:
            address: The address of the client.
        """
        with self._lock:
            self._begin()
            if self._places[address] >= self._most_of_one or self._places.total() >= self._most:
                return False
            self._places[address] += 1
            return True

    def release(self, address: str) -> None:
        """Release the place of a connection."""
        with self._lock:
            self._places[address] -= 1
            if self._places[address] <= 0:
                del self._places[address]

    def adopt(self, sock: socket.socket, factory: Factory) -> None:
        """Let the loop serve a connection. Thread-safe."""
        loop = self._loop
        assert loop is not None

        def serve() -> None:
            task = loop.create_task(self._serve(sock, factory))
            _running.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(_running.discard)

        loop.call_soon_threadsafe(serve)

    def call(self, callback: Callable[[], object]) -> None:
        """Call a function on the loop. Thread-safe. Nothing happens when the loop has ended."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(callback)

    def add(self, connection: Connection) -> None:
        """Look after a connection from now on. Called on the loop."""
        self._connections.add(connection)

    def discard(self, connection: Connection) -> None:
        """Look after a connection no more. Called on the loop."""
        self._connections.discard(connection)

    def stop(self) -> None:
        """Close the connections and end the loop. Do nothing in a process that has none."""
        with self._lock:
            loop, thread, self._thread = self._loop, self._thread, None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        atexit.unregister(self.stop)
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._say_goodbye(), loop).result(_FAREWELL * 2)
        self._on_stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_FAREWELL)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start the loop, unless this process has one."""
        if self._pid == os.getpid() and self._thread is not None:
            return
        self._pid = os.getpid()
        self._places.clear()
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="convex-live", daemon=True)
        self._on_start()
        self._thread.start()
        atexit.register(self.stop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.call_later(_TICK, self._tick)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _tick(self) -> None:
        assert self._loop is not None
        self._loop.call_later(_TICK, self._tick)
        now = self._loop.time()
        for connection in list(self._connections):
            try:
                connection.tick(now)
            except Exception:
                logger.exception("A connection could not be looked after")

    async def _serve(self, sock: socket.socket, factory: Factory) -> None:
        assert self._loop is not None
        protocol = factory()
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, sock)
        except Exception as error:  # the client is gone, or no descriptor is left
            sock.close()
            protocol.connection_lost(error)

    async def _say_goodbye(self) -> None:
        for connection in list(self._connections):
            connection.say_goodbye()
        end = asyncio.get_running_loop().time() + _FAREWELL
        while self._connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)


_running: set[asyncio.Task[None]] = set()
