"""A client of the sync protocol for tests, and an app with a server of its own in this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask
from websockets.sync.client import ClientConnection, connect
from werkzeug.serving import make_server

from flask_convex_http.sync.messages import decode_ts
from tests.web.apps import deployed

#: The timeout of every wait, in seconds.
TIMEOUT = 30.0


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an app with Flask's own server, and yield the address of its host."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class SyncClient:
    """A client that keeps the results of its queries as the server tells them, and checks the versions.

    Args:
        connection: The connection.
        session: The id of the session.

    Attributes:
        results: The value of each query, or its error message, by its id.
        journals: The journal of each query.
        version: The version that the client has.
        transitions: The transitions that it has received.
        received: All other messages.
    """

    def __init__(self, connection: ClientConnection, session: str = "session-1") -> None:
        self.connection = connection
        self.results: dict[int, Any] = {}
        self.journals: dict[int, Any] = {}
        self.version = {"querySet": 0, "ts": "AAAAAAAAAAA=", "identity": 0}
        self.transitions: list[Any] = []
        self.received: list[Any] = []
        self._asked = 0
        self._next_id = 0
        self.send("Connect", sessionId=session, connectionCount=0, lastCloseReason=None, clientTs=0)

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        self.connection.send(msgspec.json.encode({"type": kind, **fields}).decode())

    def subscribe(self, path: str, **args: Any) -> int:
        """Add a query, wait for its first result, and return its id."""
        query_id = self.add(path, **args)
        self.wait(lambda: query_id in self.results)
        return query_id

    def add(self, path: str, **args: Any) -> int:
        """Add a query, and return its id."""
        self._next_id += 1
        self.modify({"type": "Add", "queryId": self._next_id, "udfPath": path, "args": [args]})
        return self._next_id

    def remove(self, query_id: int) -> None:
        """Remove a query."""
        self.modify({"type": "Remove", "queryId": query_id})

    def modify(self, *modifications: dict[str, Any]) -> None:
        """Change the query set."""
        base, self._asked = self._asked, self._asked + 1
        self.send("ModifyQuerySet", baseVersion=base, newVersion=self._asked, modifications=list(modifications))

    def mutate(self, request: int, path: str, **args: Any) -> Any:
        """Run a mutation, and return its response, after the transition that has its writes."""
        self.send("Mutation", requestId=request, udfPath=path, args=[args])
        response = self.response(request)
        if response["success"]:
            self.wait(lambda: self.ts >= decode_ts(response["ts"]))
        return response

    def response(self, request: int) -> Any:
        """Wait for the response to a mutation or an action, and return it."""

        def found() -> list[Any]:
            return [message for message in self.received if message.get("requestId") == request]

        self.wait(lambda: bool(found()))
        return found()[0]

    @property
    def ts(self) -> int:
        """The commit that the client knows."""
        return decode_ts(str(self.version["ts"]))

    def wait(self, condition: Callable[[], bool]) -> None:
        """Receive messages until a condition is met."""
        while not condition():
            self.receive()

    def receive(self) -> Any:
        """Receive one message, and return it."""
        message = msgspec.json.decode(self.connection.recv(timeout=TIMEOUT))
        if message["type"] != "Transition":
            self.received.append(message)
            return message
        assert message["startVersion"] == self.version
        self.version = message["endVersion"]
        self.transitions.append(message)
        for change in message["modifications"]:
            self._apply(change)
        return message

    def _apply(self, change: Any) -> None:
        if change["type"] == "QueryRemoved":
            del self.results[change["queryId"]]
        else:
            self.journals[change["queryId"]] = change["journal"]
            self.results[change["queryId"]] = change.get("value", change.get("errorMessage"))


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[str]:
    """Serve a migrated app with the function API, and yield the address of its host."""
    with deployed(folder, function_api=True, **options) as app, served(app) as host:
        yield host


@contextmanager
def connected(host: str, path: str = "/api/sync", session: str = "session-1") -> Iterator[SyncClient]:
    """Connect to a server, and yield a client that has sent Connect."""
    with connect(f"ws://{host}{path}", compression=None, max_size=None) as connection:
        yield SyncClient(connection, session)
