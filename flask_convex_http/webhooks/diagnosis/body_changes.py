"""What proxies, frameworks and people do to a body on its way, undone: bodies that may be the one that was signed.

A signature covers bytes. Whoever parses a body and writes it again makes other bytes of the same data, and these are
the usual ways. Nothing is verified here.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

#: Bytes of the longest body that is tried.
LONGEST = 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MOST_FIELDS = 1000
#: How a sender may have written its JSON: in words, separators, indentation.
_COMPACT = ("without spaces", (",", ":"), None)
_SPACED = ("with spaces behind commas and colons", (", ", ": "), None)
_LAYOUTS: tuple[tuple[str, tuple[str, str], int | None], ...] = (
    _COMPACT,
    _SPACED,
    ("indented by 2", (",", ": "), 2),
    ("indented by 4", (",", ": "), 4),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that may have been done to a body.

    Attributes:
        what: What was done to it, as a clause.
        before: The body as it was.
    """

    what: str
    before: bytes = field(repr=False)


def changes(body: bytes) -> Iterator[Change]:
    """What may have been done to a body, the likeliest first; no two have the same bytes, and none the body's.

    Args:
        body: The body as received. Of one that is longer than `LONGEST` nothing is answered.
    """
    if len(body) > LONGEST:
        return
    seen = {hashlib.sha256(body).digest()}
    for change in _all(body):
        digest = hashlib.sha256(change.before).digest()
        if digest not in seen and len(change.before) <= 2 * LONGEST:
            seen.add(digest)
            yield change


def _all(body: bytes) -> Iterator[Change]:
    yield from _ends(body)
    yield from _line_breaks(body)  # before JSON, whose lines are broken with LF when it is written again
    yield from _json(body)
    yield from _forms(body)
    yield from _charsets(body)
    yield from _compressions(body)


def _ends(body: bytes) -> Iterator[Change]:
    yield Change("the line break at its end was taken away", body + b"\n")
    yield Change("the line break at its end was taken away", body + b"\r\n")
    yield Change("a line break was added at its end", body.removesuffix(b"\n").removesuffix(b"\r"))
    yield Change("spaces or line breaks were added around it", body.strip())
    yield Change("a byte order mark was added", body.removeprefix(_BYTE_ORDER_MARK))
    yield Change("its byte order mark was taken away", _BYTE_ORDER_MARK + body)


def _line_breaks(body: bytes) -> Iterator[Change]:
    with_lf = body.replace(b"\r\n", b"\n")
    yield Change("its line breaks were turned from LF into CRLF", with_lf)
    yield Change("its line breaks were turned from CRLF into LF", with_lf.replace(b"\n", b"\r\n"))


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json(body: bytes) -> Iterator[Change]:
    try:
        document = json.loads(body.removeprefix(_BYTE_ORDER_MARK).decode())
    except (ValueError, RecursionError):
        return
    for words, separators, indent in _LAYOUTS:
        yield from _written(document, words, separators=separators, indent=indent)
    for words, separators, _ in (_COMPACT, _SPACED):
        yield from _written(document, f"{words}, keys sorted", separators=separators, sort_keys=True)


def _written(document: Any, words: str, **layout: Any) -> Iterator[Change]:
    for escaping, is_ascii in ("", False), (", other characters than ASCII escaped", True):
        try:
            text = json.dumps(document, ensure_ascii=is_ascii, **layout)
        except (ValueError, TypeError, RecursionError):
            return
        what = f"its JSON was parsed and written again (it was signed {words}{escaping}"
        for more, variant in ("", text), (", slashes escaped", text.replace("/", "\\/")):
            with contextlib.suppress(UnicodeEncodeError):  # halves of characters
                yield Change(f"{what}{more})", variant.encode())
                yield Change(f"{what}{more}, with a line break at its end)", variant.encode() + b"\n")
        if text.isascii():  # the same with and without escapes
            return


# --- forms -----------------------------------------------------------------------------------------------------------


def _forms(body: bytes) -> Iterator[Change]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    name, equals, value = text.partition("=")
    for write in (quote_plus, quote):
        yield Change("it was taken out of the form field payload", f"payload={write(text, safe='')}".encode())
        if equals:
            yield Change("the form in it was decoded", f"{name}={write(value, safe='')}".encode())
    with contextlib.suppress(ValueError):  # more fields than any sender's form has, or none
        fields = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
        for write, safe in (quote_plus, ""), (quote_plus, "*"), (quote, ""), (quote, "/"):
            before = urlencode(fields, quote_via=write, safe=safe).encode()
            yield Change("the form in it was parsed and written again", before)


# --- characters and compression --------------------------------------------------------------------------------------


def _charsets(body: bytes) -> Iterator[Change]:
    for charset in ("latin-1", "cp1252"):
        with contextlib.suppress(UnicodeError):
            yield Change(f"its text was turned from {charset} into UTF-8", body.decode().encode(charset))
        with contextlib.suppress(UnicodeError):
            yield Change(f"its text was turned from UTF-8 into {charset}", body.decode(charset).encode())


def _compressions(body: bytes) -> Iterator[Change]:
    with contextlib.suppress(zlib.error):
        # Both of zlib's and gzip's headers; bounded, because a little may unfold to a lot.
        yield Change(
            "it was compressed after it was signed", zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, LONGEST)
        )
    for level in (6, 9):
        yield Change("it was decompressed", gzip.compress(body, level, mtime=0))
