"""Check all stored data: pages and tables, documents against their classes, and files against their bytes.

The engine and the blob store check themselves. Everything is read in constant memory, and no writer waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from flask_convex_http.database.limits import Limits
from flask_convex_http.engines import Row, Snapshot
from flask_convex_http.errors import (
    BlobNotFoundError,
    DocumentValidationError,
    EngineError,
    MigrationRequiredError,
    UnavailableError,
)
from flask_convex_http.ids import has_time, table_of
from flask_convex_http.operations.file_bytes import has_full_size, measure
from flask_convex_http.operations.pages import pages
from flask_convex_http.operations.progress import Meter, Progress
from flask_convex_http.schema.documents import Column, Document, Table
from flask_convex_http.schema.history_tables import CLUSTERED
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.sqlite.file import DAMAGED
from flask_convex_http.storage.files import Files

#: The maximum number of sentences of one kind that are reported in full.
_MAX_SENTENCES = 10
#: Seconds after which a blob without a row cannot belong to a running upload.
_ORPHAN_AGE = 86_400.0


@dataclass
class Findings:
    """The result of a check.

    Attributes:
        problems: One sentence for each problem, with its place and its remedy.
        notes: One sentence for each fact that is allowed but may be unexpected.
        rows: How many rows were checked, those of system tables included.
        files: How many stored files were checked.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: int = 0
    files: int = 0


class Check:
    """A check of one deployment.

    Args:
        files: The database, its schema and the blob store.
        limits: The limits of documents.
        others: Returns problems and notes of tables whose meaning this module does not know.
        read_bytes: Whether to read the bytes of all files and compare their digests.
        progress: Called with the number of documents and files that are checked.
    """

    def __init__(
        self,
        files: Files,
        limits: Limits,
        *,
        others: Callable[[], tuple[list[str], list[str]]],
        read_bytes: bool,
        progress: Progress,
    ) -> None:
        self._files = files
        self._others = others
        self._read_bytes = read_bytes
        self._progress = progress
        self._limits = limits
        self._meter = Meter(progress, 0)
        self._findings = Findings()

    def run(self) -> Findings:
        """Check the database, the documents, the blob store and the files.

        Raises:
            MigrationRequiredError: The database does not exist.
        """
        problems, notes = self._findings.problems, self._findings.notes
        try:
            problems += self._files.engine.check()
            problems += map(str, self._files.engine.undescribed_tables())
            self._check_documents()
            other_problems, other_notes = self._others()
            problems += other_problems
            notes += other_notes
            self._check_files()
        except MigrationRequiredError:
            if not problems:
                raise
            notes.append("Documents and files were not checked: the database has to be migrated first")
        except EngineError as error:
            if isinstance(error, UnavailableError):
                remedy = f": {error.detail}" if error.detail else ""
            else:
                remedy = "; if the database is damaged, `flask convex restore` restores a backup"
            problems.append(f"The check could not continue ({error}){remedy}")
        return self._findings

    # --- documents ---------------------------------------------------------------------------------------------------

    def _check_documents(self) -> None:
        with self._files.engine.snapshot() as snapshot:
            tables = self._files.schema.tables.values()
            total = sum(map(snapshot.count, tables)) + snapshot.count(self._stored_files)
            self._meter = Meter(self._progress, total)
            for table in tables:
                self._check_table(snapshot, table)

    def _check_table(self, snapshot: Snapshot, table: Table[Any]) -> None:
        mismatches, dangling = _Sentences(self._findings.problems), _Sentences(self._findings.notes)
        beyond, misplaced = _Sentences(self._findings.notes), _Sentences(self._findings.notes)
        has_keys = table.name in CLUSTERED or table.former_key is not None
        by_time = has_keys or table.name in self._files.engine.ordered_by_time()
        references = [column for column in table.columns.values() if column.validator.id_markers]
        for row in snapshot.stream(table, Segment(()), descending=False):  # without an index: it may be damaged
            self._findings.rows += 1
            self._meter.advance()
            document = _read_document(table, row, mismatches)
            if document is not None and not by_time and not has_time(row[0], row[1]):
                misplaced.add(f"The document {row[0]} is in the order of its id, which is not of its creation time")
            limit = None if table.system else self._limits.problem(table, row)
            if limit is not None:
                beyond.add(f"The document {row[0]} is beyond a limit and cannot be written again: {limit}")
            if document is not None:
                self._check_references(snapshot, document, references, dangling)
        mismatches.end(f"{table.name} has {{}} more documents that do not match their class")
        beyond.end(f"{table.name} has {{}} more documents beyond a limit")
        misplaced.end(f"{table.name} has {{}} more documents whose ids are not of their creation times")
        dangling.end(f"{table.name} has {{}} more references to documents that do not exist")

    def _check_references(
        self, snapshot: Snapshot, document: Document, columns: Sequence[Column], dangling: _Sentences
    ) -> None:
        for column in columns:
            for table, value in self._references(document, column):
                if snapshot.get(table, value) is None:
                    dangling.add(f"{document.id} refers to {value}, which does not exist (in {column.name})")

    def _references(self, document: Document, column: Column) -> Iterator[tuple[Table[Any], str]]:
        """Yield the ids in a field, each with its table: every text that is an id which the annotation allows."""
        for value in _texts(msgspec.to_builtins(getattr(document, column.name))):
            table = self._files.schema.likely_table_of(value)
            if table is not None and any(marker.accepts(value) for marker in column.validator.id_markers):
                yield table, value

    # --- files -------------------------------------------------------------------------------------------------------

    @property
    def _stored_files(self) -> Table[StoredFile]:
        return self._files.schema.table_for(StoredFile)

    def _check_files(self) -> None:
        blobs = self._files.blobs
        if blobs.is_created:  # else a check would create it
            self._findings.problems += blobs.check()
        faults = _Sentences(self._findings.problems)
        for page in pages(self._files.engine, self._stored_files):
            for row in page:
                self._findings.files += 1
                self._meter.advance()
                self._check_file(row, faults)
        faults.end("There are {} more files with missing or wrong bytes")
        if blobs.is_created:
            self._note_orphans()

    def _check_file(self, row: Row, faults: _Sentences) -> None:
        try:
            file = self._stored_files.read(row)
        except EngineError:  # reported with the documents
            return
        fault = self._fault_of(file)
        if fault is not None and self._exists(file.id):  # a file that was deleted since is no fault
            faults.add(fault)

    def _fault_of(self, file: StoredFile) -> str | None:
        remedy = f"restore the bytes from a backup, or `flask convex files delete {file.id}`"
        if not self._files.blobs.is_created:
            return f"The file {file.id} has no bytes: there is no blob store; {remedy}"
        try:
            difference = self._difference(file)
        except BlobNotFoundError:
            difference = f"The file {file.id} has no bytes, or not all of them"
        except EngineError as error:
            if isinstance(error, UnavailableError) and DAMAGED not in error.detail:  # no fault of this file
                raise
            return f"The bytes of the file {file.id} cannot be read: {error}"
        return difference and f"{difference}; {remedy}"

    def _difference(self, file: StoredFile) -> str | None:
        blobs = self._files.blobs
        if not self._read_bytes:
            is_full = has_full_size(blobs, file)
            return None if is_full else f"The file {file.id} has more or fewer bytes than {file.size:,}"
        size, digest = measure(blobs, file.id)
        if size != file.size:
            return f"The file {file.id} has {size:,} bytes instead of {file.size:,}"
        return None if digest == file.sha256 else f"The bytes of the file {file.id} are not those that were stored"

    def _note_orphans(self) -> None:
        limit = self._files.clock() / 1000 - _ORPHAN_AGE
        count = sum(not self._exists(key) for key, _ in self._files.blobs.keys(older_than=limit))
        if count:
            self._findings.notes.append(
                f"{count} {'blob has' if count == 1 else 'blobs have'} no file, as a crash may leave them; "
                "`flask convex files sweep` deletes them"
            )

    def _exists(self, file_id: str) -> bool:
        with self._files.engine.snapshot() as snapshot:
            return snapshot.get(self._stored_files, file_id) is not None


class _Sentences:
    """Sentences of one kind: the first ones in full, the rest as a number."""

    def __init__(self, sentences: list[str]) -> None:
        self._sentences = sentences
        self._count = 0

    def add(self, sentence: str) -> None:
        self._count += 1
        if self._count <= _MAX_SENTENCES:
            self._sentences.append(sentence)

    def end(self, rest: str) -> None:
        """Add how many sentences were left out."""
        if self._count > _MAX_SENTENCES:
            self._sentences.append(rest.format(self._count - _MAX_SENTENCES))


def _read_document(table: Table[Any], row: Row, mismatches: _Sentences) -> Document | None:
    """Return the document of a row, or None if it does not match its class."""
    try:
        document: Document = table.read(row)
        table.row(document)
    except (EngineError, DocumentValidationError) as error:
        mismatches.add(f"The document {row[0]} does not match its class: {error}; replace or delete it")
        return None
    if table.former_key is None and table_of(row[0]) not in table.id_prefixes:
        mismatches.add(f"The row {row[0]!r} of {table.name} does not have an id of its table; insert it again")
        return None
    return document


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for pair in value.items() for part in pair for text in _texts(part))
    elif isinstance(value, Iterable):
        yield from (text for part in value for text in _texts(part))
