"""Whether what is stored makes sense: documents match their classes, files have their bytes.

What lives here knows no SQL and no web framework; whether the database itself is sound is asked of the engine and the
store of bytes. Everything is read in constant memory, and nobody who writes has to wait.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from flask_convex_http.engines.base import Snapshot
from flask_convex_http.errors import (
    BlobNotFoundError,
    DocumentValidationError,
    EngineError,
    MigrationRequiredError,
    UnavailableError,
)
from flask_convex_http.ids import table_of
from flask_convex_http.schema.documents import Column, Document, Table
from flask_convex_http.schema.index_ranges import Segment, segments
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.files import Files

Progress = Callable[[int, int], None]

#: How many sentences of one kind are told in full.
_TOLD = 10
#: Seconds after which bytes without a row belong to no upload any more.
_ORPHAN_AGE = 86_400.0
#: Rows of files read in one snapshot, which must not stay open while their bytes are read.
_PAGE = 500
_PROGRESS_STEP = 100


class Findings:
    """What a check has found.

    Attributes:
        problems: What is wrong, a sentence each that says where and what to do.
        notes: What is allowed and may surprise.
        rows: How many rows were looked at, the system's own included.
        files: How many stored files were looked at.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.rows = 0
        self.files = 0


class Check:
    """One look at everything.

    Args:
        files: The database, its schema and the files.
        check_store: Answers what is wrong with the store of bytes itself, a sentence each; None if there is no store
            yet, which only to look must not make.
        remarks: Answers what is allowed and may surprise, a sentence each, of what nobody here knows of.
        read_bytes: Whether to read all bytes of all files and compare their digests.
        progress: Is told how many documents and files were looked at, and how many there are.
    """

    def __init__(
        self,
        files: Files,
        *,
        check_store: Callable[[], list[str]] | None,
        remarks: Callable[[], list[str]] = list,
        read_bytes: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._files = files
        self._check_store = check_store
        self._remarks = remarks
        self._read_bytes = read_bytes
        self._progress = progress
        self._findings = Findings()
        self._done = self._total = 0

    def run(self) -> Findings:
        """Look at the engine's tables, the documents, the files.

        Raises:
            MigrationRequiredError: There is no database.
        """
        problems = self._findings.problems
        try:
            problems += self._files.engine.check()
            self._check_documents()
            self._findings.notes += self._remarks()
            problems += self._check_store() if self._check_store is not None else []
            self._check_files()
        except MigrationRequiredError:
            if not problems:
                raise
            self._findings.notes.append("Documents and files were not looked at: the database has to be migrated first")
        except EngineError as error:
            is_damage = not isinstance(error, UnavailableError)
            remedy = "; if that is damage, `flask convex restore` mends it" if is_damage else ""
            problems.append(f"The check could not go on ({error}){remedy}")
        return self._findings

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None and (self._done % _PROGRESS_STEP == 0 or self._done >= self._total):
            self._progress(min(self._done, self._total), self._total)

    # --- documents ---------------------------------------------------------------------------------------------------

    def _check_documents(self) -> None:
        with self._files.engine.snapshot() as snapshot:
            tables = self._files.schema.tables.values()
            self._total = sum(map(snapshot.count, tables)) + snapshot.count(self._stored_files)
            for table in tables:
                self._check_table(snapshot, table)

    def _check_table(self, snapshot: Snapshot, table: Table[Any]) -> None:
        mismatches, strangers = _Told(self._findings.problems), _Told(self._findings.notes)
        references = [column for column in table.columns.values() if column.validator.id_markers]
        for row in snapshot.stream(table, Segment(()), descending=False):  # in no order: by no index, which may lie
            self._findings.rows += 1
            self._step()
            document = _document(table, row, mismatches)
            if document is not None:
                self._check_references(snapshot, document, references, strangers)
        mismatches.end(f"{table.name} has {{}} more documents that do not match their class")
        strangers.end(f"{table.name} has {{}} more references to documents that are not there")

    def _check_references(
        self, snapshot: Snapshot, document: Document, columns: Sequence[Column], strangers: _Told
    ) -> None:
        for column in columns:
            for table, value in self._references(document, column):
                if snapshot.get(table, value) is None:
                    strangers.add(f"{document.id} refers to {value}, which is not there (in {column.name})")

    def _references(self, document: Document, column: Column) -> Iterator[tuple[Table[Any], str]]:
        """The ids in a field, each with its table: every text that is one the annotation allows."""
        for value in _texts(msgspec.to_builtins(getattr(document, column.name))):
            table = self._files.schema.likely_table_of(value)
            if table is not None and any(marker.accepts(value) for marker in column.validator.id_markers):
                yield table, value

    # --- files -------------------------------------------------------------------------------------------------------

    @property
    def _stored_files(self) -> Table[StoredFile]:
        return self._files.schema.table_for(StoredFile)

    def _check_files(self) -> None:
        told = _Told(self._findings.problems)
        for row in self._file_rows():
            self._findings.files += 1
            self._step()
            self._check_file(row, told)
        told.end("There are {} more files whose bytes are missing or damaged")
        if self._check_store is not None:
            self._note_orphans()

    def _file_rows(self) -> Iterator[Sequence[Any]]:
        """The rows of all files, oldest first, some at a time."""
        table = self._stored_files
        order = table.indexes["by_creation_time"].columns
        after: list[Any] | None = None
        while True:
            with self._files.engine.snapshot() as snapshot:
                runs = segments(order, (), None, nullable=frozenset(), after=after)
                rows = [row for run in runs for row in snapshot.select(table, run, descending=False, limit=_PAGE)]
            if not rows:
                return
            rows = rows[:_PAGE]
            yield from rows
            after = [rows[-1][1], rows[-1][0]]

    def _check_file(self, row: Sequence[Any], told: _Told) -> None:
        try:
            file = self._stored_files.read(row)
        except EngineError:  # it was told among the documents
            return
        fault = self._fault_of(file)
        if fault is not None and self._is_there(file.id):  # not deleted meanwhile
            told.add(fault)

    def _fault_of(self, file: StoredFile) -> str | None:
        remedy = f"restore the bytes from a backup, or `flask convex files delete {file.id}`"
        if self._check_store is None:
            return f"The file {file.id} has no bytes: there is no store of files; {remedy}"
        try:
            difference = self._difference(file)
        except BlobNotFoundError:
            difference = f"The file {file.id} has no bytes, or not all of them"
        except UnavailableError:  # which says nothing of this file
            raise
        except EngineError as error:
            return f"The bytes of the file {file.id} cannot be read: {error}"
        return difference and f"{difference}; {remedy}"

    def _difference(self, file: StoredFile) -> str | None:
        if not self._read_bytes:
            return None if self._has_size(file) else f"The file {file.id} has more or fewer bytes than {file.size:,}"
        size, digest = _measured(self._files.blobs.read(file.id))
        if size != file.size:
            return f"The file {file.id} has {size:,} bytes instead of {file.size:,}"
        return None if digest == file.sha256 else f"The bytes of the file {file.id} are not those that were stored"

    def _has_size(self, file: StoredFile) -> bool:
        """Whether the last byte is the last one, without reading those before."""
        if file.size < 0:
            return False
        end = self._files.blobs.read(file.id, max(file.size - 1, 0), file.size + 1)
        return sum(map(len, end)) == min(file.size, 1)

    def _note_orphans(self) -> None:
        limit = self._files.clock() / 1000 - _ORPHAN_AGE
        count = sum(not self._is_there(key) for key, _ in self._files.blobs.keys(older_than=limit))
        if count:
            self._findings.notes.append(
                f"The bytes of {count} file{'' if count == 1 else 's'} belong to no row, as a crash may leave them; "
                "`flask convex files sweep` removes them"
            )

    def _is_there(self, file_id: str) -> bool:
        with self._files.engine.snapshot() as snapshot:
            return snapshot.get(self._stored_files, file_id) is not None


class _Told:
    """Sentences of one kind: the first ones in full, the rest as a number."""

    def __init__(self, sentences: list[str]) -> None:
        self._sentences = sentences
        self._count = 0

    def add(self, sentence: str) -> None:
        self._count += 1
        if self._count <= _TOLD:
            self._sentences.append(sentence)

    def end(self, rest: str) -> None:
        """Say how many were left out."""
        if self._count > _TOLD:
            self._sentences.append(rest.format(self._count - _TOLD))


def _document(table: Table[Any], row: Sequence[Any], told: _Told) -> Document | None:
    """The document of a row, if it is one."""
    try:
        document: Document = table.read(row)
        table.row(document)
    except (EngineError, DocumentValidationError) as error:
        told.add(f"The document {row[0]} does not match its class: {error}; replace or delete it")
        return None
    if table_of(row[0]) != table.name:
        told.add(f"The row {row[0]!r} of {table.name} has an id that belongs to no document of it; insert it anew")
        return None
    return document


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for pair in value.items() for part in pair for text in _texts(part))
    elif isinstance(value, Iterable):
        yield from (text for part in value for text in _texts(part))


def _measured(pieces: Iterable[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, base64.b64encode(digest.digest()).decode()
