"""The ways of writing one and the same signature: in hexadecimal or base64, behind this prefix or that.

For finding out that a signature is right and only written otherwise than a provider expects. Nothing is verified here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LONGEST = 512
#: Bytes of a digest, of a key's or an elliptic curve's signature.
_SIZES = frozenset({16, 20, 28, 32, 48, 64})
_PREFIXED = re.compile(r"([A-Za-z0-9]{1,12}[=,])(.+)")
_PREFIXES = ("", "sha256=", "sha1=", "sha512=", "v0=", "v1=", "v1,")


@dataclass(frozen=True, slots=True)
class Form:
    """A signature as it was sent, and another way to write it.

    Attributes:
        sent: How it was sent, in words.
        wanted: How the other way is, in words.
        value: The signature in the other way.
    """

    sent: str
    wanted: str
    value: str = field(repr=False)


def forms(value: str) -> Iterator[Form]:
    """The other ways of writing a signature.

    Args:
        value: The header's value as received.
    """
    value = value.strip()
    if len(value) > _LONGEST or not value.isascii():
        return
    for prefix, text in _split(value):
        for encoding, signature in _decoded(text):
            for other in dict.fromkeys((prefix, *_PREFIXES)):
                for wanted, written in _encoded(signature):
                    yield Form(_words(encoding, prefix), _words(wanted, other), other + written)


def _split(value: str) -> Iterator[tuple[str, str]]:
    prefixed = _PREFIXED.fullmatch(value)
    if prefixed:
        yield prefixed[1], prefixed[2]
    yield "", value


def _decoded(text: str) -> Iterator[tuple[str, bytes]]:
    try:
        signature = binascii.unhexlify(text)
        if len(signature) in _SIZES:
            yield "hexadecimal", signature
    except ValueError:
        pass
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        signature = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        return
    if len(signature) in _SIZES:
        yield "base64" if text == base64.b64encode(signature).decode() else "base64 of another kind", signature


def _encoded(signature: bytes) -> Iterator[tuple[str, str]]:
    yield "hexadecimal", signature.hex()
    yield "base64", base64.b64encode(signature).decode()


def _words(encoding: str, prefix: str) -> str:
    return f"{encoding} behind {prefix!r}" if prefix else f"{encoding} without a prefix"
