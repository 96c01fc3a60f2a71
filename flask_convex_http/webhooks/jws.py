"""JSON Web Signatures in compact form (RFC 7515), taken apart once.

Anyone may send a forged token, so one must cost little. PyJWT decodes each part of a token several times and character
by character, which takes ten times as long as the signature of a token with certificates.
"""

from __future__ import annotations

import binascii
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.webhooks.parsing import parse_object
from flask_convex_http.webhooks.signature_checks import jws_matches

#: Headers that are kept, and bytes of an encoded one. One with three certificates has six thousand. Anyone can send
#: headers of many small objects, which take twenty times as much memory as their bytes.
_MOST_KEPT, _LONGEST_KEPT = 16, 8 * 1024
_FROM_URL_SAFE, _TO_URL_SAFE = bytes.maketrans(b"-_", b"+/"), bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True)
class Jws:
    """A signed text, of which nothing is known to be true before `is_signed`.

    Attributes:
        signed: The bytes that the signature covers.
        signature: The signature.
    """

    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def of(cls, token: str) -> Jws:
        """Take a token apart.

        Raises:
            VerificationError: It is none.
        """
        signed, _, signature = token.rpartition(".")
        if signed.count(".") != 1 or not token.isascii():
            raise _malformed()
        return cls(signed.encode(), _decoded(signature))

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """The header."""
        part = self.signed.partition(b".")[0]
        return _kept_object(part) if len(part) <= _LONGEST_KEPT else _object(part)

    @cached_property
    def claims(self) -> dict[str, Any]:
        """The claims."""
        return _object(self.signed.partition(b".")[2])

    def names(self, algorithm: str) -> bool:
        """Return whether the header names an algorithm, and no extension that must be understood (RFC 7515, 4.1.11)."""
        return self.header.get("alg") == algorithm and "crit" not in self.header

    def is_signed(self, algorithm: str, key: Any) -> bool:
        """Return whether a key made the signature.

        Args:
            algorithm: The algorithm, which the receiver chooses: ES256, RS256 or EdDSA.
            key: The public key, as an object of the cryptography package.
        """
        return self.names(algorithm) and jws_matches(key, self.signed, self.signature, algorithm)


def require_pyjwt() -> Any:
    """Return the package PyJWT.

    Raises:
        MissingSecretError: It or the cryptography package is not installed.
    """
    try:
        import cryptography  # noqa: F401
        import jwt
    except ImportError as error:
        raise MissingSecretError(
            "Webhooks with a JWT need PyJWT and cryptography: pip install 'pyjwt>=2.10' 'cryptography>=42'",
            client_message="The webhook needs a package that is not installed",
        ) from error
    return jwt


@functools.lru_cache(_MOST_KEPT)
def _kept_object(part: bytes) -> Mapping[str, Any]:
    """Return the header of tokens. A sender's has its key and the like, so that all of its tokens have the same."""
    return _object(part)


def _object(part: bytes) -> dict[str, Any]:
    return parse_object(_decoded(part.decode()))


def _decoded(part: str) -> bytes:
    """Decode base64url as an encoder writes it: without padding and unused bits.

    Raises:
        VerificationError: The text is not such base64url.
    """
    given = part.encode()
    try:
        decoded = binascii.a2b_base64(given.translate(_FROM_URL_SAFE) + b"==")
    except ValueError as error:
        raise _malformed() from error
    encoded = binascii.b2a_base64(decoded, newline=False).translate(_TO_URL_SAFE)
    if encoded.rstrip(b"=") != given:  # that skips characters, and one signature would have many spellings
        raise _malformed()
    return decoded


def _malformed() -> VerificationError:
    return VerificationError("malformed", "Webhook token is malformed")
