"""nginx and Caddy with the configurations of the page pass WebSockets and streams on."""

import http.client
from contextlib import closing
from pathlib import Path

import pytest
from websockets.sync.client import connect

from flask_convex_http import Document, HttpRouter, QueryCtx, Schema, query
from tests.docs import proxies
from tests.lengths import LONG
from tests.sync.clients import SyncClient, served
from tests.web.apps import deployed

pytestmark = LONG


class Lamp(Document, table="lamps"):
    name: str


@query
def count_lamps(ctx: QueryCtx) -> float:
    """Return the number of lamps."""
    return float(len(ctx.db.query(Lamp).collect()))


@pytest.mark.parametrize("name", proxies.PROXIES)
def test_live_queries_come_through_a_proxy(name: str, tmp_path: Path) -> None:
    """A WebSocket and a stream pass the proxy, without a wait for the end of the response."""
    router = HttpRouter("http", __name__)
    router.live("/lamps/live", count_lamps)
    with (
        deployed(tmp_path, router, schema=Schema(Lamp), functions=[count_lamps], function_api=True) as app,
        served(app) as host,
        proxies.PROXIES[name](tmp_path, int(host.rpartition(":")[2])) as proxy,
    ):
        for path in ("/api/sync", "/api/1.49.0/sync"):
            sock = proxies.connect(proxy)
            with connect(f"ws://shop.example{path}", sock=sock, compression=None) as connection:
                client = SyncClient(connection)
                assert client.results[client.subscribe("testProxies:countLamps")] == 0.0
        with closing(http.client.HTTPConnection("shop.example")) as stream:
            stream.sock = proxies.connect(proxy)
            stream.request("GET", "/lamps/live", headers={"Host": "shop.example"})
            with stream.getresponse() as response:
                lines = [response.readline() for _ in range(2)]
        assert lines[1] == b"data: 0.0\n"
