"""Keyed hashes of credentials and signatures of URLs, from the deployment's secret.

Each purpose has a key of its own, so that a signature for one purpose is invalid for every other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from itsdangerous import Signer


class Signing:
    """Keys derived from one secret.

    Args:
        load: Returns the secret. Called once, at first use.
    """

    def __init__(self, load: Callable[[], str]) -> None:
        self._load = load
        self._secret: str | None = None
        self._signers: dict[str, tuple[Signer, bytes]] = {}

    def digest(self, purpose: str, text: str) -> str:
        """Return a keyed BLAKE2b hash of a text, as 64 hexadecimal digits. It takes half the time of an HMAC."""
        return hashlib.blake2b(text.encode(), key=self._of(purpose)[1], digest_size=32).hexdigest()

    def key(self, purpose: str) -> bytes:
        """Return the key of a purpose, 32 bytes."""
        return self._of(purpose)[1]

    def sign(self, purpose: str, text: str) -> str:
        """Return the signature of a text, in characters that a URL needs not escape."""
        return self._of(purpose)[0].get_signature(text).decode()

    def verify(self, purpose: str, text: str, signature: str) -> bool:
        """Return whether a signature is the one of a text, compared in constant time."""
        try:
            return signature.isascii() and self._of(purpose)[0].verify_signature(text, signature)
        except UnicodeEncodeError:  # a text with a lone surrogate was never signed
            return False

    def _of(self, purpose: str) -> tuple[Signer, bytes]:
        found = self._signers.get(purpose)
        if found is None:
            if self._secret is None:
                self._secret = self._load()
            signer = Signer(
                self._secret, salt=f"flask_convex_http.{purpose}", key_derivation="hmac", digest_method=hashlib.sha256
            )
            found = self._signers[purpose] = (signer, signer.derive_key())
        return found
