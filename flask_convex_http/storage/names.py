"""Names of files: cleaned when they are stored, and written into `Content-Disposition` (RFC 6266).

A name comes from a client. It may try to leave the folder that it is saved in, to end the header, or to look like
another name by marks that change the direction of text.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

#: The longest name that the usual file systems accept, in bytes of UTF-8.
_MAX_BYTES = 255
#: The longest ending that is kept if a name is shortened.
_MAX_ENDING = 20
_SEPARATORS = re.compile(r"[/\\]")
#: Control characters, halves of surrogate pairs, separators of lines, and the marks of Unicode's Bidi_Control.
_REMOVED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
#: Characters that need no escape in a quoted string. Some browsers decode a `%` in it (RFC 6266, appendix D).
_UNQUOTABLE = re.compile(r'[^ !#$&-\[\]-~]|["\\%]')
#: attr-char of RFC 8187, besides letters and digits.
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"


def clean_name(name: str | None) -> str | None:
    """Return the name that is stored for a file: the last part of a path, without characters that mislead.

    Args:
        name: The name that a client or the application gave.

    Returns:
        A name of at most 255 bytes, or None if nothing is left of it.
    """
    if name is None:
        return None
    last = _SEPARATORS.split(_REMOVED.sub("", name))[-1]
    return _shortened(last.strip().rstrip(". ")) or None


def disposition(kind: str, name: str | None) -> str:
    """Return a `Content-Disposition` header.

    Args:
        kind: `inline` or `attachment`.
        name: A cleaned name, or None.
    """
    if name is None:
        return kind
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    fallback = _UNQUOTABLE.sub("_", plain) if plain.strip(" ._") else "file"
    if fallback == name:
        return f'{kind}; filename="{name}"'
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"


def _shortened(name: str) -> str:
    """Cut a name to the longest one, and keep its ending."""
    if len(name.encode()) <= _MAX_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _MAX_ENDING:
        stem, dot, ending = name, "", ""
    room = _MAX_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + dot + ending
