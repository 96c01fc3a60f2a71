"""Find the stored files that no document refers to.

A file is attached if its id occurs anywhere in a row of another table: in a field `Id[StoredFile]`, in a structured
field, in a text such as a URL, in the arguments of a job or in the body of a delivery. Whatever is in doubt stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import chain
from typing import Any

from flask_convex_http.engines import Row, Snapshot
from flask_convex_http.errors import RegistrationError
from flask_convex_http.ids import Id, new_id
from flask_convex_http.operations.progress import Meter, Progress
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.system_tables import DOCUMENTS, StoredFile
from flask_convex_http.storage.files import TABLE, Files

_FILE_ID = re.compile(TABLE + r"_[0-9a-f]{32}")
_FILE_ID_IN_BYTES = re.compile(_FILE_ID.pattern.encode())


class UnattachedFiles:
    """The files of a deployment that no document refers to.

    Args:
        files: The files.
        delete: Deletes one file.
    """

    def __init__(self, files: Files, delete: Callable[[Id[StoredFile]], None]) -> None:
        self._files = files
        self._delete = delete

    def find(self, older_than: timedelta, progress: Progress) -> list[StoredFile]:
        """Return the files that no row refers to, oldest first.

        Args:
            older_than: Leave younger files alone, whose client may not have attached them yet.
            progress: Receives how many rows are read, and how many there are.

        Raises:
            RegistrationError: No table has a field that could refer to a file, so that all files would be unattached.
                Or there are rows that no class describes, which may refer to files.
        """
        self._check_fields()
        limit = self._files.clock() - older_than.total_seconds() * 1000
        stored = self._files.schema.table_for(StoredFile)
        others = [table for table in self._files.schema.tables.values() if table is not stored]
        with self._files.engine.snapshot() as snapshot:
            meter = Meter(progress, snapshot.count(stored) + sum(map(snapshot.count, others)))
            found = {row[0]: row for row in _rows(snapshot, stored, meter) if row[1] < limit}
            rows = chain.from_iterable(_rows(snapshot, table, meter) for table in others)
            for file_id in chain.from_iterable(map(_file_ids, rows)):
                found.pop(file_id, None)
        files = [stored.read(row) for row in found.values()]
        return sorted(files, key=lambda file: (file.creation_time, file.id))

    def delete(self, files: list[StoredFile], progress: Progress) -> None:
        """Delete files, each in a transaction of its own.

        Args:
            files: Files that `find` has just returned.
            progress: Receives how many are deleted, and how many there are.
        """
        meter = Meter(progress, len(files))
        for file in files:
            if self._files.metadata(file.id) is not None:  # it may be deleted since
                self._delete(Id(file.id))
            meter.advance()

    def _check_fields(self) -> None:
        schema, example = self._files.schema, new_id(TABLE, 0)
        own = {schema.table_for(document).name for document in DOCUMENTS}
        columns = (
            column for name, table in schema.tables.items() if name not in own for column in table.columns.values()
        )
        if not any(marker.accepts(example) for column in columns for marker in column.validator.id_markers):
            raise RegistrationError(
                "No table has a field of the type Id[StoredFile], so that nothing tells which files are in use: write "
                "such a field, or delete files one by one with `flask convex files delete`"
            )
        lost = [table.name for table in self._files.engine.undescribed_tables()]
        if lost:
            raise RegistrationError(
                f"Rows of {', '.join(lost)} may refer to files, and no class describes them: write a class for the "
                'table, or renamed_from="..." in the class of its new name, and migrate'
            )


def _rows(snapshot: Snapshot, table: Table[Any], meter: Meter) -> Iterator[Row]:
    for row in snapshot.stream(table, Segment(()), descending=False):
        meter.advance()
        yield row


def _file_ids(row: Row) -> Iterator[str]:
    """Yield every id of a file that occurs in a row."""
    for value in row:
        if isinstance(value, str):
            yield from _FILE_ID.findall(value)
        elif isinstance(value, bytes):
            yield from (file_id.decode() for file_id in _FILE_ID_IN_BYTES.findall(value))
