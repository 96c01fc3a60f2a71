"""Media types that a browser may show."""

from __future__ import annotations

import re

#: The type of a file whose media type is unknown.
UNKNOWN = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}([ \t]*;[ \t]*[\w.+-]+=([\w.+-]+|\"[\w .+-]*\"))*", re.ASCII)
#: Types that cannot contain a script. All others are downloads. There is no `+`, since browsers treat +xml as XML.
_INLINE = re.compile(
    r"(image/(png|jpeg|gif|webp|avif|bmp)|(audio|video)/[\w.-]+|text/plain)[ \t]*(;.*)?", re.ASCII | re.IGNORECASE
)


def sendable(media_type: str | None) -> str | None:
    """Return a media type if it can be sent in a header, or None."""
    return media_type if media_type is not None and _MEDIA_TYPE.fullmatch(media_type) else None


def is_inline(media_type: str) -> bool:
    """Return whether a browser may show files of this type, because they cannot contain a script."""
    return _INLINE.fullmatch(media_type) is not None
