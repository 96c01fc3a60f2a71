"""A line to a server that breaks: it passes on what is sent, and may cut the answers short."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_PIECE = 64 * 1024
_REQUESTS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


class Line:
    """A port of its own in front of a server.

    Args:
        endpoint: The server's URL.

    Attributes:
        method: Which requests the faults are for; others pass.
        faults: After how many bytes the next answers to these are cut, one each, None for one that is not; then all
            is well.
        cut: How many were cut.
    """

    def __init__(self, endpoint: str) -> None:
        place = urlsplit(endpoint)
        self._server = (place.hostname or "", place.port or 80)
        self._port = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._port.getsockname()[1]}"
        self.method = b""
        self.faults: list[int | None] = []
        self.cut = 0

    def run(self) -> None:
        """Serve until it is closed."""
        while True:
            try:
                client, _ = self._port.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._port.shutdown(socket.SHUT_RDWR)
        self._port.close()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, suppress(OSError):
            faults: list[int | None] = []
            threading.Thread(target=self._answer, args=(server, client, faults), daemon=True).start()
            while sent := client.recv(_PIECE):
                if sent.startswith(_REQUESTS):
                    is_meant = bool(self.method) and sent.startswith(self.method)
                    faults.append(self.faults.pop(0) if is_meant and self.faults else None)
                server.sendall(sent)

    def _answer(self, server: socket.socket, client: socket.socket, faults: list[int | None]) -> None:
        with suppress(OSError):
            while got := server.recv(_PIECE):
                fault = faults[-1]
                client.sendall(got[:fault])
                if fault is not None:
                    self.cut += 1
                    break
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(endpoint: str) -> Iterator[Line]:
    """A line to a server, closed at the end."""
    line = Line(endpoint)
    thread = threading.Thread(target=line.run)
    thread.start()
    try:
        yield line
    finally:
        line.close()
        thread.join()
