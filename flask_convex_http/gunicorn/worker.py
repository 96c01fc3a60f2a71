"""A worker of gunicorn that slow clients cannot stop.

gunicorn's `gthread` gives a thread to each connection that has sent a byte, and waits without a limit for the rest: as
many half-sent requests as there are threads stop a worker. Here five rules hold:

* A connection gets a thread when its request has arrived, or the first 32 KiB of it. Until then it waits in the event
  loop, for `arrival_timeout` seconds.
* A request gets 408 if its thread has waited for `read_timeout` seconds, and fewer than `least_rate` bytes for each of
  these seconds have arrived in them.
* If more than half of the threads wait for bodies that have stalled for `stall_timeout` seconds, those that stalled
  first get 408.
* A connection that the client does not close after its last response is awaited in the event loop. gunicorn would stop
  the event loop for two seconds.
* The connection of a client that takes nothing of its response for `send_timeout` seconds is closed.

It also takes less time for each request than `gthread`: plain heads are parsed at once (`heads`), head and body of a
response leave together (`responses`), and the thread of a request awaits the next one itself (`request_threads`,
`idle`).

A proxy that collects requests before it passes them on is better: it needs no thread for a large body either.
"""

from __future__ import annotations

import errno
import functools
import math
import operator
import select
import selectors
import socket
import time
from datetime import datetime
from typing import Any

from gunicorn.http import RequestParser  # type: ignore[import-untyped]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.util import close_graceful  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from flask_convex_http.gunicorn.arrival import AWAITED, awaited_bytes, has_head
from flask_convex_http.gunicorn.bodies import is_read
from flask_convex_http.gunicorn.environs import Environs
from flask_convex_http.gunicorn.heads import PlainRequest
from flask_convex_http.gunicorn.idle import IdleConnections
from flask_convex_http.gunicorn.kept_settings import keep_settings
from flask_convex_http.gunicorn.request_threads import Threads
from flask_convex_http.gunicorn.sockets import TimedSocket

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
#: Seconds between two looks at the threads that read, and between two log lines about descriptors.
_PERIOD, _COMPLAINT = 0.5, 10.0
#: Seconds between two heartbeats.
_HEARTBEAT = 0.2
#: Seconds for which a client may leave a connection open after its last response (RFC 9112, 9.6).
_LINGER = 2.0


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's `gthread` with limits on the time that a request takes to arrive.

    Attributes:
        arrival_timeout: Seconds for the first 32 KiB of a request, and for a new connection without a request.
        read_timeout: Seconds that a thread waits for bytes until their number is checked.
        least_rate: The smallest number of bytes per second of these.
        stall_timeout: Seconds without a byte after which a body may be cut off to free a thread.
        send_timeout: Whole seconds for which a client may take nothing of its response.
    """

    arrival_timeout = 10.0
    read_timeout = 20.0
    least_rate = 1024
    stall_timeout = 1.0
    send_timeout = 30

    alive: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._arriving: dict[Any, float] = {}  # in the order of their deadlines
        self._reading: set[Any] = set()
        self._lingering: dict[TimedSocket, float] = {}
        self._next_look = self._next_complaint = self._next_notice = 0.0
        self._stops_at = math.inf  # when connections that have sent no request end
        self._idle: IdleConnections | None = None
        self._environs = Environs(self.cfg)

    # --- gunicorn's own methods, called in its event loop ------------------------------------------------------------

    def init_process(self) -> None:
        """Prepare the process, and serve until the worker stops."""
        keep_settings(self.cfg)
        if hasattr(select, "epoll") and not self.cfg.is_ssl:
            self._idle = IdleConnections()
        super().init_process()

    def get_thread_pool(self) -> Any:
        """Return the threads that serve requests."""
        return super().get_thread_pool() if self._idle is None else Threads(self.cfg.threads, self._serve)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once. `run` ends the threads: the event loop may hold their lock when the signal interrupts it."""
        super(ThreadWorker, self).handle_quit(sig, frame)

    def run(self) -> None:
        """Serve until the worker stops."""
        if self._idle is None:
            super().run()
            return
        self.poller.register(self._idle, selectors.EVENT_READ, self._on_idle)
        try:
            super().run()
        finally:  # also of a worker that ends by an error or a signal, which waits for its threads
            self.tpool.shutdown(wait=False)
        self._idle.close()

    def notify(self) -> None:
        """Give the master a heartbeat, but not for each event of a busy worker."""
        now = time.monotonic()
        if now >= self._next_notice:
            self._next_notice = now + _HEARTBEAT
            super().notify()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events. A worker that stops looks often for connections to close."""
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, _HEARTBEAT))

    def accept(self, *arguments: Any) -> None:
        """Accept a connection. Without a free descriptor, close idle connections instead of ending the worker."""
        try:
            super().accept(*arguments)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            if time.monotonic() >= self._next_complaint:
                self._next_complaint = time.monotonic() + _COMPLAINT
                self.log.warning("No file descriptor is left for a connection; raise the limit (ulimit -n)")
            self.murder_keepalived(force=True)
            time.sleep(0.05)  # the connection stays in the queue of the kernel

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread, once its request has arrived."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        if not isinstance(conn.sock, TimedSocket):
            conn.sock = TimedSocket.take_over(conn.sock, self.send_timeout)
            conn.close = functools.partial(self._close, conn)
            conn.init = functools.partial(_init, conn)
        awaited = awaited_bytes(conn)
        if awaited is None:
            self._start(conn)
            return
        conn.sock.setblocking(False)
        conn.sock.report_at(awaited)
        self._arriving[conn] = time.monotonic() + self.arrival_timeout
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self._on_readable, conn))

    def finish_request(self, conn: Any, future: Any) -> None:
        """Take a connection back from its thread."""
        self._reading.discard(conn)
        super().finish_request(conn, future)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections that are due. gunicorn calls this after each event, and at least once a second."""
        is_full = self.nr_conns >= self.worker_connections  # idle connections must not keep others out
        super().murder_keepalived(force=force or is_full)
        now = time.monotonic()
        if now < self._next_look and not is_full and not force and self.alive:
            return
        self._next_look = now + _PERIOD
        self._close_idle(math.inf if force or is_full or now >= self._stops_at else now)
        self._close_lingering(math.inf if force else now + _LINGER / 2 if is_full else now)
        self._close_late(now, now + self.arrival_timeout - 1 if is_full else now)
        if not self.cfg.is_ssl:
            self._cut_slow(now)

    # --- gunicorn's own method, called in a thread after a response ---------------------------------------------------

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Return whether a connection can be used again. gunicorn would respond to an error in an unread body again."""
        try:
            if not keepalive or not is_read(conn.parser.mesg.body):
                return bool(super()._keepalive_after(conn, keepalive))
        except ParseException:
            return False
        conn.parser.mesg = None  # the parser has nothing to skip before the next request
        return True

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Respond to a request, as gunicorn's own method with a response of this package.

        Returns:
            Whether the connection may stay open.
        """
        environ: dict[str, Any] = {}
        resp = None
        try:
            self.cfg.pre_request(self, req)
            began = datetime.now()
            resp, environ = self._environs.create(req, conn)
            environ["wsgi.multithread"] = True
            if self._is_last(req):
                resp.force_close()
            self._respond(req, resp, environ, began)
            return not resp.should_close()
        except OSError:
            raise
        except BaseException as error:
            if resp is None or not resp.headers_sent:
                if isinstance(error, Exception):
                    raise
                # gunicorn lets SystemExit end the worker, and then all of them. As another error it is a 500.
                raise RuntimeError(f"The app raised {type(error).__name__}") from error
            self.log.exception("Error handling request")  # the client would read a 500 as a part of the response
            close_graceful(conn.sock)
            raise StopIteration from None
        finally:
            try:
                self.cfg.post_request(self, req, environ, resp)
            except Exception:
                self.log.exception("Exception in post_request hook")

    def _is_last(self, req: Any) -> bool:
        """Count a request, and return whether its connection is to be closed."""
        self.nr += 1
        if self.nr >= self.max_requests:
            if self.alive:
                self.log.info("Autorestarting worker after current request.")
            self.alive = False
        idle = len(self.keepalived_conns if self._idle is None else self._idle)
        return not self.alive or not self.cfg.keepalive or idle >= self.max_keepalived

    def _respond(self, req: Any, resp: Any, environ: dict[str, Any], began: datetime) -> None:
        parts = self.wsgi(environ, resp.start_response)
        try:
            if isinstance(parts, environ["wsgi.file_wrapper"]):
                resp.write_file(parts)
            else:
                for part in parts:
                    resp.write(part)
            resp.close()
        finally:
            self.log.access(resp, req, environ, datetime.now() - began)
            if hasattr(parts, "close"):
                parts.close()

    # --- a thread ----------------------------------------------------------------------------------------------------

    def _serve(self, conn: Any) -> None:
        """Serve a request, and await the next one of its connection."""
        try:
            is_kept = self.handle(conn)
            self._reading.discard(conn)
            if is_kept:
                self._keep(conn)
                return
        except BaseException:  # such as SystemExit of the app, which would end the thread
            self.log.exception("Error handling request")
        self.method_queue.defer(self._end, conn)

    def _keep(self, conn: Any) -> None:
        if conn.parser.unreader.buf.getvalue():  # the client has sent the next request already
            self.method_queue.defer(self.enqueue_req, conn)
            return
        conn.timeout = time.monotonic() + self.cfg.keepalive
        assert self._idle is not None
        self._idle.add(conn)

    def _end(self, conn: Any) -> None:
        self._reading.discard(conn)
        self.nr_conns -= 1
        try:
            conn.close(graceful=True)
        except OSError:
            self.log.debug("A connection could not be closed")

    def _on_idle(self, idle: IdleConnections) -> None:
        for conn in idle.ready():
            self.enqueue_req(conn)

    def _close_idle(self, now: float) -> None:
        if self._idle is None:
            return
        for conn in self._idle.expired(now):
            self.nr_conns -= 1
            conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Let the connections without a request of a worker that stops end at a time."""
        super()._cap_keepalive(deadline)
        self._stops_at = deadline

    # --- the rules ---------------------------------------------------------------------------------------------------

    def _on_readable(self, conn: Any, client: Any) -> None:
        awaited = awaited_bytes(conn)
        # Fewer bytes than awaited are reported if no more will come. The thread finds the end.
        if awaited is not None and awaited > conn.sock.awaited:
            conn.sock.report_at(awaited)
            return
        self._forget(conn)
        conn.sock.report_at(1)
        self._start(conn)

    def _start(self, conn: Any) -> None:
        conn.sock.start_request()
        conn.data_ready = True
        self._reading.add(conn)
        if self._idle is None:
            super().enqueue_req(conn)
        else:
            self.tpool.put(conn)

    def _forget(self, conn: Any) -> None:
        del self._arriving[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: Any, graceful: bool = False) -> None:
        """Close a connection. After a response, let the client close it first, so that it receives all of it.

        Until then it counts as a connection of the worker.
        """
        del conn.close  # gunicorn's own again, without a cycle of references
        sock: TimedSocket = conn.sock
        if self._idle is not None:
            self._idle.forget(sock)
        if not graceful:
            conn.close()
            return
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
            self._lingering[sock] = time.monotonic() + _LINGER
            self.poller.register(sock, selectors.EVENT_READ, self._on_lingering)
            self.nr_conns += 1
        except OSError:  # the client is gone
            self._lingering.pop(sock, None)
            conn.close()

    def _on_lingering(self, sock: TimedSocket) -> None:
        try:
            data = socket.socket.recv(sock, AWAITED)
        except OSError:
            data = b""
        if not data:
            self._end_lingering(sock)

    def _close_lingering(self, now: float) -> None:
        for sock in [sock for sock, end in self._lingering.items() if end <= now]:
            self._end_lingering(sock)

    def _end_lingering(self, sock: TimedSocket) -> None:
        del self._lingering[sock]
        self.nr_conns -= 1
        self.poller.unregister(sock)
        sock.close()

    def _close_late(self, now: float, latest: float) -> None:
        """Close connections whose request is late. A worker that stops soon awaits only those whose head has arrived.

        Args:
            now: The time.
            latest: The deadline up to which a request is late.
        """
        is_over = now >= self._stops_at
        late = [conn for conn, end in self._arriving.items() if end <= latest or (is_over and not has_head(conn))]
        for conn in late:
            self._forget(conn)
            self.nr_conns -= 1
            conn.close()

    def _cut_slow(self, now: float) -> None:
        late, stalled = [], []
        for sock in [conn.sock for conn in list(self._reading) if not conn.sock.is_cut]:
            stall = sock.stalled_for(now)
            if sock.waited + stall > self.read_timeout:
                if sock.received < self.read_timeout * self.least_rate:
                    late.append(sock)
                sock.received, sock.waited = 0, 0.0
            elif stall > self.stall_timeout:
                stalled.append((stall, sock))
        stalled.sort(key=operator.itemgetter(0), reverse=True)
        late += [sock for _, sock in stalled[: max(0, len(stalled) - self.cfg.threads // 2)]]
        for sock in late:
            sock.cut()
        if late:
            self.log.info("Cut off %d requests whose bodies do not arrive", len(late))


def _init(conn: Any) -> None:
    """Prepare a connection as gunicorn does, with the faster parser where it speaks HTTP/1.1."""
    del conn.init  # gunicorn's own again, without a cycle of references
    conn.init()
    if isinstance(conn.parser, RequestParser):
        conn.parser.mesg_class = PlainRequest
