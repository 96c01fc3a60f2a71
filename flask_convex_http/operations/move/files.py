"""Bring the bytes of files from one store to another, and see that they are there.

The rules of this module:

* Bytes never change under their key, so what is there in its full size was brought before, and is not brought again.
* What is written is read back and compared with the digest in the file's row, by the run that has written it.
* Bytes pass through in pieces; a few files at the same time, since a store may be far away.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from flask_convex_http.errors import BlobNotFoundError
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore
from flask_convex_http.storage.files import served

T = TypeVar("T")
R = TypeVar("R")

#: Files that are brought at the same time.
_AT_ONCE = 8
#: How many sentences are told in full.
_TOLD = 10


@dataclass
class FilesReport:
    """What became of the bytes of files.

    Attributes:
        files: How many files there are.
        bytes: How many bytes they have.
        copied: How many were brought now.
        faults: How many are not as they should be.
        problems: What is wrong with the first of these, a sentence each.
    """

    files: int = 0
    bytes: int = 0
    copied: int = 0
    faults: int = 0
    problems: list[str] = field(default_factory=list)

    def add_fault(self, sentence: str) -> None:
        """One more file is not as it should be."""
        self.faults += 1
        if self.faults <= _TOLD:
            self.problems.append(sentence)


@dataclass(frozen=True)
class FileCopy:
    """Makes one store have the bytes of another.

    Attributes:
        source: Where bytes are from.
        target: Where they go.
        is_file: Whether there is still a file of this id, where bytes are from.
    """

    source: BlobStore
    target: BlobStore
    is_file: Callable[[str], bool]

    def copy(self, files: Iterable[StoredFile], progress: Callable[[int], None]) -> FilesReport:
        """Bring what is missing.

        Args:
            files: The files.
            progress: Is told of bytes that are dealt with.
        """
        return self._report(files, self._bring, progress)

    def verify(self, files: Iterable[StoredFile], progress: Callable[[int], None]) -> FilesReport:
        """Read all bytes in the target and compare their digests; nothing is brought.

        Args:
            files: The files.
            progress: Is told of bytes that are dealt with.
        """
        return self._report(files, self._check, progress)

    def _report(
        self, files: Iterable[StoredFile], work: Callable[[StoredFile], bool], progress: Callable[[int], None]
    ) -> FilesReport:
        report = FilesReport()

        def attempt(file: StoredFile) -> tuple[StoredFile, bool, str | None]:
            try:
                return file, work(file), None
            except _FaultyError as error:
                return file, False, str(error)

        for file, copied, fault in _at_once(attempt, files):
            report.files += 1
            report.bytes += file.size
            report.copied += copied
            progress(file.size)
            if fault is not None and self.is_file(file.id):  # not deleted meanwhile
                report.add_fault(fault)
        return report

    def _bring(self, file: StoredFile) -> bool:
        """Bring one file, if it is not there; whether that was needed."""
        if _has_size(self.target, file):
            return False
        self._write(file)
        try:
            return not self._check(file)
        except _FaultyError:
            self.target.delete(file.id)  # so that the next run brings it again
            raise

    def _write(self, file: StoredFile) -> None:
        try:
            written = self.target.write(file.id, self._read(file), served(file.id, file.content_type))
        except BlobExistsError:  # what a run that was killed has begun
            self.target.delete(file.id)
            written = self.target.write(file.id, self._read(file), served(file.id, file.content_type))
        if _text_of(written.sha256) != file.sha256:
            self.target.delete(file.id)
            raise _FaultyError(f"The bytes of {file.id} in the source are not those that were stored; {_REMEDY}")

    def _read(self, file: StoredFile) -> Iterator[bytes]:
        try:
            yield from self.source.read(file.id)
        except BlobNotFoundError:
            raise _FaultyError(f"The file {file.id} has no bytes in the source, or not all; {_REMEDY}") from None

    def _check(self, file: StoredFile) -> bool:
        """Read one file in the target; never brings anything."""
        digest = hashlib.sha256()
        try:
            for piece in self.target.read(file.id):
                digest.update(piece)
        except BlobNotFoundError:
            raise _FaultyError(f"The file {file.id} has no bytes in the target, or not all") from None
        if _text_of(digest.digest()) != file.sha256:
            raise _FaultyError(f"The bytes of {file.id} in the target are not those that were stored")
        return False


class _FaultyError(Exception):
    """A file's bytes are not as they should be."""


_REMEDY = "restore them from a backup, or delete the file with `flask convex files delete`"


def _has_size(store: BlobStore, file: StoredFile) -> bool:
    """Whether the last byte is the last one, without reading those before."""
    try:
        end = store.read(file.id, max(file.size - 1, 0), file.size + 1)
        return sum(map(len, end)) == min(file.size, 1)
    except BlobNotFoundError:
        return False


def _text_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _at_once(work: Callable[[T], R], values: Iterable[T]) -> Iterator[R]:
    """The results of a work on values, in order, a few at the same time."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    running: deque[Future[R]] = deque()
    try:
        for value in values:
            running.append(pool.submit(work, value))
            if len(running) > 2 * _AT_ONCE:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
