"""The limits of one client, and of all clients of a process."""

from __future__ import annotations

import msgspec


class SyncLimits(msgspec.Struct, frozen=True):
    """The limits of live queries in one process.

    Attributes:
        connections: The largest number of connections.
        connections_of_one: The largest number of connections from one address.
        message_bytes: The largest message of a client, in bytes.
        queries: The largest number of queries that one connection subscribes to.
        mutations: The largest number of mutations of one connection that wait.
        in_flight: The number of changes of one query set that wait, from which on nothing is read from its client.
        waiting_bytes: The size of waiting mutations from which on nothing is read from their client.
        actions: The largest number of actions of one connection that run.
        connect_seconds: Seconds until the first message of a new connection.
        ping_seconds: Seconds without another message after which the client is sent a `Ping`.
        silence_seconds: Seconds without a sign of life of the client after which its connection is closed.
        check_seconds: Seconds between two checks whether the credential of a client was revoked.
        stream_seconds: Seconds after which a stream of events ends, and its client connects again.
        stall_seconds: Seconds for which a client may read nothing.
    """

    connections: int = 10_000
    connections_of_one: int = 1_000
    message_bytes: int = 17 * 2**20
    queries: int = 1_000
    mutations: int = 1_000
    in_flight: int = 20
    waiting_bytes: int = 4 * 2**20
    actions: int = 100
    connect_seconds: float = 10.0
    ping_seconds: float = 15.0
    silence_seconds: float = 120.0
    check_seconds: float = 60.0
    stream_seconds: float = 900.0
    stall_seconds: float = 30.0
