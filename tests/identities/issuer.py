"""An OpenID Connect issuer on loopback: a real HTTP server with keys that rotate, and faults."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = Any
AUDIENCE = "convex"


@cache
def private_key(algorithm: str, number: int = 0) -> PrivateKey:
    """Return a private key, the same for each number. RSA keys take a tenth of a second to make."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


def jwk_of(algorithm: str, key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    """Return the public key of a private one as an entry of a JWKS."""
    makers: dict[str, Any] = {
        "RS256": jwt.algorithms.RSAAlgorithm,
        "ES256": jwt.algorithms.ECAlgorithm,
        "EdDSA": jwt.algorithms.OKPAlgorithm,
    }
    public: dict[str, Any] = makers[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid, "alg": algorithm, "use": "sig", **more}


class Issuer:
    """An issuer whose keys and faults a test chooses.

    Attributes:
        url: The issuer.
        keys: The keys of its JWKS.
        requests: The paths that were requested.
        is_down: Whether it responds with 503.
        delay: Seconds before each response.
        may_respond: An event without which it does not respond.
        padding: Bytes that are added to the JWKS.
        discovery: Changes of the discovery document.
        content_type: The content type of its responses.
    """

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.is_down = False
        self.delay = 0.0
        self.may_respond = threading.Event()
        self.may_respond.set()
        self.padding = 0
        self.discovery: dict[str, Any] = {}
        self.content_type = "application/json"
        self.raw: bytes | None = None
        self.add_key("ES256", "key_1")

    def add_key(self, algorithm: str, kid: str, number: int = 0, **more: Any) -> None:
        """Add a key to the JWKS."""
        self.keys.append(jwk_of(algorithm, private_key(algorithm, number), kid, **more))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a good token, with changes; None leaves a claim out.

        It was issued a minute ago, because a clock of a test stands still while keys are made.
        """
        now = int(time.time())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "user_1", "iat": now - 60, "exp": now + 600}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(
        self, algorithm: str = "ES256", kid: str | None = "key_1", number: int = 0, headers: Any = None, **changes: Any
    ) -> str:
        """Return a signed token."""
        key, named = private_key(algorithm, number), {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**changes), key, algorithm, headers=named | (headers or {}))

    def body(self, path: str) -> bytes:
        """Return the document at a path."""
        if path.endswith("/openid-configuration"):
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/jwks.json"} | self.discovery).encode()
        return json.dumps({"keys": self.keys, "padding": "x" * self.padding}).encode() if self.raw is None else self.raw


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Yield an issuer whose server runs."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            time.sleep(issuer.delay)
            issuer.may_respond.wait(30)
            body = issuer.body(self.path)
            self.send_response(503 if issuer.is_down else 200)
            self.send_header("Content-Type", issuer.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return  # the client has had enough

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def encoded(part: Any) -> str:
    """Return a part of a token as base64: an object as JSON, bytes as they are."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
