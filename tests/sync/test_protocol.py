"""What clients may not do, credentials, and the limits and the end of connections."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from flask_convex_http import Document, FunctionApi, QueryCtx, Schema, internal_query, query
from tests.lengths import LONG
from tests.sync.clients import TIMEOUT, SyncClient, connected, served
from tests.web.apps import backend_of, deployed


class Note(Document, table="notes"):
    text: str


@query
def whoami(ctx: QueryCtx) -> str | None:
    """Return the subject of the caller."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.subject


@internal_query
def count(ctx: QueryCtx) -> float:
    """Return the number of notes."""
    return float(len(ctx.db.query(Note).collect()))


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    api = FunctionApi(cors=["https://page.example"])
    config: dict[str, Any] = {"CONVEX_LIVE_CONNECTIONS_PER_ADDRESS": 2}
    with deployed(tmp_path, schema=Schema(Note), functions=[whoami, count], function_api=api, **config) as app:
        yield app


@pytest.fixture(name="host")
def _host(app: Flask) -> Iterator[str]:
    with served(app) as host:
        yield host


def refusal(client: SyncClient) -> str:
    """Return the error of the FatalError that ends a connection."""
    client.wait(lambda: bool(client.received))
    message = client.received[-1]
    assert message["type"] == "FatalError"
    with pytest.raises(ConnectionClosed):
        client.receive()
    return str(message["error"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "Invalid message"),
        ('{"type": "Nothing"}', "Invalid message"),
        ('{"type": "Connect", "sessionId": "again"}', "Connect may be sent once"),
        ('{"type": "ModifyQuerySet", "baseVersion": 7, "newVersion": 8, "modifications": []}', "BaseVersionMismatch"),
        ('{"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 5, "modifications": []}', "BaseVersionMismatch"),
        ('{"type": "Authenticate", "baseVersion": 3, "tokenType": "None"}', "BaseVersionMismatch"),
        ('{"type": "Mutation", "requestId": -1, "udfPath": "a:b", "args": []}', "Invalid message"),
        ('{"type": "Action", "requestId": 1, "udfPath": "a:b", "args": [' + "[" * 80 + "]" * 80 + "]}", "Invalid argu"),
        ("[" * 100_000, "Invalid message"),
        ('{"type": "Connect", "sessionId": "a\\u0000b"}', "Invalid message"),
    ],
)
def test_a_violation_is_a_fatal_error(host: str, text: str, error: str) -> None:
    """A message that the protocol does not allow ends the connection with a FatalError that names the reason."""
    with connected(host) as client:
        client.connection.send(text)
        assert error in refusal(client)


def test_the_first_message_is_connect(host: str) -> None:
    """Another first message than Connect ends the connection."""
    with connect(f"ws://{host}/api/sync", compression=None) as connection:
        connection.send('{"type": "Action", "requestId": 1, "udfPath": "a:b", "args": []}')
        assert "Connect" in msgspec.json.decode(connection.recv(timeout=TIMEOUT))["error"]


def test_binary_messages_are_refused(host: str) -> None:
    """A binary message closes the connection with the code 1003."""
    with connected(host) as client:
        client.connection.send(b"\x00")
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003


def test_a_message_in_fragments_is_one(host: str) -> None:
    """A message may arrive in fragments."""
    with connected(host) as client:
        text = '{"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []}'
        client.connection.send([text[:10], text[10:20], text[20:]])
        client.wait(lambda: client.version["querySet"] == 1)


def test_only_websockets_are_served(app: Flask) -> None:
    """A plain request is 426, and a path without a version is 400 or not found."""
    assert app.test_client().get("/api/sync").status_code == 426
    assert app.test_client().get("/api/latest/sync").status_code == 400
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    response = app.test_client().get("/api/sync", headers=upgrade)
    assert (response.status_code, response.get_json()["code"]) == (501, "LiveQueriesUnavailable")


def test_a_bad_handshake_is_refused(host: str) -> None:
    """A request without a valid key of the handshake gets an HTTP error on its connection."""
    headers = {"Sec-WebSocket-Key": "wrong"}
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://{host}/api/sync", additional_headers=headers):
        pass
    assert refused.value.response.status_code == 400


def test_a_foreign_origin_is_refused(host: str) -> None:
    """Pages of allowed origins and of the app itself may connect, and others may not."""
    for origin in ("https://page.example", f"http://{host}"):
        with connect(f"ws://{host}/api/sync", origin=Origin(origin)):
            pass
    evil = Origin("https://evil.example")
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://{host}/api/sync", origin=evil):
        pass
    assert refused.value.response.status_code == 403


def test_connections_of_one_address_are_limited(app: Flask, host: str) -> None:
    """A connection beyond the limit of its address is 503, and its place is free again after a close."""
    with connected(host), connected(host):
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://{host}/api/sync"):
            pass
        assert refused.value.response.status_code == 503
    loop = app.extensions["convex_http_sync"].loop
    while loop.connections:
        os.sched_yield()
    with connected(host):
        assert loop.connections == 1


def test_an_access_token_identifies(app: Flask, host: str) -> None:
    """Queries that ask for the identity run again with the one of a token, and as anonymous after a log-out."""
    token = backend_of(app).tokens.create(subject="alice")[0]
    with connected(host) as client:
        query_id = client.subscribe("testProtocol:whoami")
        assert client.results[query_id] is None
        client.send("Authenticate", tokenType="User", value=token, baseVersion=0)
        client.wait(lambda: client.version["identity"] == 1)
        assert client.results[query_id] == "alice"
        client.send("Authenticate", tokenType="None", baseVersion=1)
        client.wait(lambda: client.version["identity"] == 2)
        assert client.results[query_id] is None


def test_messages_behind_a_credential_wait_for_its_check(app: Flask, host: str) -> None:
    """A query that is sent right behind a token runs with its identity."""
    token = backend_of(app).tokens.create(subject="alice")[0]
    with connected(host) as client:
        client.send("Authenticate", tokenType="User", value=token, baseVersion=0)
        assert client.results[client.subscribe("testProtocol:whoami")] == "alice"


def test_a_wrong_token_is_an_auth_error(host: str) -> None:
    """A token that is not valid is an AuthError to the attempt, and the connection closes."""
    with connected(host) as client:
        client.send("Authenticate", tokenType="User", value="wrong", baseVersion=0)
        client.wait(lambda: bool(client.received))
        [error] = client.received
        assert (error["type"], error["baseVersion"], error["authUpdateAttempted"]) == ("AuthError", 0, True)
        with pytest.raises(ConnectionClosed):
            client.receive()


def test_an_admin_key_opens_internal_queries(app: Flask, host: str) -> None:
    """An administrator subscribes to internal queries, and acts as a user."""
    key = backend_of(app).admin_keys.create("test")[0]
    with connected(host) as client:
        client.send(
            "Authenticate", tokenType="Admin", value=key, baseVersion=0, impersonating={"tokenIdentifier": "x|bob"}
        )
        assert client.results[client.subscribe("testProtocol:count")] == 0.0
        assert client.results[client.subscribe("testProtocol:whoami")] == "bob"


def test_a_server_that_stops_says_so(app: Flask, host: str) -> None:
    """The end of a process closes its connections with the code 1012, so that clients connect again."""
    with connected(host) as client:
        client.subscribe("testProtocol:whoami")
        backend_of(app).close()
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


@LONG
def test_any_bytes_are_harmless(host: str) -> None:
    """Random bytes as frames end their connection, and the server goes on."""
    for _ in range(200):
        with connect(f"ws://{host}/api/sync", compression=None) as connection:
            connection.socket.sendall(base64.b64encode(os.urandom(64)))
    with connected(host) as client:
        assert client.results[client.subscribe("testProtocol:whoami")] is None


def test_a_client_that_sends_much_at_once_is_served(host: str) -> None:
    """Many changes of the query set at once are all processed, while the server reads no more than it must."""
    with connected(host) as client:
        for _ in range(150):
            client.remove(client.add("testProtocol:whoami"))
        client.wait(lambda: client.version["querySet"] == 300)
        assert client.results == {}


def test_an_unknown_journal_is_ignored(host: str) -> None:
    """A journal that no query has made does not fail the query."""
    with connected(host) as client:
        added = {"type": "Add", "queryId": 1, "udfPath": "testProtocol:whoami", "args": [{}], "journal": "made up"}
        client.modify(added)
        client.wait(lambda: 1 in client.results)
        assert client.results[1] is None
