"""Which media types a browser may show, without any I/O.

What lives here is the rule; who sends the headers, the app or the store of files, keeps to it elsewhere.
"""

from __future__ import annotations

import re

#: What a file is served as whose type is not known.
UNKNOWN = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}([ \t]*;[ \t]*[\w.+-]+=([\w.+-]+|\"[\w .+-]*\"))*", re.ASCII)
#: Types that cannot carry a script; all others are downloads. Without +: what ends in +xml is XML to a browser.
_INLINE = re.compile(
    r"(image/(png|jpeg|gif|webp|avif|bmp)|(audio|video)/[\w.-]+|text/plain)[ \t]*(;.*)?", re.ASCII | re.IGNORECASE
)


def sendable(media_type: str | None) -> str | None:
    """A media type if it can be sent in a header, or None."""
    return media_type if media_type is not None and _MEDIA_TYPE.fullmatch(media_type) else None


def is_inline(media_type: str) -> bool:
    """Whether a browser may show what has this type, because nothing in it can run."""
    return _INLINE.fullmatch(media_type) is not None
