"""Copy the bytes of files to another blob store, and verify them there.

Rules:

* The bytes under a key never change. So a file that has its full size in the target is not copied again.
* Copied bytes are read back and compared with the digest in the file's row.
* Bytes stream through in chunks. Several files are copied at the same time, because a store may be far away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from flask_convex_http.errors import BlobNotFoundError
from flask_convex_http.operations.file_bytes import encoded, has_full_size, measure
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore, StoredBytes
from flask_convex_http.storage.headers import served

#: Copies the bytes of a file, or verifies them; returns whether it copied them.
Work = Callable[[StoredFile], bool | None]

#: Files that are copied at the same time, and files that are read from the database before the next ones.
_THREADS, _BATCH = 8, 100
#: Problems that a report has in full.
_MAX_PROBLEMS = 10
_REMEDY = "restore them from a backup, or delete the file with `flask convex files delete`"


@dataclass
class FilesReport:
    """The files in the target after a run.

    Attributes:
        files: How many files there are.
        bytes: How many bytes they have.
        copied: How many files this run has copied.
        faults: How many files have missing or wrong bytes.
        problems: The first faults, one sentence each.
    """

    files: int = 0
    bytes: int = 0
    copied: int = 0
    faults: int = 0
    problems: list[str] = field(default_factory=list)

    def add_fault(self, problem: str) -> None:
        """Count a fault."""
        self.faults += 1
        if self.faults <= _MAX_PROBLEMS:
            self.problems.append(problem)


@dataclass(frozen=True)
class FilesCopy:
    """Gives one blob store the bytes of another.

    Attributes:
        source: The store to read.
        target: The store to write.
        is_file: Returns whether the source still has a file of this id.
    """

    source: BlobStore
    target: BlobStore
    is_file: Callable[[str], bool]

    def copy(self, files: Iterable[StoredFile], advance: Callable[[int], None]) -> FilesReport:
        """Copy the files that the target does not have in full.

        Args:
            files: The files.
            advance: Receives the size of each file, in bytes.
        """
        return self._report(self._copy, files, advance)

    def verify(self, files: Iterable[StoredFile], advance: Callable[[int], None]) -> FilesReport:
        """Compare all bytes in the target with the digests of the files, and copy nothing.

        Args:
            files: The files.
            advance: Receives the size of each file, in bytes.
        """
        return self._report(self._verify, files, advance)

    def _report(self, work: Work, files: Iterable[StoredFile], advance: Callable[[int], None]) -> FilesReport:
        report = FilesReport()
        for file, is_copied, fault in _attempt_all(work, files):
            report.files += 1
            report.bytes += file.size
            report.copied += is_copied
            advance(file.size)
            if fault is not None and self.is_file(file.id):  # a file that was deleted since is no fault
                report.add_fault(fault)
        return report

    def _copy(self, file: StoredFile) -> bool:
        """Copy a file unless its bytes are there, and return whether it was copied."""
        if self._is_complete(file):
            return False
        try:
            written = self._write(file)
        except BlobNotFoundError:
            raise _FaultError(f"The file {file.id} has no bytes in the source, or not all; {_REMEDY}") from None
        try:
            if encoded(written.sha256) != file.sha256:
                raise _FaultError(f"The bytes of {file.id} in the source are not those that were stored; {_REMEDY}")
            self._verify(file)
        except _FaultError:
            self.target.delete(file.id)  # so that the next run copies it again
            raise
        return True

    def _is_complete(self, file: StoredFile) -> bool:
        try:
            return has_full_size(self.target, file)
        except BlobNotFoundError:
            return False

    def _write(self, file: StoredFile) -> StoredBytes:
        headers = served(file.id, file.content_type, file.name)
        try:
            return self.target.write(file.id, self.source.read(file.id), headers)
        except BlobExistsError:  # part of the file, from a run that was killed
            self.target.delete(file.id)
            return self.target.write(file.id, self.source.read(file.id), headers)

    def _verify(self, file: StoredFile) -> None:
        """Compare the bytes in the target with the file's digest."""
        try:
            _, digest = measure(self.target, file.id)
        except BlobNotFoundError:
            raise _FaultError(f"The file {file.id} has no bytes in the target, or not all") from None
        if digest != file.sha256:
            raise _FaultError(f"The bytes of {file.id} in the target are not those that were stored")


class _FaultError(Exception):
    """The bytes of a file are missing or wrong."""


def _attempt_all(work: Work, files: Iterable[StoredFile]) -> Iterator[tuple[StoredFile, bool, str | None]]:
    """Copy or verify files, several at a time. Yield each file, whether it was copied, and its fault or None."""
    remaining = iter(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(remaining, _BATCH)):
            yield from pool.map(partial(_attempt, work), batch)


def _attempt(work: Work, file: StoredFile) -> tuple[StoredFile, bool, str | None]:
    try:
        return file, bool(work(file)), None
    except _FaultError as fault:
        return file, False, str(fault)
