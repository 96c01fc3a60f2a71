"""The sync protocol: live queries, mutations and actions of one client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_convex_http import (
    ConvexError,
    Document,
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Schema,
    action,
    internal_query,
    mutation,
    query,
)
from flask_convex_http.runtime import ActionCtx
from tests.databases import EACH_ENGINE
from tests.sync.clients import connected, served, serving
from tests.web.apps import backend_of, deployed

pytestmark = EACH_ENGINE


class Message(Document, table="messages", indexes={"by_channel": ["channel"]}):
    channel: str
    body: str


@query
def list_messages(ctx: QueryCtx, *, channel: str) -> list[str]:
    """Return the texts of a channel."""
    return [message.body for message in ctx.db.query(Message).with_index("by_channel", channel=channel).collect()]


@query
def fails_if_empty(ctx: QueryCtx) -> int:
    """Return the number of messages, or fail."""
    count = len(ctx.db.query(Message).collect())
    if count == 0:
        raise ConvexError({"reason": "empty"})
    return count


@query
def pages(ctx: QueryCtx, *, pagination_opts: PaginationOptions) -> Page[Message]:
    """Return a page of the messages, newest first."""
    return ctx.db.query(Message).order("desc").paginate(pagination_opts)


@query
def count_messages(ctx: QueryCtx) -> float:
    """Return the number of messages."""
    return float(len(ctx.db.query(Message).collect()))


@internal_query
def secret(ctx: QueryCtx) -> str:
    """Return a secret."""
    return "secret"


@mutation
def send(ctx: MutationCtx, *, channel: str, body: str) -> Id[Message]:
    """Store a message."""
    if not body:
        raise ConvexError("empty")
    return ctx.db.insert(Message(channel=channel, body=body))


@action
def shout(ctx: ActionCtx, *, text: str) -> str:
    """Return a text in capital letters."""
    return text.upper()


@pytest.fixture(name="host")
def _host(tmp_path: Path, each_engine: str) -> Iterator[str]:
    functions = [list_messages, pages, count_messages, fails_if_empty, secret, send, shout]
    with serving(tmp_path, schema=Schema(Message), functions=functions) as host:
        yield host


def test_a_query_is_updated_by_a_mutation(host: str) -> None:
    """A subscribed query gets its result, and a new one before the promise of the client's mutation resolves."""
    with connected(host) as client:
        query_id = client.subscribe("testSync:listMessages", channel="a")
        assert client.results[query_id] == []
        response = client.mutate(1, "testSync:send", channel="a", body="Hello")
        assert response["success"]
        assert client.results[query_id] == ["Hello"]


def test_other_clients_get_the_update(host: str) -> None:
    """A mutation of one client updates the queries of another one."""
    with connected(host) as writer, connected(host, "/api/1.49.0/sync", "session-2") as reader:
        query_id = reader.subscribe("testSync:listMessages", channel="a")
        writer.mutate(1, "testSync:send", channel="a", body="Hello")
        reader.wait(lambda: reader.results[query_id] == ["Hello"])


def test_a_mutation_that_is_sent_again_runs_once(host: str) -> None:
    """A client that sends a mutation again on a new connection gets the first result."""
    results = []
    for _ in range(2):
        with connected(host) as client:
            results.append(client.mutate(7, "testSync:send", channel="a", body="Hello")["result"])
            query_id = client.subscribe("testSync:listMessages", channel="a")
            assert client.results[query_id] == ["Hello"]
    assert results[0] == results[1]


def test_the_cause_of_a_commit(tmp_path: Path) -> None:
    """A commit of a client's mutation has a request id, the function and no identity as its cause."""
    with deployed(tmp_path, schema=Schema(Message), functions=[send], function_api=True) as app, served(app) as host:
        with connected(host) as client:
            for number in (1, 2):
                client.mutate(number, "testSync:send", channel="a", body="Hello")
        first, second = backend_of(app).history.feed.read(0)
    assert first.function == second.function == "test_sync:send"
    assert first.request_id and second.request_id and first.request_id != second.request_id


def test_a_failed_query_recovers(host: str) -> None:
    """A query that fails stays subscribed, and its error has the application's data."""
    with connected(host) as client:
        query_id = client.add("testSync:failsIfEmpty")
        transition = client.receive()
        [failed] = transition["modifications"]
        assert failed["type"] == "QueryFailed"
        assert failed["errorData"] == {"reason": "empty"}
        client.mutate(1, "testSync:send", channel="a", body="Hello")
        assert client.results[query_id] == {"$integer": "AQAAAAAAAAA="}


def test_a_failed_mutation_changes_nothing(host: str) -> None:
    """A mutation that raises has the response of a failure, and the next one runs."""
    with connected(host) as client:
        client.send("Mutation", requestId=1, udfPath="testSync:send", args=[{"channel": "a", "body": ""}])
        response = client.response(1)
        assert not response["success"]
        assert response["errorData"] == "empty"
        assert client.mutate(2, "testSync:send", channel="a", body="Hello")["success"]


def test_an_action_runs(host: str) -> None:
    """An action has a response, which needs no transition."""
    with connected(host) as client:
        client.send("Action", requestId=3, udfPath="testSync:shout", args=[{"text": "hello"}])
        assert client.response(3)["result"] == "HELLO"


def test_an_internal_query_cannot_be_told_from_a_missing_one(host: str) -> None:
    """A client that subscribes to an internal or a missing query gets the same error."""
    with connected(host) as client:
        errors = [client.results[client.subscribe(f"testSync:{name}")] for name in ("secret", "missing")]
    assert [error.partition("\n")[2] for error in errors] == [
        f"Could not find public function for 'testSync:{name}'." for name in ("secret", "missing")
    ]


def test_a_removed_query_is_removed(host: str) -> None:
    """A query that was removed has a QueryRemoved, and no further results."""
    with connected(host) as client:
        query_id = client.subscribe("testSync:listMessages", channel="a")
        client.remove(query_id)
        client.wait(lambda: query_id not in client.results)
        client.mutate(1, "testSync:send", channel="a", body="Hello")
        assert client.results == {}


def test_all_queries_of_a_transition_are_of_one_commit(host: str) -> None:
    """Two queries of one range never differ in a transition, while another client writes."""
    with connected(host) as reader, connected(host, session="session-2") as writer:
        texts = reader.subscribe("testSync:listMessages", channel="a")
        count = reader.subscribe("testSync:countMessages")
        for number in range(10):
            writer.mutate(number, "testSync:send", channel="a", body=str(number))
        while len(reader.results[texts]) < 10:
            reader.receive()
            assert len(reader.results[texts]) == reader.results[count]


def test_a_page_keeps_its_end(host: str) -> None:
    """A page of a live query grows with documents inserted into it, so that the next page does not overlap it."""
    with connected(host) as client:
        for number in range(4):
            client.mutate(number, "testSync:send", channel="a", body=str(number))
        first = client.subscribe("testSync:pages", paginationOpts={"numItems": 2, "cursor": None})
        cursor = client.results[first]["continueCursor"]
        second = client.subscribe("testSync:pages", paginationOpts={"numItems": 2, "cursor": cursor})
        client.mutate(10, "testSync:send", channel="a", body="new")
        assert [message["body"] for message in client.results[first]["page"]] == ["new", "3", "2"]
        assert [message["body"] for message in client.results[second]["page"]] == ["1", "0"]
        journal = client.journals[first]
    with connected(host, session="session-2") as client:  # as after a lost connection
        client.modify(
            {
                "type": "Add",
                "queryId": 1,
                "udfPath": "testSync:pages",
                "args": [{"paginationOpts": {"numItems": 2, "cursor": None}}],
                "journal": journal,
            }
        )
        client.wait(lambda: 1 in client.results)
        assert len(client.results[1]["page"]) == 3
