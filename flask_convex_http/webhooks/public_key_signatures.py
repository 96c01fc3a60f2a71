"""Providers for senders that sign with a private key: Ed25519 (Discord) and ECDSA (SendGrid).

The receiver has the public key only, so a leak of its configuration lets nobody forge. Test deliveries are signed with
a private key given as the secret, from which the public one is derived.

The `cryptography` package (the extra `[ed25519]`) is imported when a key is first used.
"""

from __future__ import annotations

import binascii
import functools
from typing import TYPE_CHECKING, Any, Literal, Unpack

from flask_convex_http.errors import MissingSecretError, RegistrationError
from flask_convex_http.webhooks.encodings import Encoding, decode_key
from flask_convex_http.webhooks.signature_checks import ecdsa_matches, ecdsa_scheme, ed25519_matches
from flask_convex_http.webhooks.signed_message import MessageOptions, SignedMessage

if TYPE_CHECKING:
    from flask_convex_http.webhooks.secrets import Secrets

Digest = Literal["sha256", "sha384", "sha512"]

_DIGESTS: tuple[Digest, ...] = ("sha256", "sha384", "sha512")
_RAW_SIZE = 32


class _PublicKeySignature(SignedMessage):
    """A provider whose secret is a public key, or a private one in tests."""

    #: A person cannot choose a key, but it looks like no other secret either.
    issues_secrets = False

    def key(self, secret: str) -> bytes:
        """Return the public key as DER. Line breaks of a PEM may be written as `\\n`, as in a variable."""
        return _public_der(secret.replace("\\n", "\n"), self._is_kind)

    def mistake(self, secret: str) -> str:
        """Return the mistake that a key shows by itself."""
        try:
            self.key(secret)
        except ValueError as error:
            return f"is no public key: {error}"
        except MissingSecretError:
            return ""
        return ""

    def _is_kind(self, key: Any) -> bool:
        raise NotImplementedError


class Ed25519Signature(_PublicKeySignature):
    """Webhooks with an Ed25519 signature, such as Discord's.

    The signed message and the places of the signature, the time and the event are options as in `HmacSignature`.

    Args:
        secret: The public key as 32 bytes in hex or base64, as PEM, or as DER in base64; `from_env(...)`, or a list of
            these. A private key in PEM or DER verifies as its public one, and can sign test deliveries.
        header: The header with the signature.
        encoding: The encoding of the signature: "hex" or "base64".
        **options: As in `HmacSignature`.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    name = "ed25519"

    def __init__(
        self, *, secret: Secrets, header: str, encoding: Encoding = "hex", **options: Unpack[MessageOptions]
    ) -> None:
        super().__init__(secret=secret, header=header, encoding=encoding, **options)

    def _is_kind(self, key: Any) -> bool:
        from cryptography.hazmat.primitives.asymmetric import ed25519

        return isinstance(key, ed25519.Ed25519PublicKey)

    def verify_message(self, message: bytes, signature: bytes, key: bytes) -> bool:
        """Return whether the private key of a public key made a signature."""
        return ed25519_matches(_loaded(key), message, signature)

    def sign_message(self, message: bytes, secret: str) -> bytes:
        """Sign with a private key."""
        signature: bytes = _private(secret).sign(message)
        return signature


class EcdsaSignature(_PublicKeySignature):
    """Webhooks with an ECDSA signature, such as SendGrid's.

    The signed message and the places of the signature, the time and the event are options as in `HmacSignature`.

    Args:
        secret: The public key as PEM, or as DER in base64; `from_env(...)`, or a list of these. A private key verifies
            as its public one, and can sign test deliveries.
        header: The header with the signature.
        encoding: The encoding of the signature: "base64" or "hex".
        digest: The hash: "sha256", "sha384" or "sha512".
        **options: As in `HmacSignature`.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    name = "ecdsa"

    def __init__(
        self,
        *,
        secret: Secrets,
        header: str,
        encoding: Encoding = "base64",
        digest: Digest = "sha256",
        **options: Unpack[MessageOptions],
    ) -> None:
        super().__init__(secret=secret, header=header, encoding=encoding, **options)
        if digest not in _DIGESTS:
            raise RegistrationError(f"digest must be one of {', '.join(_DIGESTS)}, not {digest!r}")
        self._digest = digest

    def _is_kind(self, key: Any) -> bool:
        from cryptography.hazmat.primitives.asymmetric import ec

        return isinstance(key, ec.EllipticCurvePublicKey)

    def verify_message(self, message: bytes, signature: bytes, key: bytes) -> bool:
        """Return whether the private key of a public key made a signature, which is in DER."""
        return ecdsa_matches(_loaded(key), message, signature, self._digest)

    def sign_message(self, message: bytes, secret: str) -> bytes:
        """Sign with a private key."""
        signature: bytes = _private(secret).sign(message, ecdsa_scheme(self._digest))
        return signature


@functools.lru_cache(maxsize=64)
def _loaded(der: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return load_der_public_key(der)


def _public_der(text: str, is_kind: Any) -> bytes:
    """Return the DER of a key in any of its forms.

    Raises:
        ValueError: It is no such key.
        MissingSecretError: The cryptography package is not installed.
    """
    serialization = _serialization()
    key = _load(text)
    key = key.public_key() if hasattr(key, "private_bytes") else key
    if not is_kind(key):
        raise ValueError("it is a key of another algorithm")
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def _private(text: str) -> Any:
    key = _load(text.replace("\\n", "\n"))
    if not hasattr(key, "private_bytes"):
        raise MissingSecretError("A public key only verifies: sign with the private key that belongs to it")
    return key


def _load(text: str) -> Any:
    serialization = _serialization()
    if "-----BEGIN" in text:
        is_private = "PRIVATE KEY-----" in text
        data = text.strip().encode()
        return serialization.load_pem_private_key(data, None) if is_private else serialization.load_pem_public_key(data)
    raw = _decoded(text)
    if len(raw) == _RAW_SIZE:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(raw)
    try:
        return serialization.load_der_public_key(raw)
    except ValueError:
        return serialization.load_der_private_key(raw, None)


def _decoded(text: str) -> bytes:
    """Return the bytes of hex or base64. Line breaks in base64 are left out."""
    bare = "".join(text.split())
    try:
        return binascii.unhexlify(bare)
    except ValueError:
        return decode_key(bare)


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingSecretError(
            "A public key needs the cryptography package: pip install 'cryptography>=42'",
            client_message="The signing secret needs a package that is not installed",
        ) from error
    return serialization
