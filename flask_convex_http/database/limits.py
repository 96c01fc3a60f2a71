"""The limits of documents and of what a function reads and returns.

A document that is written is checked once, after its values were encoded: their lengths are known then, and only
structured fields whose type does not bound them are searched for their levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flask_convex_http.config import Settings
from flask_convex_http.errors import FunctionLimitError, UnstorableValueError
from flask_convex_http.nesting import json_exceeds
from flask_convex_http.schema.documents import Table

_MIB = 2**20
#: Changed fields of up to this share of the limit, 1/512, do not make the size of the whole document be computed again.
_SMALL_SHIFT = 9
#: The largest number of bytes of a character in UTF-8.
_WIDEST = 4


class Limits(msgspec.Struct, frozen=True):
    """The limits of one deployment.

    Attributes:
        document_bytes: The largest size of a document, unless its class has `max_bytes=`.
        document_nesting: The largest number of levels of a document, of which the document itself is the first.
        read_bytes: The largest size of all documents that one function reads.
        return_bytes: The largest size of the value that a function returns.
    """

    document_bytes: int = 32 * _MIB
    document_nesting: int = 32
    read_bytes: int = 64 * _MIB
    return_bytes: int = 32 * _MIB

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits in the settings of a deployment."""
        return cls(
            settings.max_document_bytes,
            settings.max_document_nesting,
            settings.max_read_bytes,
            settings.max_return_bytes,
        )

    def check_row(self, table: Table[Any], row: Sequence[Any]) -> None:
        """Check a document that will be written.

        Args:
            table: The table.
            row: The id, the creation time and the stored values of all columns.

        Raises:
            UnstorableValueError: The document is too large, or nested too deeply.
        """
        problem = self.problem(table, row)
        if problem is not None:
            raise UnstorableValueError(f"{table.name}: {problem}", problem)

    def problem(self, table: Table[Any], row: Sequence[Any]) -> str | None:
        """Return the limit that a document is beyond, or None."""
        limit = table.max_bytes or self.document_bytes
        if table.size(row) * _WIDEST > limit and _exact_size(row) > limit:
            setting = "max_bytes= of its class" if table.max_bytes else "CONVEX_MAX_DOCUMENT_BYTES"
            return f"Expected a document of at most {limit:,} bytes ({setting})"
        for place, name, levels in table.nested_columns:
            if levels >= self.document_nesting and self._is_deep(row[place]):
                return (
                    f"Expected at most {self.document_nesting} levels in a document (CONVEX_MAX_DOCUMENT_NESTING) - at "
                    f"`$.{name}`"
                )
        return None

    def needs_row(self, table: Table[Any], changes: Mapping[str, Any]) -> bool:
        """Return whether some changed columns may take a document beyond a limit, which its other columns decide."""
        size = 0
        for value in changes.values():
            if type(value) is str or type(value) is bytes:
                size += len(value)
        if size > (table.max_bytes or self.document_bytes) >> _SMALL_SHIFT:
            return True
        for _, name, levels in table.nested_columns:
            if levels >= self.document_nesting and name in changes and self._is_deep(changes[name]):
                return True
        return False

    def check_result(self, value: Any, name: str) -> None:
        """Check the size of the value that a function returns.

        Raises:
            FunctionLimitError: The value is too large.
        """
        try:
            size = len(_ENCODER.encode(value))
        except (TypeError, ValueError, OverflowError, RecursionError):  # a value that is for Python code only
            return
        if size > self.return_bytes:
            raise FunctionLimitError(
                f"{name} returned {size:,} bytes; a function returns at most {self.return_bytes:,} "
                "(CONVEX_MAX_RETURN_BYTES): return a page, or the URL of a file"
            )

    def _is_deep(self, text: str | None) -> bool:
        return text is not None and json_exceeds(text, self.document_nesting - 1)


#: The limits of a deployment that sets none.
LIMITS = Limits()
#: Encodes values faster than JSON does, in about as many bytes.
_ENCODER = msgspec.msgpack.Encoder()


def _exact_size(row: Sequence[Any]) -> int:
    sizes = [len(value.encode()) if isinstance(value, str) else len(value) for value in row if _has_length(value)]
    return sum(sizes)


def _has_length(value: Any) -> bool:
    return isinstance(value, str | bytes)
