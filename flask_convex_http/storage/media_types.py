"""Media types: which of them a browser may show, and which of them it could run."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: The type of a file whose media type is unknown.
UNKNOWN = "application/octet-stream"
PDF = "application/pdf"
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}([ \t]*;[ \t]*[\w.+-]+=([\w.+-]+|\"[\w .+-]*\"))*", re.ASCII)
#: Types that cannot contain a script. All others are downloads. There is no `+`, since browsers treat +xml as XML.
_INLINE = re.compile(r"image/(png|jpeg|gif|webp|avif|bmp)|(audio|video)/[\w.-]+|text/plain", re.ASCII)
#: Types that a page or a browser can run or render as a document or a style sheet. The JavaScript types are those of
#: the WHATWG's MIME Sniffing standard (4.6), all of which contain "script"; XML is what that standard calls XML.
_ACTIVE = re.compile(r".*(script|html|css|xsl|wasm|flash|java).*|.*[/+]xml(-.*)?", re.ASCII)
#: A pattern of an upload URL: a type, or all types of one kind.
_PATTERN = re.compile(r"[\w.+-]{1,100}/([\w.+-]{1,100}|\*)", re.ASCII)


def sendable(media_type: str | None) -> str | None:
    """Return a media type if it can be sent in a header, or None."""
    return media_type if media_type is not None and _MEDIA_TYPE.fullmatch(media_type) else None


def is_inline(media_type: str) -> bool:
    """Return whether a browser may show files of this type, because they cannot contain a script."""
    return _INLINE.fullmatch(_essence(media_type)) is not None


def is_pdf(media_type: str) -> bool:
    """Return whether files of this type are PDF."""
    return _essence(media_type) == PDF


def neutral(media_type: str) -> str:
    """Return the type with which a file is sent: its own, or an unknown one if a page could run it.

    With `nosniff`, browsers run a script and apply a style sheet only if it has the right type, even if it is sent as
    an attachment.
    """
    return UNKNOWN if _ACTIVE.fullmatch(_essence(media_type)) else media_type


def is_pattern(pattern: str) -> bool:
    """Return whether a text is a media type without parameters, or one such as `image/*`."""
    return _PATTERN.fullmatch(pattern) is not None


def matches(media_type: str | None, patterns: Iterable[str]) -> bool:
    """Return whether a media type is one of those that the patterns allow."""
    essence = _essence(sendable(media_type) or UNKNOWN)
    kind = essence.partition("/")[0] + "/*"
    return any(pattern.lower() in (essence, kind) for pattern in patterns)


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()
