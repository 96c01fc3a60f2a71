"""Export a table as CSV or JSON, streamed in constant memory.

The rows are read in pages, each from a snapshot of its own, so that a slow client keeps no snapshot open. Rows that are
written during the export may or may not be in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import msgspec

from flask_convex_http.backend import Backend
from flask_convex_http.operations.pages import pages
from flask_convex_http.schema.documents import Table

#: Spreadsheets run a cell that begins like this as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


def export(backend: Backend, table: Table[Any], form: str) -> Iterator[bytes]:
    """Yield a table in the form "csv" or "json"."""
    documents = _documents(backend, table)
    return _csv(table, documents) if form == "csv" else _json(documents)


def _documents(backend: Backend, table: Table[Any]) -> Iterator[list[dict[str, Any]]]:
    for page in pages(backend.engine, table):
        yield [msgspec.to_builtins(table.read(row)) for row in page]


def _json(documents: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    start = b"[\n"
    for page in documents:
        yield start + b",\n".join(map(msgspec.json.encode, page))
        start = b",\n"
    yield b"[]\n" if start == b"[\n" else b"\n]\n"


def _csv(table: Table[Any], documents: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    names = ["_id", "_creationTime", *table.columns]
    yield _lines([names])
    for page in documents:
        yield _lines([[_cell(document[name]) for name in names] for document in page])


def _lines(rows: list[list[Any]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    """Return a value as a cell. A text that a spreadsheet would run gets an apostrophe, which it does not show."""
    if isinstance(value, (dict, list, bool)):
        return msgspec.json.encode(value).decode()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
