"""The blob stores under test, and the functions that the contract tests run in other processes.

A new store is one line in `MEMBERS`. A function that runs in another process is in this module, because a spawned
process imports it by name.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from flask_convex_http.errors import EngineError
from flask_convex_http.storage.blobs import BlobStore, SQLiteBlobs
from flask_convex_http.storage.blobs.s3 import S3Blobs
from tests import s3

KIB = 1024
MIB = 1024 * KIB


def s3_blobs(folder: Path) -> S3Blobs:
    """Return a store that uploads in parts where SQLite uses several rows; S3's smallest part is 5 MiB."""
    return S3Blobs(s3.url(folder), small=256 * KIB, part=5 * MIB)


#: Opens a store. The same folder is the same store, from any process.
MEMBERS: dict[str, Callable[[Path], BlobStore]] = {
    "sqlite": lambda folder: SQLiteBlobs(folder / "blobs.sqlite"),
    "s3": s3_blobs,
}

#: The peak memory of writing 64 MiB. obstore keeps three parts of 5 MiB until they are sent.
MAX_MEMORY = {"sqlite": 4 * MIB, "s3": 20 * MIB}

#: The exit status of a child that writes to a store which was used before the fork.
WORKED, REFUSED = 0, 2
EXIT_AFTER_FORK = {"sqlite": WORKED, "s3": REFUSED}

_SPAWN = multiprocessing.get_context("spawn")


def start(target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Run a function of this module in a new process, with one end of a pipe as its last argument."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=target, args=(*arguments, there))
    process.start()
    there.close()
    return process, here


def finish(process: BaseProcess) -> int | None:
    process.join(timeout=60)
    exitcode = process.exitcode
    process.close()
    return exitcode


def body_of(name: str, size: int = 600 * KIB) -> bytes:
    """Return bytes that are derived from a name."""
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start_of_piece in range(0, len(body), size):
        yield body[start_of_piece : start_of_piece + size]


def content(store: BlobStore, key: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(store.read(key, start, stop))


def list_keys(store: BlobStore) -> list[str]:
    return [key for key, _ in store.keys(older_than=None)]


# --- functions for other processes ----------------------------------------------------------------------------


def write_from_threads(member: str, folder: Path, name: str, pipe: Connection) -> None:
    """Write three blobs from each of four threads, after the signal that starts all processes."""
    pipe.recv()
    with closing(MEMBERS[member](folder)) as store:
        threads = [threading.Thread(target=_write_three, args=(store, f"{name}-{n}")) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _write_three(store: BlobStore, name: str) -> None:
    for number in range(3):
        key = f"{name}-{number}"
        store.write(key, in_pieces(body_of(key), 50_000))


def write_without_end(member: str, folder: Path, key: str, pipe: Connection) -> None:
    """Write until the process is killed."""

    def pieces() -> Iterator[bytes]:
        for count in range(100_000):
            yield bytes(64 * KIB)
            if count == 40:
                pipe.send("under way")
            if count > 40:
                time.sleep(0.01)

    MEMBERS[member](folder).write(key, pieces())


def write_and_die(member: str, folder: Path, key: str, pipe: Connection) -> None:
    """Write a blob and kill the process as soon as write() has returned, with nothing closed."""
    MEMBERS[member](folder).write(key, [body_of(key)])
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_outlive_the_parent_store(member: str, folder: Path, pipe: Connection) -> None:
    """Use a store, fork, close it in the parent, and then write in the child."""
    store = MEMBERS[member](folder)
    store.write("before", [body_of("before")])
    half_read = store.read("before")
    next(half_read)
    ready, go = os.pipe(), os.pipe()

    def go_on() -> int:
        store.write("child", [body_of("child")])
        os.write(ready[1], b".")
        os.read(go[0], 1)
        store.write("child, later", [body_of("child, later")])
        rest = b"".join(half_read)
        return WORKED if content(store, "before").endswith(rest) and rest else 1

    child = _fork(go_on)
    os.close(ready[1])
    os.read(ready[0], 1)
    store.write("parent", [body_of("parent")])
    store.close()
    os.write(go[1], b".")
    pipe.send(_wait_for(child))


def fork_an_unused_store(member: str, folder: Path, pipe: Connection) -> None:
    """Open a store, fork before its first use, and write in both processes."""
    with closing(MEMBERS[member](folder)) as store:
        child = _fork(lambda: _write_one(store, "child"))
        _write_one(store, "parent")
        pipe.send(_wait_for(child))


def fork_while_threads_write(member: str, folder: Path, pipe: Connection) -> None:
    """Fork repeatedly while threads write, and write in each child and in the parent."""
    with closing(MEMBERS[member](folder)) as store:
        _write_one(store, "before")
        threads = [threading.Thread(target=_write_three, args=(store, f"thread-{n}")) for n in range(2)]
        for thread in threads:
            thread.start()
        statuses = [_write_in_child(store, f"child-{n}") for n in range(5)]
        for thread in threads:
            thread.join()
        store.write("parent", [body_of("parent")])
    pipe.send(statuses)


def _write_in_child(store: BlobStore, key: str) -> int:
    return _wait_for(_fork(lambda: _write_one(store, key)))


def _write_one(store: BlobStore, key: str) -> int:
    store.write(key, [body_of(key)])
    return WORKED


def _fork(work: Callable[[], int]) -> int:
    """Fork a child that exits with the status of `work`, or with REFUSED if the store raises because of the fork."""
    child = os.fork()
    if child:
        return child
    try:
        os._exit(work())
    except EngineError as error:
        os._exit(REFUSED if "forked" in str(error) else 1)
    finally:
        os._exit(1)


def _wait_for(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
