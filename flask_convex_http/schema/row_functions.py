"""Functions of rows, compiled from source for the columns of one table, as dataclasses and named tuples are."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flask_convex_http.schema.columns import TEXT_KINDS, Kind

D = TypeVar("D")

#: About the bytes of an id.
_ID_BYTES = 40


def constructor(document: type[D], names: Sequence[str]) -> Callable[[Sequence[Any]], D]:
    """Return `lambda row: document(id=row[0], ...)`, which is five times as fast as keyword arguments from a dict.

    Args:
        document: The class.
        names: The fields in the order of a row. They were checked to be identifiers.
    """
    arguments = ", ".join(f"{name}=row[{place}]" for place, name in enumerate(names))
    make = eval(f"lambda row: document({arguments})", {"document": document})
    return typing.cast("Callable[[Sequence[Any]], D]", make)


def size_function(kinds: Sequence[Kind]) -> Callable[[Sequence[Any]], int]:
    """Return a function of a row that returns its bytes, where a character of text counts as one.

    Each row that is read is counted, so it is compiled too.

    Args:
        kinds: The kinds of the columns after the id and the creation time.
    """
    long = [place for place, kind in enumerate(kinds, start=2) if kind in TEXT_KINDS or kind == "blob"]
    others = _ID_BYTES + 8 * (len(kinds) - len(long) + 1)
    terms = " + ".join([str(others), *(f"len(row[{place}] or '')" for place in long)])
    return typing.cast("Callable[[Sequence[Any]], int]", eval(f"lambda row: {terms}"))
