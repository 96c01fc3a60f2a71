"""nginx with the configuration of the page passes requests on as documented."""

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.config import Settings
from tests.docs.markdown import DOCS

CONFIGURATION = (DOCS / "deploy" / "nginx.conf").read_text(encoding="utf-8")


def test_nginx_takes_bodies_that_the_app_takes() -> None:
    """nginx's limits are the defaults of the settings, and it passes requests to gunicorn's port."""
    small, large = re.findall(r"client_max_body_size (\d+)([mg]);", CONFIGURATION)
    units = {"m": 2**20, "g": 2**30}
    assert int(small[0]) * units[small[1]] >= Settings().max_body_bytes
    assert int(large[0]) * units[large[1]] == Settings().max_upload_bytes
    [port] = re.findall(r"server 127\.0\.0\.1:(\d+);", CONFIGURATION)
    assert f"--bind 127.0.0.1:{port} " in (DOCS / "deploy" / "shop.service").read_text(encoding="utf-8")
    assert int(re.findall(r"proxy_read_timeout (\d+)s;", CONFIGURATION)[0]) > Settings().write_timeout


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_requests_come_through_nginx(tmp_path: Path) -> None:
    """Over HTTPS the app sees the client's address, scheme and host, and nginx's request id; HTTP is redirected."""
    with upstream() as (port, seen), nginx(tmp_path, port) as (plain, secure):
        context = ssl._create_unverified_context()
        with closing(http.client.HTTPSConnection("127.0.0.1", secure, context=context, timeout=10)) as connection:
            forged = {"Host": "shop.example", "X-Forwarded-For": "192.0.2.1"}
            connection.request("GET", "/api/storage/x", headers=forged)
            assert connection.getresponse().read() == b"ok"
        with closing(http.client.HTTPConnection("127.0.0.1", plain, timeout=10)) as connection:
            connection.request("GET", "/a?b=1", headers={"Host": "shop.example"})
            response = connection.getresponse()
            assert (response.status, response.getheader("Location")) == (301, "https://shop.example/a?b=1")
            response.read()
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == "https"
    assert seen["X-Forwarded-Host"] == seen["Host"] == "shop.example"
    assert re.fullmatch(r"[0-9a-f]{32}", seen["X-Request-Id"])


@contextmanager
def upstream() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the port of a server that stands in for gunicorn, and the headers of its last request."""
    seen: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
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


@contextmanager
def nginx(folder: Path, port: int) -> Iterator[tuple[int, int]]:
    """Yield the HTTP and HTTPS ports of nginx with the configuration of the page, in front of a port."""
    plain, secure = free_port(), free_port()
    certificate(folder)
    text = re.sub(r"^ *listen \[::\].*\n", "", CONFIGURATION, flags=re.MULTILINE)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};").replace(
        "listen 443 ", f"listen 127.0.0.1:{secure} "
    )
    text = text.replace("server 127.0.0.1:8000;", f"server 127.0.0.1:{port};")
    text = re.sub(r"/etc/letsencrypt/live/shop\.example", str(folder), text)
    (folder / "shop.conf").write_text(text, encoding="utf-8")
    temporary = "\n".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy"))
    main = f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
    main += f"http {{ access_log off; {temporary}\ninclude {folder}/shop.conf; }}\n"
    (folder / "nginx.conf").write_text(main, encoding="utf-8")
    command = ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    server = subprocess.Popen(command)
    try:
        wait_for(secure)
        yield plain, secure
    finally:
        server.terminate()
        server.wait(10)


def certificate(folder: Path) -> None:
    """Write a self-signed certificate and its key."""
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=shop.example"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until a server accepts connections."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")
