"""Free ports for servers that cannot choose their own."""

import socket
from random import SystemRandom

#: Systems give connections and listeners without a number the ports from 32768 on (Linux) or 49152 (others), so none of
#: them takes a port from here between the choice and the start of the server.
_PORTS = range(10_000, 32_768)


def free_port() -> int:
    """Return a port on which nothing listens, at random so that test processes do not choose the same."""
    port = SystemRandom().choice(_PORTS)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port
