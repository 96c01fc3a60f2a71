"""The handover of a connection from a WSGI server."""

import socket
import ssl
from collections.abc import Iterator

import pytest

from flask_convex_http.sync.handover import can_hand_over, take_socket


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    client, server = socket.socketpair()
    with client, server:
        yield client, server


@pytest.mark.parametrize(("key", "error"), [("gunicorn.socket", StopIteration), ("werkzeug.socket", ConnectionError)])
def test_the_server_may_close_its_socket(
    key: str, error: type[Exception], pair: tuple[socket.socket, socket.socket]
) -> None:
    """After the handover, the server's shutdown and close do not reach the client, and each server has its end."""
    client, server = pair
    taken, end = take_socket({key: server})
    with taken:
        assert isinstance(end, error)
        with pytest.raises(BrokenPipeError):
            server.sendall(b"lost")
        server.shutdown(socket.SHUT_WR)
        server.close()
        taken.sendall(b"kept")
        client.sendall(b"received")
        assert client.recv(100) == b"kept"
        assert taken.recv(100) == b"received"


def test_other_servers_lend_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    """Without a socket, over HTTP/2 and where TLS ends in the server, there is no handover."""
    _, server = pair
    assert can_hand_over({"gunicorn.socket": server})
    assert not can_hand_over({})
    assert not can_hand_over({"gunicorn.socket": server, "gunicorn.http2.send_trailers": print})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.socket() as plain, context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as tls:
        assert not can_hand_over({"gunicorn.socket": tls})
