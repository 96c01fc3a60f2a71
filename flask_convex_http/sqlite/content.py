"""Whether the content of an open database file was replaced in place, as by `cp backup.db convex.db`.

The file stays the same one, so its name and inode tell nothing. But while it is open, only checkpoints write into it.
They keep the mode of the write-ahead log in its header, and never set the schema's counter or the number of pages back.
Backups by SQLite have another mode or a new counter, and a copy of the file from earlier has fewer pages.

A copy with as many pages as now is not noticed. It does no harm unless rows were changed in place and a checkpoint was
made since then: the log has all later pages.
"""

from __future__ import annotations

import os
import struct

#: The start of the header, up to the schema's counter (SQLite's file format, 1.3).
_HEADER = struct.Struct(">16s2x2s8xI8xI")
_MAGIC = b"SQLite format 3\x00"
#: The format versions for writing and reading with a write-ahead log.
_LOGGED = b"\x02\x02"


class Content:
    """The content of the database file when it was last looked at.

    Args:
        descriptor: The open file.
        can_shrink: Whether free pages are given back without a VACUUM.
    """

    __slots__ = ("_can_shrink", "_descriptor", "_is_replaced", "_last", "_seen")

    def __init__(self, descriptor: int, *, can_shrink: bool) -> None:
        self._descriptor = descriptor
        self._can_shrink = can_shrink
        self._is_replaced = False
        self._last = (0, 0)
        self._seen = (0, 0)

    def is_in_place(self) -> bool:
        """Return whether the content can be what checkpoints have written. Once it cannot, it stays so."""
        found = os.fstat(self._descriptor)
        seen = (found.st_mtime_ns, found.st_size)
        if seen != self._seen and not self._is_replaced:
            self._is_replaced = not self._continues()
            self._seen = seen
        return not self._is_replaced

    def _continues(self) -> bool:
        """Return whether the header can follow the last one."""
        header = os.pread(self._descriptor, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            return self._last == (0, 0)  # SQLite has not written a page yet
        magic, versions, pages, schema = _HEADER.unpack(header)
        last, self._last = self._last, (schema, 0 if self._can_shrink else pages)
        return magic == _MAGIC and versions == _LOGGED and self._last >= last
