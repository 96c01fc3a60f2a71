"""A proxy in front of a server that cuts connections while it sends responses."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_PIECE = 64 * 1024
_REQUESTS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


class FaultyProxy:
    """A proxy with its own port in front of a server.

    Args:
        endpoint: The server's URL.

    Attributes:
        method: The method of the requests that the faults apply to, as bytes.
        faults: For each of these requests in turn, the number of bytes after which its response is cut, or None to pass
            it whole. Further responses pass whole.
        cut: The number of responses that were cut.
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
        """Serve until the proxy is closed."""
        while True:
            try:
                client, _ = self._port.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):
            self._port.shutdown(socket.SHUT_RDWR)
        self._port.close()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, suppress(OSError):
            faults: list[int | None] = []
            threading.Thread(target=self._pass_back, args=(server, client, faults), daemon=True).start()
            while sent := client.recv(_PIECE):
                if sent.startswith(_REQUESTS):
                    applies = bool(self.method) and sent.startswith(self.method)
                    faults.append(self.faults.pop(0) if applies and self.faults else None)
                server.sendall(sent)

    def _pass_back(self, server: socket.socket, client: socket.socket, faults: list[int | None]) -> None:
        with suppress(OSError):
            while got := server.recv(_PIECE):
                fault = faults[-1]
                client.sendall(got[:fault])
                if fault is not None:
                    self.cut += 1
                    break
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def faulty_proxy_to(endpoint: str) -> Iterator[FaultyProxy]:
    """Yield a proxy in front of a server, and close it at the end."""
    proxy = FaultyProxy(endpoint)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
