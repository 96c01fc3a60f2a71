"""The floors of a rejected forgery: plain views that read the body and make one call of a cryptographic library.

They are views of Flask, and of a WSGI application that does nothing else. Each has a key of its own and a signature of
something else, so that every request is rejected.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from flask import Flask, Response, jsonify, request

_SECRET = b"a secret of 24 characters"
_OTHER = b"a message that nobody sends"
_REJECTED = b'{"error":"The signature does not match"}'
#: The kinds of signatures by the senders that have another one than an HMAC.
_KINDS = {
    **dict.fromkeys(("gitlab", "postmark", "revenuecat", "telegram"), "secret"),
    **dict.fromkeys(("discord", "ed25519"), "ed25519"),
    **dict.fromkeys(("appstore", "plaid", "sendgrid"), "ecdsa"),
    **dict.fromkeys(("awssns", "googlepubsub", "paypal"), "rsa"),
}


def kind_of(sender: str) -> str:
    """Return the kind of a sender's signatures: "secret", "hmac", "ed25519", "ecdsa" or "rsa"."""
    return _KINDS.get(sender, "hmac")


def path_of(sender: str) -> str:
    """Return the path of the view with the bare check of a sender."""
    return f"/bare/{kind_of(sender)}"


def least_path_of(sender: str) -> str:
    """Return the path of the check of a sender without Flask."""
    return f"/least/{kind_of(sender)}"


def beside(app: Flask) -> Callable[..., Iterable[bytes]]:
    """Return a WSGI application with the checks without Flask, and an app for all other paths."""
    checks = {f"/least/{kind}": matches for kind, matches in _checks(_least_secret).items()}

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        matches = checks.get(environ["PATH_INFO"])
        if matches is None:
            return app(environ, start_response)
        assert not matches(environ["wsgi.input"].read())
        start_response(
            "400 BAD REQUEST", [("Content-Type", "application/json"), ("Content-Length", str(len(_REJECTED)))]
        )
        return [_REJECTED]

    return serve


def add_bare_checks(app: Flask) -> None:
    """Add a view for each kind of signatures."""
    for kind, matches in _checks(_has_secret).items():
        app.add_url_rule(f"/bare/{kind}", f"bare_{kind}", _view(matches), methods=["POST"])


def _view(matches: Callable[[bytes], bool]) -> Callable[[], tuple[Response, int] | str]:
    def view() -> tuple[Response, int] | str:
        if matches(request.get_data()):
            return "OK"
        return jsonify(error="The signature does not match"), 400

    return view


def _checks(has_secret: Callable[[bytes], bool]) -> dict[str, Callable[[bytes], bool]]:
    return {"secret": has_secret, "hmac": _has_hmac, "ed25519": _ed25519(), "ecdsa": _ecdsa(), "rsa": _rsa()}


def _has_secret(body: bytes) -> bool:
    return hmac.compare_digest(request.headers["User-Agent"].encode(), _SECRET)


def _least_secret(body: bytes) -> bool:
    return hmac.compare_digest(_OTHER, _SECRET)


def _has_hmac(body: bytes) -> bool:
    return hmac.compare_digest(hmac.digest(_SECRET, body, "sha256"), b"0" * 32)


def _ed25519() -> Callable[[bytes], bool]:
    private = Ed25519PrivateKey.generate()
    signature, public = private.sign(_OTHER), private.public_key()
    return lambda body: _verifies(lambda: public.verify(signature, body))


def _ecdsa() -> Callable[[bytes], bool]:
    private, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(SHA256())
    signature, public = private.sign(_OTHER, algorithm), private.public_key()
    return lambda body: _verifies(lambda: public.verify(signature, body, algorithm))


def _rsa() -> Callable[[bytes], bool]:
    private, scheme, algorithm = rsa.generate_private_key(65537, 2048), padding.PKCS1v15(), SHA256()
    signature, public = private.sign(_OTHER, scheme, algorithm), private.public_key()
    return lambda body: _verifies(lambda: public.verify(signature, body, scheme, algorithm))


def _verifies(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
