"""Parsing of the Range header."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_convex_http.web.responses.byte_ranges import ByteRange, RangeNotSatisfiable, parse

SIZE = 10
HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=0-9", (0, 10)),
        ("bytes=5-100", (5, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-500", (0, 10)),
        (f"bytes=-{HUGE}", (0, 10)),
        (f"bytes=3-{HUGE}", (3, 10)),
        (f"bytes={'0' * 5000}3-{'0' * 5000}4", (3, 5)),
        ("BYTES=2-5", (2, 6)),
        ("bytes= 2-5\t", (2, 6)),
        ("bytes=,2-5, ,", (2, 6)),
    ],
)
def test_satisfiable_range(header: str, expected: tuple[int, int]) -> None:
    """A range that the file has, if only in part, is returned, cut to the file's size."""
    assert parse(header, SIZE) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", f"bytes={HUGE}-", "bytes=-0", "bytes=-000"])
def test_unsatisfiable_range(header: str) -> None:
    """A well-formed range beyond the file raises RangeNotSatisfiable, with the Content-Range of the 416 response."""
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse(header, SIZE)
    assert (caught.value.status, caught.value.content_range) == (416, "bytes */10")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5",
        "bytes=5-3",
        "bytes=--5",
        "bytes=5--6",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1_0-",
        "bytes=0x1-",
        "bytes=1.0-",
        "bytes=1 - 2",
        "bytes=٣-",
        "bytes=²-",
        "bytes=1-2\n",
        "bytes=1-2;3-4",
        "=1-2",
        "1-2",
        "items=0-1",
        "none=1-2",
        "bytes:1-2",
        "bytes=0-1,3-4",
        "bytes=0-1,x",
        "bytes=20-,30-",
    ],
)
def test_ignored_header(header: str | None) -> None:
    """A header that is missing, malformed, in another unit or with several ranges is ignored."""
    assert parse(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=5-9", "bytes=-0"])
def test_empty_file_has_no_parts(header: str) -> None:
    """An empty file is sent whole, because no Content-Range could name a part of it."""
    assert parse(header, 0) is None


def test_content_range_counts_both_ends() -> None:
    """Content-Range names the last byte, not the byte after it."""
    assert ByteRange(2, 6).content_range(SIZE) == "bytes 2-5/10"


@given(st.integers(0, 30), st.none() | st.integers(0, 30), st.integers(1, 20))
def test_agrees_with_counting(first: int, last: int | None, size: int) -> None:
    """A range holds exactly the positions from the first to the last one named."""
    named = [position for position in range(size) if first <= position <= (size if last is None else last)]
    header = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert parse(header, size) is None
    elif not named:
        with pytest.raises(RangeNotSatisfiable):
            parse(header, size)
    else:
        assert parse(header, size) == (named[0], named[-1] + 1)


@given(st.text() | st.from_regex(r"bytes=[0-9,\- ]*", fullmatch=True), st.integers(0, 2**63 - 1))
@example("bytes=-1", 2**63 - 1)
def test_any_header_is_parsed(header: str, size: int) -> None:
    """Any header yields a part of the file, the whole file or RangeNotSatisfiable."""
    try:
        found = parse(header, size)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.stop <= size
