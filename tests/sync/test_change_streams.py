"""`http.changes` on the event loop: commits as server-sent events without a thread for each client."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import Document, HttpRouter, MutationCtx, Schema, internal_mutation
from flask_convex_http.sync.limits import SyncLimits
from flask_convex_http.sync.service import service_of
from tests.databases import EACH_ENGINE
from tests.lengths import LONG
from tests.sqlite.crews import wait_until
from tests.sync.clients import TIMEOUT, served
from tests.web.apps import backend_of, deployed

pytestmark = EACH_ENGINE


class Item(Document, table="items"):
    name: str


class Secret(Document, table="secrets"):
    text: str


@internal_mutation
def add(ctx: MutationCtx, *, name: str) -> None:
    ctx.db.insert(Item(name=name))


@internal_mutation
def hide(ctx: MutationCtx) -> None:
    ctx.db.insert(Secret(text="hidden"))


def _router() -> HttpRouter:
    router = HttpRouter("http", __name__)
    router.changes("/changes", tables=[Item], cors="*")
    router.changes("/all", guard=lambda handler: handler, max_clients=1, endpoint="all")
    return router


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    with deployed(tmp_path, _router(), schema=Schema(Item, Secret), functions=[add, hide]) as app:
        yield app


class Feed:
    """A client of the feed."""

    def __init__(self, app: Flask, host: str, path: str = "/changes", since: int | None = None) -> None:
        key = backend_of(app).api_keys.create(name="feed", scopes=["changes"])[0]
        headers = {"X-API-Key": key} | ({} if since is None else {"Last-Event-ID": str(since)})
        self._connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
        self._connection.request("GET", path, headers=headers)
        self.response = self._connection.getresponse()

    def next(self) -> dict[str, str]:
        """Return the fields of the next event."""
        fields: dict[str, str] = {}
        while True:
            line = self.response.readline().decode()
            assert line, "the stream has ended"
            name, separator, value = line.rstrip("\n").partition(": ")
            if separator:
                fields[name] = value
            elif fields and not name:
                return fields

    def names(self, count: int) -> list[str]:
        """Return the names of the next inserted items."""
        found: list[str] = []
        while len(found) < count:
            event = self.next()
            if "data" in event:
                found += [change["document"]["name"] for change in json.loads(event["data"])["changes"]]
        return found

    def close(self) -> None:
        """Close the connection."""
        self.response.close()
        self._connection.close()


@contextmanager
def following(app: Flask, host: str, *args: Any, **options: Any) -> Iterator[Feed]:
    """Yield a client of the feed, and close it."""
    feed = Feed(app, host, *args, **options)
    try:
        yield feed
    finally:
        feed.close()


def test_commits_are_events(app: Flask) -> None:
    """A client gets each later commit once, and after a reconnection those after its last one, without others' rows."""
    run = backend_of(app).ctx().run_mutation
    run(add, name="before")
    with served(app) as host:
        with following(app, host) as feed:
            assert feed.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
            since = int(feed.next()["id"])
            run(add, name="a")
            run(hide)
            run(add, name="b")
            assert feed.names(2) == ["a", "b"]
        run(add, name="c")
        with following(app, host, since=since) as feed:
            assert feed.names(3) == ["a", "b", "c"]
            run(add, name="d")
            assert feed.names(1) == ["d"]


def test_clients_hold_no_thread(app: Flask) -> None:
    """Twenty clients get a commit, and the process has no more threads than with one."""
    with served(app) as host:
        feeds = [Feed(app, host)]
        feeds[0].next()
        backend_of(app).ctx().run_mutation(add, name="first")
        assert feeds[0].names(1) == ["first"]
        before = threading.active_count()
        feeds += [Feed(app, host) for _ in range(20)]
        for feed in feeds[1:]:
            feed.next()
        backend_of(app).ctx().run_mutation(add, name="second")
        assert [feed.names(1) for feed in feeds] == [["second"]] * 21
        wait_until(lambda: threading.active_count() <= before)  # threads of the server that are about to end
        for feed in feeds:
            feed.close()


def test_places_are_released(app: Flask) -> None:
    """`max_clients` is a limit here too, and the place of a client that has left is free again."""
    with served(app) as host:
        with following(app, host, "/all") as feed:
            feed.next()
            with following(app, host, "/all") as second:
                assert second.response.status == 503

        def is_free() -> bool:
            with following(app, host, "/all") as third:
                return third.response.status == 200

        wait_until(is_free)


def test_a_purged_cursor_ends_a_stream(app: Flask) -> None:
    """A client that cannot be served is disconnected, and gets the status of the error when it connects again."""
    with served(app) as host:
        assert Feed(app, host, since=99).response.status == 410
        with following(app, host) as feed:
            feed.next()
            backend_of(app).ctx().run_mutation(add, name="a")
            assert feed.names(1) == ["a"]  # the follower knows the client by then
            follower = service_of(app, backend_of(app)).follower()
            with follower._lock:
                (client,) = follower._clients
                client.since = 99
            follower.ready(client)
            assert feed.response.read() == b""


@LONG
def test_a_stream_ends_after_a_while(app: Flask) -> None:
    """A stream ends, so that its client passes the guards again."""
    service_of(app, backend_of(app)).limits = SyncLimits(stream_seconds=0.0)
    with served(app) as host, following(app, host) as feed:
        feed.next()
        assert feed.response.read() == b""


@LONG
def test_nothing_is_lost_between_connections(app: Flask) -> None:
    """Clients that connect again at any moment while others write get every commit once, in order."""
    total, run = 300, backend_of(app).ctx().run_mutation

    def write() -> None:
        for number in range(total):
            run(add, name=str(number))

    with served(app) as host:
        start = backend_of(app).history.feed.last_commit()
        writer = threading.Thread(target=write)
        writer.start()
        found: list[str] = []
        since = start
        while len(found) < total:
            with following(app, host, since=since) as feed:
                for _ in range(20):
                    event = feed.next()
                    since = int(event["id"])
                    if "data" in event:
                        found += [change["document"]["name"] for change in json.loads(event["data"])["changes"]]
                    if len(found) == total:
                        break
        writer.join()
    assert found == [str(number) for number in range(total)]
