"""The files that a mutation stores: bytes first, and rows with the commit.

Rules:

* The bytes are collected in memory while the mutation runs. They are written after its last line and before the
  commit, so that a mutation that fails has written none, and a committed row always has its bytes.
* No transaction waits for the network. If the store is remote, the mutation is rolled back, its bytes are written, and
  it runs again. It then commits if it stores the same bytes. From the second run on, all runs have the same `ctx.now`
  and give the same ids, so that bytes that contain them are the same as well.
* A local store is written within the transaction, which spares the second run. Other writers wait for one sync more.
* Bytes that no committed row has are deleted. If the process dies before that, the sweep deletes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TypeVar, cast

import msgspec

from flask_convex_http.database.creation_times import CreationTimes, ReproducibleTimes
from flask_convex_http.engines import Transaction
from flask_convex_http.errors import ConvexHTTPError, FunctionCallError, PayloadTooLargeError, UnavailableError
from flask_convex_http.ids import Id, new_id
from flask_convex_http.log import logger_of
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import StoredBytes
from flask_convex_http.storage.blobs.streams import Data, at_most, chunks_of
from flask_convex_http.storage.files import TABLE, Files
from flask_convex_http.storage.headers import served
from flask_convex_http.storage.names import clean_name

logger = logger_of()

T = TypeVar("T")

#: The maximum size of all files of one mutation, in bytes: they are in memory until it commits.
MAX_BYTES = 64 * 2**20
#: The maximum number of runs of a mutation whose files are in a remote store.
MAX_RUNS = 5

_ONCE = (
    "ctx.storage.store: a mutation may run again, and this data can be read only once; give it bytes, such as "
    'stream.read() or b"".join(chunks), or a file that can seek'
)
_OTHER_BYTES = (
    f"ctx.storage.store: this mutation has stored other bytes in each of {MAX_RUNS} runs. With files in S3 it runs "
    "again after its bytes were uploaded, and commits if they are the same. Make them of arguments, documents and "
    "ctx.now, without the system's time or random values; or store the file in an action or a handler, and pass its id"
)


class UploadNeededError(Exception):
    """The mutation must be rolled back, so that its bytes can be written without a transaction that waits.

    Args:
        files: The files of the mutation.
    """

    def __init__(self, files: NewFiles) -> None:
        super().__init__("A mutation has files for a remote store")
        self.files = files


class NewFile(msgspec.Struct, eq=False):
    """A file that a mutation stores.

    Attributes:
        id: Its id.
        stored: Its size and digest.
        content_type: Its media type.
        name: Its cleaned name.
        data: Its bytes, or None once they are in the store.
    """

    id: str
    stored: StoredBytes
    content_type: str | None
    name: str | None
    data: bytes | None


class NewFiles:
    """The files that one mutation stores, in all of its runs.

    Args:
        files: The files of the deployment.

    Attributes:
        times: The creation times of a run that repeats another one, or None in the first run.
    """

    __slots__ = ("_current", "_files", "_is_last_run", "_written", "times")

    def __init__(self, files: Files) -> None:
        self._files = files
        #: The files of this run.
        self._current: list[NewFile] = []
        #: Those whose bytes were written, in this run or an earlier one.
        self._written: list[NewFile] = []
        self._is_last_run = False
        self.times: ReproducibleTimes | None = None

    # --- while the mutation runs -----------------------------------------------------------------------------------

    def add(
        self, transaction: Transaction, times: CreationTimes, data: Data, content_type: str | None, name: str | None
    ) -> Id[StoredFile]:
        """Store a file if and when the mutation commits, and return its id.

        Args:
            transaction: The transaction of the mutation, which gets the row.
            times: Assigns the creation time.
            data: The bytes.
            content_type: Their media type.
            name: The name of the file, which is cleaned.

        Raises:
            FunctionCallError: The data can be read only once, or the last run stores other bytes than all others.
            PayloadTooLargeError: The mutation stores too many bytes.
        """
        content, name = _content_of(data, MAX_BYTES - self._size()), clean_name(name)
        stored = StoredBytes(len(content), hashlib.sha256(content).digest())
        file = self._known(stored, content_type, name)
        if file is None and self._is_last_run:
            raise FunctionCallError(_OTHER_BYTES)
        if file is None:
            file = NewFile(new_id(TABLE, self._files.clock()), stored, content_type, name, content)
        self._files.insert_row(transaction, times, file.id, stored, content_type, name)
        self._current.append(file)
        return Id(file.id)

    def mark(self) -> int:
        """Return the number of files, for `roll_back`."""
        return len(self._current)

    def roll_back(self, mark: int) -> None:
        """Drop the files since a mark, because the transaction was rolled back to a savepoint, or to its start."""
        del self._current[mark:]

    def _size(self) -> int:
        return sum(file.stored.size for file in self._current)

    def _known(self, stored: StoredBytes, content_type: str | None, name: str | None) -> NewFile | None:
        """Return a file with these bytes that was written for an earlier run, and that this run has not stored yet."""
        for file in self._written:
            is_same = (file.stored, file.content_type, file.name) == (stored, content_type, name)
            if is_same and file not in self._current:
                return file
        return None

    # --- around its transactions -----------------------------------------------------------------------------------

    def before_commit(self) -> None:
        """Make sure that the bytes of this run are in the store.

        Raises:
            UploadNeededError: The transaction must end first.
            EngineError: The bytes cannot be written.
        """
        if self._files.blobs.is_remote and any(file.data is not None for file in self._current):
            raise UploadNeededError(self)
        self._write()

    def repeat(self, run: Callable[[], T], times: CreationTimes) -> T:
        """Write the bytes of the last run, outside of its transaction, and run the mutation again until they agree.

        Args:
            run: Runs the mutation in a new transaction, and commits.
            times: The creation times of other transactions.

        Raises:
            Exception: The error of the mutation or of the store. The bytes are deleted.
        """
        try:
            self._write()
            self.times = ReproducibleTimes(self._files.clock(), times)
            for _ in range(MAX_RUNS - 2):
                with suppress(UploadNeededError):
                    return run()
                self._write()
            self._is_last_run = True
            return run()
        except Exception as error:
            self.delete_unused(error)
            raise

    def delete_unused(self, error: BaseException | None = None) -> None:
        """Delete the bytes that were written and have no row.

        Args:
            error: The error of the mutation. After an unknown outcome of its commit nothing is deleted.
        """
        if isinstance(error, UnavailableError):
            return
        used = self._current if error is None else ()
        for file in self._written:
            if file not in used:
                self._delete(file)

    def _write(self) -> None:
        for file in self._current:
            if file.data is not None:
                headers = served(file.id, file.content_type, file.name)
                self._files.blobs.write(file.id, chunks_of(file.data), headers)
                file.data = None
                self._written.append(file)

    def _delete(self, file: NewFile) -> None:
        try:
            self._files.blobs.delete(file.id)
        except ConvexHTTPError as error:
            logger.warning("The bytes of %s could not be removed, and are left to the sweep: %s", file.id, error)


def _content_of(data: Data, most: int) -> bytes:
    """Return data as bytes. A file is left where it was, since the mutation may run again.

    Raises:
        FunctionCallError: The data can be read only once.
        PayloadTooLargeError: It is more than `most` bytes.
    """
    if isinstance(data, bytes) and len(data) <= most:
        return data
    if hasattr(data, "read"):
        return _content_of_file(cast(IO[bytes], data), most)
    if iter(data) is data:
        raise FunctionCallError(_ONCE)
    return _joined(data, most)


def _content_of_file(file: IO[bytes], most: int) -> bytes:
    if not hasattr(file, "seekable") or not file.seekable():
        raise FunctionCallError(_ONCE)
    start = file.tell()
    try:
        return _joined(file, most)
    finally:
        file.seek(start)


def _joined(data: Data, most: int) -> bytes:
    try:
        return b"".join(at_most(chunks_of(data), most))
    except PayloadTooLargeError as error:
        raise _too_large() from error


def _too_large() -> PayloadTooLargeError:
    error = PayloadTooLargeError(
        f"ctx.storage.store: a mutation stores at most {MAX_BYTES:,} bytes in files, since they are in memory; store "
        "larger ones in an action or in a handler that is no mutation, and pass their ids"
    )
    error.client_message = "The file is too large"
    return error
