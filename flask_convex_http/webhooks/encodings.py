"""Strict decoding of signatures and keys written in hexadecimal or base64.

Only the one spelling that an encoder writes is accepted, because a text that two decoders read differently helps
forgers.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from flask_convex_http.errors import VerificationError

Encoding = Literal["hex", "base64"]


def decode_signature(value: str, prefix: str, encoding: Encoding) -> bytes:
    """Return the bytes of a signature in a header.

    Args:
        value: The header's value as received.
        prefix: The required text before the signature.
        encoding: "hex" in either case, or "base64" with its padding.

    Raises:
        VerificationError: The prefix is missing, or the rest is not in this encoding.
    """
    if not value.startswith(prefix):
        raise VerificationError("malformed", f"Webhook signature does not start with {prefix}")
    text = value[len(prefix) :]
    try:
        return binascii.unhexlify(text) if encoding == "hex" else decode_base64(text)
    except ValueError as error:
        raise VerificationError("malformed", f"Webhook signature is not {encoding}") from error


def decode_base64(text: str) -> bytes:
    """Decode base64 as an encoder writes it: padded, and without unused bits.

    Raises:
        ValueError: The text is not such base64.
    """
    decoded = binascii.a2b_base64(text)
    # That skips characters, and decodes "QR==" like "QQ==", so one signature would have many spellings.
    if binascii.b2a_base64(decoded, newline=False) != text.encode():
        raise ValueError("not the base64 that an encoder writes")
    return decoded


def decode_key(text: str) -> bytes:
    """Decode the base64 of a key, with or without its padding.

    Raises:
        ValueError: The text is not base64, or empty.
    """
    bare = text.rstrip("=")
    key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    if not key:
        raise ValueError("the key is empty")
    return key
