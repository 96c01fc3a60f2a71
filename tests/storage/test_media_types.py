"""Media types: what a page could run, and what an upload URL accepts."""

import pytest

from flask_convex_http.storage.media_types import UNKNOWN, is_inline, matches, neutral

#: The JavaScript types of the WHATWG's MIME Sniffing standard, and further types that browsers run or render.
ACTIVE = [
    "application/ecmascript",
    "application/javascript",
    "application/x-ecmascript",
    "application/x-javascript",
    "text/ecmascript",
    "text/javascript",
    "text/javascript1.0",
    "text/javascript1.1",
    "text/javascript1.2",
    "text/javascript1.3",
    "text/javascript1.4",
    "text/javascript1.5",
    "text/jscript",
    "text/livescript",
    "text/x-ecmascript",
    "text/x-javascript",
    "text/vbscript",
    "application/typescript",
    "text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/xml",
    "application/xml",
    "application/xslt+xml",
    "text/xsl",
    "application/rss+xml",
    "application/mathml+xml",
    "application/xml-dtd",
    "text/css",
    "application/wasm",
    "application/x-shockwave-flash",
    "application/java-archive",
]


@pytest.mark.parametrize("media_type", ACTIVE)
def test_active_types_are_neutral(media_type: str) -> None:
    """A type that a page could run or that a browser renders with scripts is sent as an unknown type."""
    for written in (media_type, media_type.upper(), media_type + "; charset=utf-8", media_type + " ;type=module"):
        assert neutral(written) == UNKNOWN
        assert not is_inline(written)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/pdf",
        "application/json",
        "application/zip",
        "text/csv; charset=utf-8",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "font/woff2",
    ],
)
def test_other_types_are_kept(media_type: str) -> None:
    """A type that no page can run is sent as it was stored."""
    assert neutral(media_type) == media_type


def test_patterns() -> None:
    """A pattern is a type or all types of a kind, without regard to case and parameters."""
    assert matches("image/png", ["image/*"]) and matches("IMAGE/PNG; q=1", ["application/pdf", "Image/Png"])
    assert not matches("image/png", ["image/jpeg", "imag/*"])
    assert not matches(None, ["image/*"]) and matches(None, ["application/*"])
    assert not matches("garbage", ["image/*"])
