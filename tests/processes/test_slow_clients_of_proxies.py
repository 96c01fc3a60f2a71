"""Slow clients of nginx and Caddy in front of gunicorn, with the configurations of the documentation."""

import http.client
import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.docs.proxies import PROXIES, Proxy, connect
from tests.lengths import LONG
from tests.processes.slow_clients import CHUNKED, LARGE, PARTS, serving
from tests.timing import is_below

CLIENTS = 500


@LONG
@pytest.mark.parametrize("name", PROXIES)
def test_slow_clients_of_a_proxy_do_not_slow_the_app(name: str, tmp_path: Path) -> None:
    """500 slow clients of a proxy leave /health under 100 ms and hold no thread of the app."""
    sent = [*PARTS, CHUNKED, LARGE]
    (tmp_path / "app").mkdir()
    settings = ("flask_convex_http.gunicorn", "--bind", "127.0.0.1:0", "--threads", "4", "--worker-class", "gthread")
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "app", *settings))
        proxy = stack.enter_context(PROXIES[name](tmp_path, server.port))
        for number in range(CLIENTS):
            client = stack.enter_context(connect(proxy))
            client.sendall(sent[number % len(sent)].replace(b"Host: a", b"Host: shop.example"))

        def seconds() -> float:
            """Return the median of some requests, or a tenth of the longest one if that is more."""
            times = [seconds_through(proxy) for _ in range(30)]
            return max(statistics.median(times), max(times) / 10)

        assert is_below(0.1, seconds)


def seconds_through(proxy: Proxy) -> float:
    """Return how long /health takes through a proxy, over a connection that is open."""
    with closing(http.client.HTTPConnection("shop.example")) as connection:
        connection.sock = connect(proxy)
        began = time.monotonic()
        connection.request("GET", "/health")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"status":"ok"}')
        return time.monotonic() - began
