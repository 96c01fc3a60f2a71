"""`http.live`: a query as a stream of server-sent events."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    Document,
    HttpRouter,
    LiveQuery,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    mutation,
    query,
    require_api_key,
)
from flask_convex_http.sync.limits import SyncLimits
from flask_convex_http.sync.service import service_of
from tests.lengths import LONG
from tests.sync.clients import TIMEOUT, served
from tests.web.apps import backend_of, deployed


class Item(Document, table="items", indexes={"by_name": ["name"]}):
    name: str


@query
def list_items(ctx: QueryCtx, *, limit: int = 10) -> list[Item]:
    """Return the newest items."""
    items = ctx.db.query(Item).order("desc").take(limit)
    if any(item.name == "bad" for item in items):
        raise ConvexError("There is a bad item")
    return items


@query
def named(ctx: QueryCtx, *, name: str) -> list[Item]:
    """Return the items of a name."""
    return ctx.db.query(Item).with_index("by_name", name=name).collect()


@mutation
def add(ctx: MutationCtx, *, name: str) -> None:
    """Add an item."""
    ctx.db.insert(Item(name=name))


router = HttpRouter("http", __name__)
router.live("/items/live", list_items, cors="*")


@router.live("/newest/<int:limit>")
def newest(ctx: ActionCtx, request: Request, limit: int) -> LiveQuery[list[Item]]:
    """Stream the newest items."""
    return LiveQuery(list_items, limit=limit)


@router.live("/guarded")
@require_api_key()
def guarded(ctx: ActionCtx, request: Request) -> LiveQuery[list[Item]]:
    """Stream items to clients with a key."""
    return LiveQuery(list_items)


class Events:
    """A client of a stream."""

    def __init__(self, host: str, path: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
        self._connection.request("GET", path, headers={"Origin": "https://page.example"})
        self.response = self._connection.getresponse()

    def next(self) -> dict[str, str]:
        """Return the fields of the next event."""
        fields: dict[str, str] = {}
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if not line and fields:
                return fields
            name, separator, value = line.partition(": ")
            if separator:
                fields[name] = value

    def close(self) -> None:
        """Close the connection."""
        self.response.close()
        self._connection.close()


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Any]:
    with deployed(tmp_path, router, schema=Schema(Item), functions=[list_items, add]) as app:
        yield app


def put(app: Any, name: str) -> None:
    """Add an item, as another client would."""
    backend_of(app).run("test_streams:add", {"name": name})


def test_a_change_is_an_event(app: Any) -> None:
    """The first event is the present result, and a commit that changes it is another one."""
    with served(app) as host:
        events = Events(host, "/items/live")
        assert events.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        assert events.response.getheader("Access-Control-Allow-Origin") == "*"
        assert events.response.getheader("X-Request-Id")
        assert events.next()["data"] == "[]"
        put(app, "Lamp")
        event = events.next()
        assert '"name":"Lamp"' in event["data"]
        assert int(event["id"]) > 0
        events.close()


def test_a_handler_gives_arguments(app: Any) -> None:
    """A handler's LiveQuery has arguments, here from the path."""
    put(app, "Lamp")
    put(app, "Chair")
    with served(app) as host:
        events = Events(host, "/newest/1")
        data = events.next()["data"]
        assert "Chair" in data
        assert "Lamp" not in data
        events.close()


def test_a_failing_query_is_an_event(app: Any) -> None:
    """The error of the application is an event "failure", and the stream goes on."""
    with served(app) as host:
        events = Events(host, "/items/live")
        events.next()
        put(app, "bad")
        assert events.next()["event"] == "failure"
        events.close()


def test_a_guard_comes_first(app: Any) -> None:
    """A request without the credential of the guard gets the guard's response."""
    assert app.test_client().get("/guarded").status_code == 401


def test_without_a_connection_there_is_one_event(app: Any) -> None:
    """A server that lends no connection sends the present result, and when to ask again."""
    put(app, "Lamp")
    response = app.test_client().get("/items/live")
    assert response.status_code == 200
    assert response.text.startswith("retry: 3000\n")
    assert '"name":"Lamp"' in response.text


def test_only_queries_without_needs_are_live() -> None:
    """A mutation cannot be streamed, and a query that needs arguments only by a handler."""
    other = HttpRouter("other", __name__)
    with pytest.raises(RegistrationError, match="takes a query"):
        other.live("/x", add)  # type: ignore[call-overload]
    with pytest.raises(RegistrationError, match=r"return LiveQuery\(named, name=\.\.\.\)"):
        other.live("/x", named)


@LONG
def test_a_stream_ends_after_a_while(app: Any) -> None:
    """A stream ends, so that its client passes the guards again."""
    service_of(app, backend_of(app)).limits = SyncLimits(stream_seconds=0.0)
    with served(app) as host:
        events = Events(host, "/items/live")
        assert events.next()["data"] == "[]"
        assert events.response.read() == b""
        events.close()
