"""The messages between the connections of clients and the thread that runs their queries."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import msgspec

from flask_convex_http.sync.read_sets import ReadSet


class Call(msgspec.Struct, frozen=True):
    """A query that clients subscribe to.

    Attributes:
        path: The name of the function, as clients write it.
        args: The arguments as JSON with sorted keys.
        journal: The position at which a paginated query ended before; None at first.
    """

    path: str
    args: bytes
    journal: str | None = None


class Identity(Protocol):
    """On whose behalf queries run."""

    @property
    def key(self) -> Hashable:
        """A value that is the same for the same identity."""

    @property
    def may_share(self) -> bool:
        """Whether results that do not depend on the identity are the same for all clients."""


class Outcome(msgspec.Struct, frozen=True, eq=False):
    """The result of a query, encoded for clients.

    Attributes:
        value: The value as JSON; None if the query has failed.
        error_message: The error for the client.
        error_data: The data of an application's error, as JSON.
        log_lines: The log lines for the client.
        journal: The position at which a paginated query has ended.
        digest: What clients see of it. For an error that leaves out the id of the run.
    """

    value: bytes | None = None
    error_message: str = ""
    error_data: bytes | None = None
    log_lines: tuple[str, ...] = ()
    journal: str | None = None
    digest: Any = None


class Ran(msgspec.Struct):
    """A query that has run.

    Attributes:
        outcome: Its result.
        reads: Its reads.
        used_identity: Whether it has asked for the identity.
    """

    outcome: Outcome
    reads: ReadSet
    used_identity: bool


class Submission(msgspec.Struct, eq=False):
    """A request of a client to the next round.

    Attributes:
        client: The client.
        identity: Its identity from now on, with which all its queries run.
        added: The queries to add, by the client's ids.
        removed: The ids of queries to remove, before others are added.
        is_end: Whether the client is gone.
        token: Returned with the round.
    """

    client: Hashable
    identity: Any = None
    added: dict[int, Call] = {}
    removed: tuple[int, ...] = ()
    is_end: bool = False
    token: Any = None


class Update(msgspec.Struct, eq=False):
    """The news of a round for a client.

    Attributes:
        results: The new results by the client's ids of queries.
        tokens: The tokens of the submissions that were processed.
    """

    results: dict[int, Outcome] = {}
    tokens: list[Any] = []


class Round(msgspec.Struct, eq=False):
    """A round that has ended.

    Attributes:
        commit: The newest commit that its snapshot saw.
        updates: The news for each client.
    """

    commit: int
    updates: dict[Any, Update]
