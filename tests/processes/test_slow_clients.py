"""Slow clients of gunicorn with the settings of the package, and with no proxy in front of it."""

import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lengths import LONG
from tests.processes.servers import Server
from tests.processes.slow_clients import (
    BODIES,
    CHUNKED,
    CHUNKS,
    EXPECTING,
    GET,
    HEAD,
    LARGE,
    PARTS,
    answer,
    clients,
    seconds_for_health,
    serving,
)
from tests.timing import is_below


def statuses(client: socket.socket, number: int) -> list[bytes]:
    """Return the statuses of this many responses, whose bodies are JSON."""
    data = b""
    while data.count(b"}") < number:
        data += client.recv(1000)
    return re.findall(rb"HTTP/1.1 (\d+)", data)


@pytest.fixture(name="impatient", scope="module")
def _impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with short times."""
    with serving(tmp_path_factory.mktemp("impatient")) as server:
        yield server


@LONG
def test_slow_clients_do_not_stop_a_worker(impatient: Server) -> None:
    """Requests that have not arrived hold no thread, stalled bodies hold half of them, and both end in time."""
    with clients(impatient, *PARTS * 8) as parts:
        assert is_below(0.5, lambda: seconds_for_health(impatient))
        parts[1].sendall(b"lth HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer(parts[1]).startswith(b"HTTP/1.1 200")
        assert all(answer(client) == b"" for client in parts[2:])
    with clients(impatient, *[EXPECTING] * 20) as expecting:
        assert is_below(0.5, lambda: seconds_for_health(impatient))
        assert {answer(client)[:12] for client in expecting} == {b"HTTP/1.1 100"}
        assert all(answer(client) == b"" for client in expecting)
    with clients(impatient, *[CHUNKED, LARGE] * 3) as bodies:
        assert seconds_for_health(impatient) < 5
        assert all(answer(client).startswith(b"HTTP/1.1 408") for client in bodies)
    assert is_below(0.5, lambda: seconds_for_health(impatient))


def test_requests_in_several_packets_are_served(impatient: Server) -> None:
    """A request may arrive byte by byte, one after another on its connection, and with a body on demand."""
    body = b'{"name": "Lamp"}'
    post = HEAD + b"Content-Length: %d\r\n" % len(body)
    with clients(impatient, b"") as [client]:
        for request in (GET + b"\r\n", post + b"\r\n" + body, GET + b"\r\n"):
            for byte in request:
                client.sendall(bytes([byte]))
            assert len(statuses(client, 1)) == 1
        for end in (1, len(body)):
            client.sendall(post + b"Expect: 100-continue\r\n\r\n")
            assert answer(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(body[:end])
            client.sendall(body[end:])
            assert statuses(client, 1) == [b"201"]
        client.sendall(post + b"Expect: 100-continue\r\n\r\n" + body)  # without a wait for the 100
        assert statuses(client, 1) == [b"100", b"201"]
        client.sendall((GET + b"\r\n") * 3)  # pipelined
        assert statuses(client, 3) == [b"200"] * 3


def test_no_100_where_it_is_wrong(impatient: Server) -> None:
    """A client of HTTP/1.0 does not know 100, and one whose head is rejected must not send the body."""
    body = b'{"name": "Lamp"}'
    expecting = b"Content-Length: %d\r\nExpect: 100-continue\r\n" % len(body)
    old = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Connection: keep-alive\r\n"
    with clients(impatient, old + expecting + b"\r\n") as [client]:
        client.sendall(body)
        assert re.match(rb"HTTP/1.[01] 201", answer(client))
        client.sendall(HEAD + expecting + b"\r\n")  # the connection's next request has its own 100
        assert answer(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert statuses(client, 1) == [b"201"]
    for rejected in (b"Bad Name: a\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"):
        with clients(impatient, HEAD + rejected + expecting + b"\r\n") as [client]:
            assert answer(client).startswith(b"HTTP/1.1 400")


def test_clients_that_end_within_a_request_are_not_awaited(impatient: Server) -> None:
    """A client that ends its side within a request gets 400 or is closed at once, instead of waking the worker."""

    def seconds_of_answers() -> float:
        with clients(impatient, *BODIES, b"GET /hea") as ended:
            for client in ended:
                client.shutdown(socket.SHUT_WR)
            began = time.monotonic()
            answers = [answer(client)[:12] for client in ended]
            seconds = time.monotonic() - began
        assert answers == [b"HTTP/1.1 400"] * len(BODIES) + [b""]
        return seconds

    assert is_below(0.5, seconds_of_answers)


def test_a_chunked_body_in_pieces(impatient: Server) -> None:
    """A chunked body may arrive byte by byte, and a malformed one is 400 without a wait for its end."""
    with clients(impatient, b"", CHUNKS + b"1\r\n{zz\r\n", CHUNKS + b"xyz\r\n") as [client, *malformed]:
        assert [statuses(client, 1) for client in malformed] == [[b"400"]] * 2
        for byte in CHUNKS + b'8\r\n{"name":\r\n8;a=b\r\n"Lamp"} \r\n0\r\nX-A: b\r\n\r\n':
            client.sendall(bytes([byte]))
        assert statuses(client, 1) == [b"201"]


def test_an_unread_body_with_an_error_gets_one_response(impatient: Server) -> None:
    """A malformed body that no handler reads ends the connection after the response, and adds no second one."""
    with clients(impatient, b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n") as [
        client
    ]:
        data = b"".join(iter(lambda: client.recv(1000), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"405"]


def test_clients_that_do_not_read_are_closed(impatient: Server) -> None:
    """Clients that take nothing of their responses hold all threads only until the timeout for sending."""
    stored = impatient.request("POST", "/api/upload", bytes(20_000_000), {"Content-Type": "video/mp4"})
    url = urlsplit(impatient.request("GET", f"/files/{stored.json['storageId']}").headers["location"])
    began = time.monotonic()
    with clients(impatient, *[f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: a\r\n\r\n".encode()] * 4):
        seconds_for_health(impatient)
        assert time.monotonic() - began > 0.9  # a thread is free when the timeout of a second has passed
        assert is_below(0.5, lambda: seconds_for_health(impatient))


def test_connections_that_clients_leave_open_do_not_stop_a_worker(impatient: Server) -> None:
    """A client that does not close its connection after the last response holds up no other, and is closed in time."""

    def seconds_beside_open_connections() -> float:
        with clients(impatient, *[GET + b"Connection: close\r\n\r\n"] * 10) as opened:
            assert [statuses(client, 1) for client in opened] == [[b"200"]] * 10
            seconds = max(seconds_for_health(impatient) for _ in range(3))
            assert [answer(client) for client in opened] == [b""] * 10
        return seconds

    assert is_below(0.5, seconds_beside_open_connections)


@LONG
def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    """A worker serves a Unix socket, on which a request may arrive in pieces, and cuts off bodies that stall."""
    path = str(tmp_path / "socket")
    options = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}")
    with serving(tmp_path, "tests.processes.impatient", *options), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.settimeout(30)
        for piece in (GET, b"X-A: b\r\n", b"\r\n"):
            client.sendall(piece)
            time.sleep(0.1)
        assert statuses(client, 1) == [b"200"]
        client.sendall(CHUNKED)
        assert answer(client).startswith(b"HTTP/1.1 408")


@LONG
def test_trickling_clients_are_cut_off(tmp_path: Path) -> None:
    """A client that sends a byte at a time is cut off, in the head and in the body; a slow but steady one is not."""
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with (
        serving(tmp_path) as server,
        clients(server, GET, CHUNKED, CHUNKS) as found,
    ):
        head, body, steady = found
        last: dict[socket.socket, float] = {}
        began = time.monotonic()
        for _ in range(20):
            for client, data in ((head, b"X"), (body, b"1\r\nx\r\n"), (steady, piece)):
                try:
                    client.sendall(data)
                    last[client] = time.monotonic() - began
                except OSError:
                    continue
            time.sleep(0.25)
        assert last[head] < 4
        assert answer(body).startswith(b"HTTP/1.1 408")
        steady.sendall(b"0\r\n\r\n")
        assert answer(steady).startswith(b"HTTP/1.1 400")  # it is no JSON, and arrived whole


@LONG
def test_many_slow_clients_of_the_recommended_settings(tmp_path: Path) -> None:
    """144 half-sent requests and 64 unfinished bodies leave /health responding, and are closed within a minute."""
    with (
        serving(tmp_path, "flask_convex_http.gunicorn", "--bind", "127.0.0.1:0") as server,
        clients(server, *PARTS * 16, *[CHUNKED] * 64) as slow,
    ):
        began = time.monotonic()
        assert max(seconds_for_health(server) for _ in range(10)) < 8
        assert all(answer(client)[:12] in (b"", b"HTTP/1.1 408") for client in slow)
        assert time.monotonic() - began < 60  # 21 on an idle machine


@LONG
def test_a_worker_that_stops_awaits_bodies(tmp_path: Path) -> None:
    """A request whose head has arrived when its worker stops gets its response; half a head is not awaited."""
    body = HEAD + b"Content-Length: 500\r\n\r\n" + b" " * 400
    with (
        serving(tmp_path, "flask_convex_http.gunicorn", "--bind", "127.0.0.1:0", "--workers", "1") as server,
        clients(server, body, GET) as (client, other),
    ):
        seconds_for_health(server)  # the worker has accepted both before
        server.signal(signal.SIGTERM)
        assert answer(other) == b""
        client.sendall(b" " * 100)
        assert answer(client).startswith(b"HTTP/1.1 400")  # it is no JSON


@LONG
def test_no_descriptors_for_connections(tmp_path: Path) -> None:
    """A worker without free descriptors goes on, and serves waiting clients when there are some again."""
    with serving(tmp_path) as server:
        [worker] = server.workers
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (40, hard))
        with clients(server, *[GET] * 60):
            assert seconds_for_health(server) < 10
        for _ in range(3):
            assert seconds_for_health(server) < 5
        assert server.workers == [worker], server.output
        assert server.output.count("No file descriptor is left") in (1, 2)
