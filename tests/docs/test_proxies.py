"""nginx and Caddy with the configurations of the page pass requests on as documented."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.config import Settings
from tests.docs.markdown import DOCS
from tests.docs.proxies import CADDY, NGINX, PROXIES, connect

#: The largest delivery of a webhook: GitHub's.
LARGEST_WEBHOOK = 25 * 2**20


def test_proxies_take_bodies_that_the_app_takes() -> None:
    """The limits of a proxy are at least those of the settings, and it passes requests to gunicorn's port."""
    units = {"m": 2**20, "g": 2**30, "MiB": 2**20, "GiB": 2**30}
    for text, pattern in ((NGINX, r"client_max_body_size (\d+)(\w);"), (CADDY, r"max_size (\d+)(\wiB)")):
        small, large = sorted(int(number) * units[unit] for number, unit in re.findall(pattern, text))
        assert small >= max(Settings().max_body_bytes, LARGEST_WEBHOOK)
        assert large == Settings().max_upload_bytes
    for text in (NGINX, CADDY):
        [port] = set(re.findall(r"127\.0\.0\.1:(\d+)", text))
        assert f"--bind 127.0.0.1:{port} " in (DOCS / "deploy" / "shop.service").read_text(encoding="utf-8")
    assert int(re.findall(r"proxy_read_timeout (\d+)s;", NGINX)[0]) > Settings().write_timeout


@pytest.mark.parametrize("name", PROXIES)
def test_requests_come_through_a_proxy(name: str, tmp_path: Path) -> None:
    """Over HTTPS the app sees the client's address, scheme and host, and the proxy's request id; HTTP is redirected."""
    with upstream() as (port, seen), PROXIES[name](tmp_path, port) as proxy:
        with closing(http.client.HTTPConnection("shop.example")) as connection:
            connection.sock = connect(proxy)
            for path in ("/a", "/api/storage/x"):
                connection.request("GET", path, headers={"Host": "shop.example", "X-Forwarded-For": "192.0.2.1"})
                assert connection.getresponse().read() == b"ok"
                assert seen["X-Forwarded-For"] == "127.0.0.1"
                assert seen["X-Forwarded-Proto"] == "https"
                assert seen["X-Forwarded-Host"] == seen["Host"] == "shop.example"
                assert re.fullmatch(r"[0-9a-f-]{32,36}", seen["X-Request-Id"])
        if proxy.plain is not None:
            with closing(http.client.HTTPConnection("127.0.0.1", proxy.plain, timeout=30)) as connection:
                connection.request("GET", "/a?b=1", headers={"Host": "shop.example"})
                response = connection.getresponse()
                assert (response.status, response.getheader("Location")) == (301, "https://shop.example/a?b=1")
                response.read()


@contextmanager
def upstream() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the port of a server that stands in for gunicorn, and the headers of its last request."""
    seen: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.clear()
            seen.update(self.headers.items())
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments: Any) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, seen
        server.shutdown()
