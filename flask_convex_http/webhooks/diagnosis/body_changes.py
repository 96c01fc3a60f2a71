"""Signs that a body was changed after it was signed.

A signature covers the exact bytes. A proxy or framework that parses a body and writes it again changes them, although
the data stays the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

#: Bytes of the longest body that is written again.
LONGEST = 1024 * 1024
_LENGTH = re.compile(r"[0-9]{1,12}", re.ASCII)
#: How senders write JSON: compact, as Python does by default, and indented.
_LAYOUTS: tuple[dict[str, Any], ...] = ({"separators": (",", ":")}, {}, {"indent": 2})


def other_spellings(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a few ways in which the same data may have been written when it was signed.

    Args:
        body: The body as received. Nothing is yielded for one longer than `LONGEST`.

    Yields:
        The change that the body underwent since, as a clause, and the body before it.
    """
    if len(body) > LONGEST:
        return
    for spelling in (body.strip(), body + b"\n", body.replace(b"\r\n", b"\n")):
        if spelling != body:
            yield "its line breaks or the white space around it were changed", spelling
    with suppress(ValueError, RecursionError):  # not JSON, or text that UTF-8 cannot encode
        document = json.loads(body)
        for layout, is_ascii in product(_LAYOUTS, (False, True)):
            yield (
                "its JSON was parsed and written again",
                json.dumps(document, ensure_ascii=is_ascii, **layout).encode(),
            )


def visible_change(headers: Mapping[str, str], body: bytes) -> str:
    """Return why a body looks changed, as a sentence without its full stop, or an empty string.

    Args:
        headers: The headers as received, with lower-case names.
        body: The whole body as received.
    """
    announced = headers.get("content-length", "")
    if _LENGTH.fullmatch(announced) and int(announced) != len(body):
        return f"Content-Length is {int(announced)} and the body has {len(body)} bytes"
    if not body:
        return "The body is empty"
    if headers.get("content-encoding", "identity") != "identity":
        return "The request has a Content-Encoding, and a signature covers the body before it is compressed"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "The body is not UTF-8"
    return ""
