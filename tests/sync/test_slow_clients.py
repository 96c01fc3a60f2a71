"""Clients that do not read, and results that are large."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from flask import Flask
from websockets.exceptions import ConnectionClosed

from flask_convex_http import Document, MutationCtx, QueryCtx, Schema, mutation, query
from flask_convex_http.sync.limits import SyncLimits
from flask_convex_http.sync.messages import StateVersion
from flask_convex_http.sync.submissions import Outcome
from flask_convex_http.sync.transitions import transition_frames
from tests.lengths import LONG
from tests.sync.clients import connected, served
from tests.web.apps import deployed

_SIZE = 200_000


class Counter(Document, table="counters"):
    value: int


@query
def large(ctx: QueryCtx) -> list[str]:
    """Return the value, and a large text."""
    counter = ctx.db.query(Counter).first()
    return [str(counter.value if counter else 0), "x" * _SIZE]


@mutation
def count(ctx: MutationCtx) -> None:
    """Count on."""
    counter = ctx.db.query(Counter).first()
    if counter is None:
        ctx.db.insert(Counter(value=1))
    else:
        ctx.db.patch(counter.id, value=counter.value + 1)


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    with deployed(tmp_path, schema=Schema(Counter), functions=[large, count], function_api=True) as app:
        yield app


@LONG
def test_a_client_that_does_not_read_skips_results(app: Flask) -> None:
    """A client that stops to read gets the newest result afterwards, and not each one before it."""
    changes = 150
    with served(app) as host, connected(host) as slow, connected(host, session="session-2") as writer:
        query_id = slow.subscribe("testSlowClients:large")
        for number in range(changes):
            writer.mutate(number, "testSlowClients:count")
        slow.wait(lambda: slow.results[query_id][0] == str(changes))
        assert len(slow.transitions) < changes


@LONG
def test_a_client_that_never_reads_is_cut_off(app: Flask) -> None:
    """The connection of a client that reads nothing for too long is closed."""
    with served(app) as host, connected(host, session="session-2") as writer:
        service = app.extensions["convex_http_sync"]
        service.limits = SyncLimits(stall_seconds=0.5)
        with connected(host) as slow:
            slow.subscribe("testSlowClients:large")
            for number in range(150):
                writer.mutate(number, "testSlowClients:count")
            while service.loop.connections > 1:
                writer.mutate(1000, "testSlowClients:count")
            with pytest.raises(ConnectionClosed):
                while True:
                    slow.receive()


def test_a_large_transition_is_sent_in_chunks() -> None:
    """A transition of more than 5,000,000 bytes is several messages for a client that understands them."""
    outcome = Outcome(value=msgspec.json.encode("x" * 6_000_000))
    start, end = StateVersion(), StateVersion(1)
    [whole] = transition_frames(start, end, {1: outcome}, chunks=False)
    chunks = [msgspec.json.decode(frame) for frame in transition_frames(start, end, {1: outcome}, chunks=True)]
    assert [(chunk["type"], chunk["partNumber"], chunk["totalParts"]) for chunk in chunks] == [
        ("TransitionChunk", 0, 2),
        ("TransitionChunk", 1, 2),
    ]
    assert "".join(chunk["chunk"] for chunk in chunks).encode() == whole
