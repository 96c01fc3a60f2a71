"""A local server of certificates, in place of those of AWS and PayPal, and the keys that sign."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from flask_convex_http.identities.fetch import FetchError
from flask_convex_http.webhooks.remote import RemoteDocuments


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return a key for a name, made once."""
    return rsa.generate_private_key(65537, 2048)


def rsa_signature(name: str, message: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """Sign a message with a named key."""
    return rsa_key(name).sign(message, padding.PKCS1v15(), digest)


def certificate(name: str, *, days: int = 1) -> bytes:
    """Return a self-signed certificate of a named key, valid until that many days from now."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(rsa_key(name).public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .sign(rsa_key(name), hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def serving_from_memory(documents: dict[str, bytes]) -> RemoteDocuments[x509.Certificate]:
    """Return certificates by their URL, as if they were fetched."""

    def load(url: str) -> x509.Certificate:
        if url not in documents:
            raise FetchError(f"{url} does not exist")
        return x509.load_pem_x509_certificate(documents[url])

    return RemoteDocuments("the tests", load)


@dataclass
class Server:
    """A server with documents by their path.

    Attributes:
        url: Its URL, with a slash at the end.
        documents: The document at each path.
        requests: The paths that were requested, in order.
    """

    url: str = ""
    documents: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving(documents: dict[str, bytes]) -> Iterator[Server]:
    """Yield a server that runs."""
    state = Server(documents=documents)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.respond()

        def respond(self) -> None:
            state.requests.append(self.path)
            body = state.documents.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
