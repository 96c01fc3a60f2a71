"""Blobs in a SQLite file of their own, as rows of 256 KiB.

Rules of this module:

* The file is never the main database, so that large files do not delay small commits.
* No transaction spans a call to the caller's code. Each chunk is written and read in a short transaction of its own, so
  that a slow client holds neither the writer nor a snapshot.
* Only the last transaction of a write is synced. In WAL mode that sync covers all frames before it, so the blob is
  durable when it is complete. A delete is not synced. A power cut may restore its bytes without a row, which the sweep
  deletes.
* Errors of sqlite3 and of the file system are translated here.
* `sqlite/` has the connections, the writer queue, the checkpoints and the handling of forks.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlite_utils import Database

from flask_convex_http.engines import Progress
from flask_convex_http.errors import (
    BlobNotFoundError,
    ConvexHTTPError,
    EngineError,
    OverloadedError,
    UnavailableError,
)
from flask_convex_http.sqlite.backups import SQLiteBackups
from flask_convex_http.sqlite.connections import DISK_FAILURES, is_damage
from flask_convex_http.sqlite.file import WRITE_TIMEOUT, SQLiteFile
from flask_convex_http.sqlite.integrity import faults
from flask_convex_http.storage.blobs import sqlite_space
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore, Served, StoredBytes

T = TypeVar("T")

#: Part of the file format: a range is found by division, so a change needs a migration.
CHUNK_BYTES = 256 * 1024
#: Twice SQLite's default reads chunks four times as fast. A larger one slows the commit of a small file.
_PAGE_BYTES = 8192
#: Rows deleted in one transaction, so that a large delete lets other writers in every few milliseconds.
_DELETE_CHUNKS = 16
#: Keys read in one transaction.
_KEYS_PAGE = 500


class _Row(NamedTuple):
    id: int
    size: int
    is_complete: bool


class SQLiteBlobs(BlobStore):
    """A blob store in one SQLite file. It opens nothing before the first call.

    Args:
        path: The database file on a local disk, created with its folder on first use. None is a private temporary file,
            which is deleted with the store.
        timeout: Seconds for which a write waits for others.
    """

    def __init__(self, path: str | PathLike[str] | None = None, *, timeout: float = WRITE_TIMEOUT) -> None:
        temporary = Path(tempfile.mkdtemp(prefix="flask-convex-http-")) if path is None else None
        self.path = Path(path) if path is not None else Path(temporary or "", "blobs.sqlite")
        self._file = SQLiteFile(self.path, _translate, page_bytes=_PAGE_BYTES, can_shrink=True, timeout=timeout)
        self._ready: int | None = None  # the generation of connections whose file has the tables
        # Also at exit: closing the last connection removes the write-ahead log.
        self._finalizer = weakref.finalize(self, _let_go, self._file, temporary, os.getpid())

    def write(self, key: str, chunks: Iterable[bytes], served: Served | None = None) -> StoredBytes:
        """See `BlobStore`."""
        blob = self._claim(key)
        try:
            return self._fill(blob, key, chunks)
        except BaseException:
            # A failed deletion leaves an unfinished blob: it is not readable, and the sweep deletes it.
            with suppress(ConvexHTTPError):
                self._remove(blob)
            raise

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See `BlobStore`."""
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"read({key!r}, start={start}, stop={stop}): count bytes from 0, not from the end")
        row = self._find(key)
        if row is None or not row.is_complete:
            raise BlobNotFoundError(f"There are no bytes under {key!r}")
        return self._stream(row.id, key, start, row.size if stop is None else min(stop, row.size))

    def exists(self, key: str) -> bool:
        """See `BlobStore`."""
        row = self._find(key)
        return row is not None and row.is_complete

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        row = self._find(key)
        if row is not None:
            self._remove(row.id)

    def keys(self, older_than: float | None = None) -> Iterator[tuple[str, float]]:
        """See `BlobStore`."""
        last = -1
        limit = float("inf") if older_than is None else older_than
        query = "SELECT id, key, created FROM blobs WHERE id > ? AND created < ? ORDER BY id LIMIT ?"
        while rows := self._rows(query, last, limit, _KEYS_PAGE):
            last = rows[-1][0]
            yield from ((key, created) for _, key, created in rows)

    def remove_unfinished(self, older_than: float) -> int:
        """See `BlobStore`."""
        if not self.is_created:
            return 0
        found = self._rows("SELECT id FROM blobs WHERE state <> 'complete' AND created < ?", older_than)
        for (blob,) in found:
            self._remove(blob)
        return len(found)

    def total(self) -> tuple[int, int]:
        """See `BlobStore`."""
        rows = self._rows("SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE state = 'complete'")
        count, size = rows[0]
        return count, size

    @property
    def backups(self) -> SQLiteBackups:
        """See `BlobStore`."""
        return SQLiteBackups(self._file, self.path, _has_tables, self._expect_changes, before_create=self._opened)

    @property
    def is_created(self) -> bool:
        """See `BlobStore`."""
        return self.path.exists()

    def check(self) -> list[str]:
        """See `BlobStore`."""
        with self._file.lend() as connection:
            found = faults(connection)
        return [f"The blob store is damaged: {fault}; restore a backup with `restore --files`" for fault in found]

    def free_bytes(self) -> int:
        """See `BlobStore`."""
        if not self.is_created:
            return 0
        with self._opened().lend() as connection:
            return sqlite_space.free_bytes(connection)

    def compact(self, progress: Progress) -> int:
        """See `BlobStore`."""
        return sqlite_space.compact(self._opened(), progress) if self.is_created else 0

    def close(self) -> None:
        """See `BlobStore`."""
        self._finalizer()

    # --- a write, step by step ----------------------------------------------------------------------------

    def _claim(self, key: str) -> int:
        # Random and never reused: a reader of a deleted blob must not get the chunks of the next one.
        blob = secrets.randbits(63)
        insert = "INSERT INTO blobs (id, key, created, state) VALUES (?, ?, ?, 'writing')"

        def claim(connection: Any) -> int:
            values = (blob, key, time.time())
            return int(connection.execute(f"{insert} ON CONFLICT (key) DO NOTHING", values).rowcount)

        if not self._write(claim):
            raise BlobExistsError(f"{key!r} was written before: bytes do not change, write new ones under a new key")
        return blob

    def _fill(self, blob: int, key: str, chunks: Iterable[bytes]) -> StoredBytes:
        digest = hashlib.sha256()
        size = number = 0
        held = bytearray()  # one chunk behind, since the last one is written with the row that completes the blob
        for chunk in _rechunked(chunks):
            digest.update(chunk)
            size += len(chunk)
            if held:
                self._append(blob, key, number, held)
                number += 1
            held = chunk
        stored = StoredBytes(size, digest.digest())
        self._complete(blob, key, number, held, stored)
        return stored

    def _append(self, blob: int, key: str, number: int, chunk: bytearray) -> None:
        self._write(lambda connection: _insert_chunk(connection, blob, key, number, chunk))

    def _complete(self, blob: int, key: str, number: int, chunk: bytearray, stored: StoredBytes) -> None:
        def complete(connection: Any) -> None:
            _insert_chunk(connection, blob, key, number, chunk)
            update = "UPDATE blobs SET size = ?, sha256 = ?, state = 'complete' WHERE id = ?"
            connection.execute(update, (*stored, blob))

        self._write(complete, durable=True)

    # --- reading and removing -----------------------------------------------------------------------------

    def _find(self, key: str) -> _Row | None:
        try:
            rows = self._rows("SELECT id, coalesce(size, 0), state = 'complete' FROM blobs WHERE key = ?", key)
        except UnicodeEncodeError:  # a lone surrogate: nothing was ever written under such a key
            return None
        return _Row(*rows[0]) if rows else None

    def _stream(self, blob: int, key: str, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            number, offset = divmod(start, CHUNK_BYTES)
            rows = self._rows("SELECT data FROM chunks WHERE blob = ? AND number = ?", blob, number)
            piece: bytes = rows[0][0][offset : offset + stop - start] if rows else b""
            if not piece:
                raise BlobNotFoundError(f"The bytes under {key!r} were deleted while they were read")
            start += len(piece)
            yield piece

    def _remove(self, blob: int) -> None:
        # First hide the blob, so that no process reads or completes one with holes. Then delete the chunks in batches.
        # Delete the row last, so that an interrupted delete is still among keys().
        self._write(lambda connection: connection.execute("UPDATE blobs SET state = 'deleting' WHERE id = ?", (blob,)))
        while self._write(lambda connection: _remove_chunks(connection, blob)):
            pass

    def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        # fetchall ends the read transaction, which an unfinished cursor would keep open
        with self._opened().lend() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(query, parameters).fetchall()
            return rows

    def _write(self, work: Callable[[Any], T], *, durable: bool = False) -> T:
        def run(connection: Any) -> T:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with _transaction(connection):
                return work(connection)

        file = self._opened()
        with file.translated():
            return file.write(run, alone=True)

    def _opened(self) -> SQLiteFile:
        """Return the file, created with its tables at the first use."""
        if not self._finalizer.alive:
            raise EngineError(f"{self.path} was closed: make a new store to use it again")
        generation = self._file.connections.generation
        if self._ready != generation:
            self._make()
            self._ready = generation
        return self._file

    def _expect_changes(self) -> None:
        self._ready = None

    def _make(self) -> None:
        def run(connection: Any) -> None:
            with _transaction(connection):
                _create_tables(connection)

        if self._ready is not None and not self.path.exists():
            raise UnavailableError(
                "The file store has been removed",
                detail=f"{self.path} does not exist any more; put it back, restore a backup with `flask convex restore "
                "--files`, or restart the app to begin without files",
            )
        try:
            self._file.create()
        except OSError as error:
            raise UnavailableError(
                "The file store cannot be used at the moment", detail=f"{self.path} cannot be created: {error}"
            ) from error
        with self._file.translated():
            self._file.write(run, alone=True)


@contextmanager
def _transaction(connection: Any) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _remove_chunks(connection: Any, blob: int) -> bool:
    """Delete some chunks, and the row with the last of them. Return whether chunks remain."""
    some = "SELECT rowid FROM chunks WHERE blob = ? LIMIT ?"
    delete = connection.execute(f"DELETE FROM chunks WHERE rowid IN ({some})", (blob, _DELETE_CHUNKS))
    if delete.rowcount == _DELETE_CHUNKS:
        return True
    connection.execute("DELETE FROM blobs WHERE id = ?", (blob,))
    return False


def _insert_chunk(connection: Any, blob: int, key: str, number: int, chunk: bytearray) -> None:
    rows = connection.execute("SELECT 1 FROM blobs WHERE id = ? AND state = 'writing'", (blob,)).fetchall()
    if not rows:
        raise BlobNotFoundError(f"{key!r} was deleted while it was written")
    if chunk:
        connection.execute("INSERT INTO chunks (blob, number, data) VALUES (?, ?, ?)", (blob, number, chunk))


def _rechunked(pieces: Iterable[bytes]) -> Iterator[bytearray]:
    """Yield the same bytes in pieces of CHUNK_BYTES. The last piece may be shorter."""
    held = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            taken = rest[: CHUNK_BYTES - len(held)]
            held += taken
            rest = rest[len(taken) :]
            if len(held) == CHUNK_BYTES:
                yield held
                held = bytearray()
    if held:
        yield held


def _create_tables(connection: Any) -> None:
    database = Database(connection, execute_plugins=False)
    database.create_table(
        "blobs",
        {"id": int, "key": str, "size": int, "sha256": bytes, "created": float, "state": str},
        pk="id",
        not_null={"key", "created", "state"},
        if_not_exists=True,
        strict=True,
    )
    database.table("blobs").create_index(["key"], unique=True, if_not_exists=True)
    database.create_table(
        "chunks",
        {"blob": int, "number": int, "data": bytes},
        pk=("blob", "number"),
        not_null={"data"},
        if_not_exists=True,
        strict=True,
    )


def _has_tables(connection: Any) -> bool:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {"blobs", "chunks"} <= names


def _let_go(file: SQLiteFile, temporary: Path | None, pid: int) -> None:
    file.close()
    if temporary is not None and pid == os.getpid():  # a forked child does not own the folder
        shutil.rmtree(temporary, ignore_errors=True)


def _translate(error: Exception) -> ConvexHTTPError:
    # "locked" is in the messages of SQLITE_BUSY and SQLITE_LOCKED; not every driver has their codes
    if "locked" in str(error):
        return OverloadedError("The file store is busy: try again in a moment")
    kind = UnavailableError if str(error) in DISK_FAILURES or is_damage(error) else EngineError
    return kind(f"The file store failed: {error}")
