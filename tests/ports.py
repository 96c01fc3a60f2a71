"""Free ports for servers that cannot choose their own."""

import os
import socket
from random import SystemRandom

#: Systems give connections and listeners without a number the ports from 32768 on (Linux) or 49152 (others), so none of
#: them takes a port from here between the choice and the start of the server.
_PORTS = range(10_000, 32_768)
#: The ports that this process has returned. Their servers may not listen yet.
_returned: set[int] = set()


def free_port() -> int:
    """Return a port on which nothing listens, and which no other test process of this run returns."""
    port = SystemRandom().choice(_own_ports())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    if port in _returned:
        return free_port()
    _returned.add(port)
    return port


def _own_ports() -> range:
    """Return the ports of this process: each process of pytest-xdist has a part of them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return _PORTS[int(worker) :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
