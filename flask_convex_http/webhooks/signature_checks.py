"""Check signatures with public keys of the cryptography package.

Anyone can send forgeries, and most of the time of one is its check. So the schemes are made once, and nothing is
imported for each check.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Digest = Literal["sha1", "sha256", "sha384", "sha512"]

_P256, _P256_SIZE = "secp256r1", 32


def ed25519_matches(key: Any, message: bytes, signature: bytes) -> bool:
    """Return whether the private key of an Ed25519 key made a signature."""
    return _holds(key.verify, signature, message)


def ecdsa_matches(key: Any, message: bytes, signature: bytes, digest: Digest) -> bool:
    """Return whether the private key of an elliptic curve key made a signature, which is in DER."""
    return _holds(key.verify, signature, message, ecdsa_scheme(digest))


def rsa_matches(key: Any, message: bytes, signature: bytes, digest: Digest) -> bool:
    """Return whether the private key of a key made a signature, with PKCS #1 v1.5 padding. It must be an RSA key."""
    return isinstance(key, _kinds().rsa) and _holds(key.verify, signature, message, *_pkcs1(digest))


def jws_matches(key: Any, message: bytes, signature: bytes, algorithm: str) -> bool:
    """Return whether the private key of a key made a signature, by an algorithm of RFC 7518 or RFC 8037.

    Args:
        key: The public key. One of another kind than that of the algorithm matches nothing.
        message: The message.
        signature: The signature. That of ES256 is two numbers of 32 bytes.
        algorithm: ES256, RS256 or EdDSA with Ed25519.
    """
    if algorithm == "ES256":
        return _es256_matches(key, message, signature)
    if algorithm == "RS256":
        return rsa_matches(key, message, signature, "sha256")
    return algorithm == "EdDSA" and isinstance(key, _kinds().ed25519) and ed25519_matches(key, message, signature)


@functools.cache
def ecdsa_scheme(digest: Digest) -> Any:
    """Return ECDSA with a digest."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(_hash(digest))


def _es256_matches(key: Any, message: bytes, signature: bytes) -> bool:
    kinds = _kinds()
    if not isinstance(key, kinds.elliptic) or key.curve.name != _P256 or len(signature) != 2 * _P256_SIZE:
        return False
    numbers = int.from_bytes(signature[:_P256_SIZE], "big"), int.from_bytes(signature[_P256_SIZE:], "big")
    return ecdsa_matches(key, message, kinds.encode(*numbers), "sha256")


def _holds(verify: Callable[..., None], *arguments: Any) -> bool:
    try:
        verify(*arguments)
    except _kinds().invalid:
        return False
    return True


class _Kinds(NamedTuple):
    """The imports of the first check: the kinds of keys, an error, and the encoder of a signature."""

    elliptic: type[Any]
    rsa: type[Any]
    ed25519: type[Any]
    invalid: type[Exception]
    encode: Callable[[int, int], bytes]


@functools.cache
def _kinds() -> _Kinds:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

    return _Kinds(
        ec.EllipticCurvePublicKey,
        rsa.RSAPublicKey,
        ed25519.Ed25519PublicKey,
        InvalidSignature,
        utils.encode_dss_signature,
    )


@functools.cache
def _pkcs1(digest: Digest) -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PKCS1v15(), _hash(digest)


def _hash(digest: Digest) -> Any:
    from cryptography.hazmat.primitives import hashes

    return getattr(hashes, digest.upper())()
