"""How signatures and keys are written as text: hexadecimal and base64, read strictly.

Strictly, because a text that two readers understand differently is where forgeries hide: nothing outside the alphabet,
and only the one spelling that an encoder would have written.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from flask_convex_http.errors import VerificationError

Encoding = Literal["hex", "base64"]


def decode_signature(value: str, prefix: str, encoding: Encoding) -> bytes:
    """Read the bytes of a signature out of a header's value.

    Args:
        value: What was received.
        prefix: What must stand before the signature.
        encoding: "hex" (either case) or "base64" (with its padding).

    Raises:
        VerificationError: The prefix is missing, or the rest is not in that encoding.
    """
    if not value.startswith(prefix):
        raise VerificationError("malformed", f"Webhook signature does not start with {prefix}")
    text = value[len(prefix) :]
    try:
        return binascii.unhexlify(text) if encoding == "hex" else decode_base64(text)
    except ValueError as error:
        raise VerificationError("malformed", f"Webhook signature is not {encoding}") from error


def decode_base64(text: str) -> bytes:
    """Read base64 as an encoder writes it: padded, and with no bits left over.

    Raises:
        ValueError: It is anything else.
    """
    decoded = base64.b64decode(text, validate=True)
    # validate=True takes "QR==" for "QQ==": one signature would have many spellings.
    if base64.b64encode(decoded) != text.encode():
        raise ValueError("not the base64 that an encoder writes")
    return decoded


def decode_key(text: str) -> bytes:
    """Read the base64 of a key; the padding may be missing.

    Raises:
        ValueError: It is not base64, or empty.
    """
    bare = text.rstrip("=")
    key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    if not key:
        raise ValueError("the key is empty")
    return key
