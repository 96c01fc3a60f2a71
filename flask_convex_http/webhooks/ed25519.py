"""The asymmetric keys of Standard Webhooks (`v1a`): a `whpk_` key verifies, a `whsk_` key signs.

The `cryptography` package is imported when such a key is first used.
Rules: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from flask_convex_http.errors import MissingSecretError
from flask_convex_http.webhooks.encodings import decode_key
from flask_convex_http.webhooks.signature_checks import ed25519_matches

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_PREFIX = "whpk_"
PRIVATE_PREFIX = "whsk_"
_PUBLIC_SIZE = 32
_PRIVATE_SIZE = 64  # the seed, followed by the public key


class PublicKey(bytes):
    """The 32 bytes of a public key, as a type that cannot be confused with the key of an HMAC."""


def public_key(secret: str) -> PublicKey:
    """Return the public key of a `whpk_` or `whsk_` secret.

    Args:
        secret: The serialized key. A private key has its public key in it.

    Raises:
        ValueError: The secret is neither, or malformed.
        MissingSecretError: The cryptography package is not installed.
    """
    if secret.startswith(PRIVATE_PREFIX):
        return PublicKey(_private_key(secret).public_key().public_bytes_raw())
    key = decode_key(secret.removeprefix(PUBLIC_PREFIX))
    if not secret.startswith(PUBLIC_PREFIX) or len(key) != _PUBLIC_SIZE:
        raise ValueError("not a public key")
    _require_cryptography()
    return PublicKey(key)


def verifies(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Return whether a signature of the message was made with the private key of this public key."""
    return ed25519_matches(_loaded(key), message, signature)


@functools.lru_cache(maxsize=64)  # to load a key takes half as long as to verify a signature
def _loaded(key: PublicKey) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(bytes(key))


def sign(secret: str, message: bytes) -> bytes:
    """Sign a message.

    Args:
        secret: A `whsk_` key.
        message: The message to sign.

    Raises:
        ValueError: The secret is not a `whsk_` key, or malformed.
        MissingSecretError: The cryptography package is not installed.
    """
    return _private_key(secret).sign(message)


def _private_key(secret: str) -> Ed25519PrivateKey:
    raw = decode_key(secret.removeprefix(PRIVATE_PREFIX))
    if not secret.startswith(PRIVATE_PREFIX) or len(raw) != _PRIVATE_SIZE:
        raise ValueError("not a private key")
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(raw[:_PUBLIC_SIZE])
    if key.public_key().public_bytes_raw() != raw[_PUBLIC_SIZE:]:
        raise ValueError("the public key in the private key is not its own")
    return key


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingSecretError(
            "A whpk_ key needs the cryptography package: pip install 'cryptography>=42'",
            client_message="The signing secret needs a package that is not installed",
        ) from error
