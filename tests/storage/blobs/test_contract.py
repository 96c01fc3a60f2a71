"""The contract of blob stores; each test runs once per member of `members.py`."""

import hashlib
import random
import threading
import time
import tracemalloc
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.errors import BlobNotFoundError
from flask_convex_http.storage.blobs import BlobExistsError, BlobStore
from tests.lengths import LONG, SAMPLED, examples
from tests.storage.blobs import members
from tests.storage.blobs.members import KIB, MEMBERS, MIB, body_of, content, finish, in_pieces, list_keys, start

#: Sizes around the limits of a chunk: nothing, one byte, 256 KiB and its neighbours, 512 KiB.
SIZES = st.one_of(
    st.integers(0, 100),
    st.integers(256 * KIB - 2, 256 * KIB + 2),
    st.integers(512 * KIB - 2, 512 * KIB + 2),
    st.integers(0, 700 * KIB),
)


@pytest.fixture(params=MEMBERS, name="member", scope="module")
def _member(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="store")
def _store(member: str, tmp_path: Path) -> Iterator[BlobStore]:
    store = MEMBERS[member](tmp_path)
    yield store
    store.close()


@pytest.fixture(name="shared_store", scope="module")
def _shared_store(member: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobStore]:
    """Yield one store for hundreds of examples, each of which uses its own key."""
    store = MEMBERS[member](tmp_path_factory.mktemp("shared"))
    yield store
    store.close()


@settings(max_examples=40, deadline=None)
@given(size=SIZES, cuts=st.lists(st.integers(0, 700 * KIB), max_size=12), seed=st.integers(0, 9))
def test_bytes_come_back(shared_store: BlobStore, size: int, cuts: list[int], seed: int) -> None:
    """The bytes are read as they were written, in any pieces, and write() returns their size and SHA-256."""
    key, body = uuid.uuid4().hex, random.Random(seed).randbytes(size)
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    stored = shared_store.write(key, (body[first:last] for first, last in pairwise(edges)))
    assert stored == (size, hashlib.sha256(body).digest())
    assert content(shared_store, key) == body


@SAMPLED
@settings(max_examples=examples(60), deadline=None)
@given(size=SIZES, start_at=SIZES, stop_at=st.none() | SIZES)
def test_any_range_is_the_slice(shared_store: BlobStore, size: int, start_at: int, stop_at: int | None) -> None:
    """A half-open range reads the same bytes as a slice, also beyond the end and backwards."""
    key, body = uuid.uuid4().hex, body_of("range", size)
    shared_store.write(key, [body])
    assert content(shared_store, key, start_at, stop_at) == body[start_at:stop_at]


def test_empty_blob_exists(store: BlobStore) -> None:
    """An empty blob exists, whether it was written as no pieces or as empty ones."""
    assert store.write("none", []) == store.write("empty", [b"", b""]) == (0, hashlib.sha256().digest())
    assert store.exists("none")
    assert content(store, "empty") == b""


def test_large_blob(store: BlobStore) -> None:
    """A blob of 5 MiB in uneven pieces can be read whole and from the middle."""
    body = random.Random(5).randbytes(5 * MIB)
    store.write("large", in_pieces(body, 99_991))
    assert content(store, "large") == body
    assert content(store, "large", 3 * MIB - 5, 4 * MIB + 7) == body[3 * MIB - 5 : 4 * MIB + 7]


def test_memory_stays_small(member: str, store: BlobStore) -> None:
    """Writing and reading 64 MiB needs a small part of that memory."""
    piece = bytes(MIB)
    tracemalloc.start()
    try:
        store.write("stream", (piece for _ in range(64)))
        read = sum(len(part) for part in store.read("stream"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 64 * MIB
    assert peak < members.MAX_MEMORY[member]


def test_huge_piece_is_split(store: BlobStore) -> None:
    """A single piece of 5 MiB is read in pieces of at most 1 MiB."""
    store.write("huge", [bytes(5 * MIB)])
    assert max(len(piece) for piece in store.read("huge")) <= MIB


def test_keys_are_opaque(store: BlobStore) -> None:
    """Keys that differ in case, slashes, dots or accents are different keys."""
    keys = ["_storage_01j", "_STORAGE_01J", "a/b", "a/../b", "../b", "é", "e\u0301", "a b", "%2e", "x" * 200]
    for key in keys:
        store.write(key, [key.encode()])
    assert [content(store, key) for key in keys] == [key.encode() for key in keys]
    assert sorted(list_keys(store)) == sorted(keys)


def test_unknown_key_fails_at_the_call(store: BlobStore) -> None:
    """Reading an unknown key fails when read() is called, before the first piece."""
    with pytest.raises(BlobNotFoundError, match="'nothing'"):
        store.read("nothing")


def test_key_that_is_not_unicode_is_unknown(store: BlobStore) -> None:
    """A key with a lone surrogate, which a hostile URL may contain, is an unknown key."""
    assert not store.exists("\udc80")
    store.delete("\udc80")
    with pytest.raises(BlobNotFoundError):
        store.read("\udc80")


@pytest.mark.parametrize(("start_at", "stop_at"), [(-1, None), (0, -1)])
def test_negative_range_is_rejected(store: BlobStore, start_at: int, stop_at: int) -> None:
    """A negative position in a range raises ValueError."""
    store.write("a", [b"abc"])
    with pytest.raises(ValueError, match="count bytes from 0"):
        store.read("a", start_at, stop_at)


def test_second_write_is_rejected(store: BlobStore) -> None:
    """A second write of a key raises BlobExistsError and keeps the first bytes."""
    store.write("a", [b"first"])
    with pytest.raises(BlobExistsError, match="'a'"):
        store.write("a", [b"second"])
    assert content(store, "a") == b"first"


@pytest.mark.parametrize("size", [0, 10, MIB])
def test_failing_source_leaves_nothing(store: BlobStore, size: int) -> None:
    """When the source of the bytes fails, its own error is raised and the key is free again."""

    def pieces() -> Iterator[bytes]:
        yield bytes(size)
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError, match="the client went away"):
        store.write("a", pieces())
    assert not store.exists("a")
    assert store.total() == (0, 0)
    store.write("a", [b"again"])
    assert content(store, "a") == b"again"


def test_piece_that_is_not_bytes_is_rejected(store: BlobStore) -> None:
    """A piece of text raises TypeError, and nothing is stored."""
    with pytest.raises(TypeError):
        store.write("a", ["text"])  # type: ignore[list-item]
    assert list(store.keys()) == []


def test_nothing_is_readable_before_the_end(store: BlobStore) -> None:
    """A blob that is being written is listed, but it neither exists nor can be read or written."""

    def pieces() -> Iterator[bytes]:
        yield bytes(MIB)
        assert list_keys(store) == ["a"]
        assert not store.exists("a")
        assert store.total() == (0, 0)
        with pytest.raises(BlobNotFoundError):
            store.read("a")
        with pytest.raises(BlobExistsError):
            store.write("a", [b"b"])
        yield bytes(MIB)

    assert store.write("a", pieces()).size == 2 * MIB
    assert store.exists("a")


def test_waiting_for_a_client_holds_nothing(store: BlobStore) -> None:
    """While a write waits for its next piece, others can write, read and delete."""

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            yield bytes(300 * KIB)
            store.write(f"inner {number}", [b"inner"])
            assert content(store, f"inner {number}") == b"inner"
            store.delete("inner 0")

    store.write("outer", pieces())
    assert store.total() == (3, 900 * KIB + 10)


def test_deleted_while_written(store: BlobStore) -> None:
    """A write whose key is deleted concurrently fails, instead of completing a blob with holes."""

    def pieces() -> Iterator[bytes]:
        yield bytes(MIB)
        store.delete("a")
        yield bytes(MIB)

    with pytest.raises(BlobNotFoundError, match="deleted while it was written"):
        store.write("a", pieces())
    assert list(store.keys()) == []


def test_deleted_while_read(store: BlobStore) -> None:
    """A reader whose blob is deleted, or replaced, fails instead of returning mixed or truncated bytes."""
    store.write("a", [bytes(2 * MIB)])
    pieces = store.read("a")
    next(pieces)
    store.delete("a")
    store.write("a", [b"\xff" * (2 * MIB)])
    with pytest.raises(BlobNotFoundError):
        list(pieces)


def test_delete_is_idempotent(store: BlobStore) -> None:
    """Deleting removes the bytes, and deleting a missing key does nothing."""
    store.write("a", [bytes(5 * MIB)])
    store.write("b", [b"stays"])
    for key in ("a", "a", "never was"):
        store.delete(key)
    assert not store.exists("a")
    assert store.total() == (1, 5)


def test_total(store: BlobStore) -> None:
    """total() returns the number of blobs and the sum of their sizes."""
    assert store.total() == (0, 0)
    store.write("a", [bytes(10)])
    store.write("b", [bytes(MIB)])
    assert store.total() == (2, MIB + 10)


def test_keys_and_creation_times(store: BlobStore) -> None:
    """keys() yields every key with its creation time, and can exclude recent ones."""
    before = time.time()
    for number in range(3):
        store.write(str(number), [b"x"])
    created_at = dict(store.keys())
    assert sorted(created_at) == ["0", "1", "2"]
    assert all(before - 1 <= created <= time.time() + 1 for created in created_at.values())
    assert list(store.keys(older_than=before - 60)) == []
    assert dict(store.keys(older_than=time.time() + 60)) == created_at


def test_keys_may_be_deleted_during_iteration(store: BlobStore) -> None:
    """A loop over keys() that deletes each key, as a sweep does, misses none."""
    for number in range(20):
        store.write(str(number), [b"x"])
    for key, _ in store.keys(older_than=time.time() + 60):
        store.delete(key)
    assert store.total() == (0, 0)


def test_close_is_idempotent(member: str, tmp_path: Path) -> None:
    """A store can be closed twice, even unused, and its blobs exist when it is opened again."""
    store = MEMBERS[member](tmp_path)
    store.write("a", [b"kept"])
    store.close()
    store.close()
    MEMBERS[member](tmp_path).close()
    reopened = MEMBERS[member](tmp_path)
    assert content(reopened, "a") == b"kept"
    reopened.close()


def test_threads_race_for_one_key(store: BlobStore) -> None:
    """Of several threads that write the same key concurrently, exactly one succeeds."""
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def write(name: str) -> None:
        barrier.wait()
        try:
            store.write("a", in_pieces(body_of(name), 70_000))
        except BlobExistsError:
            return
        outcomes.append(name)

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert content(store, "a") == body_of(outcomes[0])


@LONG
def test_threads_and_processes_write_concurrently(member: str, tmp_path: Path) -> None:
    """Two processes with four threads each create the store and write concurrently without loss."""
    started = [start(members.write_from_threads, member, tmp_path, name) for name in ("one", "two")]
    for _, pipe in started:
        pipe.send("go")
    assert [finish(process) for process, _ in started] == [0, 0]
    store = MEMBERS[member](tmp_path)
    keys = list_keys(store)
    assert len(keys) == 24
    assert all(content(store, key) == body_of(key) for key in keys)
    store.close()


def test_killed_while_writing(member: str, store: BlobStore, tmp_path: Path) -> None:
    """A process that is killed during a write leaves nothing readable, and a key that the sweep can delete."""
    process, pipe = start(members.write_without_end, member, tmp_path, "cut")
    assert pipe.recv() == "under way"
    process.kill()
    finish(process)
    assert not store.exists("cut")
    assert list_keys(store) == ["cut"]
    store.delete("cut")
    assert list(store.keys()) == []
    store.write("next", [b"works"])


@LONG
def test_killed_after_writing(member: str, store: BlobStore, tmp_path: Path) -> None:
    """A blob is durable once write() has returned, even if the process is killed at once."""
    process, _ = start(members.write_and_die, member, tmp_path, "a")
    finish(process)
    assert content(store, "a") == body_of("a")


@LONG
def test_store_is_used_after_a_fork(member: str, store: BlobStore, tmp_path: Path) -> None:
    """A store that was opened before a fork, but not used, works in parent and child."""
    process, pipe = start(members.fork_an_unused_store, member, tmp_path)
    assert pipe.recv() == 0
    assert finish(process) == 0
    assert [content(store, key) for key in ("parent", "child")] == [body_of("parent"), body_of("child")]


@LONG
def test_store_survives_a_fork(member: str, store: BlobStore, tmp_path: Path) -> None:
    """After a fork the store works in the parent; in the child it works or raises an error at once."""
    process, pipe = start(members.fork_and_outlive_the_parent_store, member, tmp_path)
    assert pipe.recv() == members.EXIT_AFTER_FORK[member]
    assert finish(process) == 0
    works = members.EXIT_AFTER_FORK[member] == members.WORKED
    expected = ["before", "parent", *(["child", "child, later"] if works else [])]
    assert sorted(list_keys(store)) == sorted(expected)
    assert all(content(store, key) == body_of(key) for key in expected)


@LONG
def test_forks_while_threads_write(member: str, store: BlobStore, tmp_path: Path) -> None:
    """Forks during the writes of other threads neither hang nor lose blobs."""
    process, pipe = start(members.fork_while_threads_write, member, tmp_path)
    assert pipe.recv() == [members.EXIT_AFTER_FORK[member]] * 5
    assert finish(process) == 0
    keys = list_keys(store)
    assert len(keys) == 2 * 3 + 2 + (5 if members.EXIT_AFTER_FORK[member] == members.WORKED else 0)
    assert all(content(store, key) == body_of(key) for key in keys)


def test_compacting_keeps_the_blobs(store: BlobStore) -> None:
    """Compacting gives the space of deleted blobs back, and keeps all others."""
    for name in ("a", "b", "c", "d"):
        store.write(name, [body_of(name)])
    store.delete("a")
    store.delete("c")
    steps: list[tuple[int, int]] = []
    free = store.free_bytes()
    given_back = store.compact(lambda done, total: steps.append((done, total)))
    assert (store.free_bytes(), given_back) == (0, free)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert not steps or steps[-1] == (free, free)
    assert [content(store, name) == body_of(name) for name in ("b", "d")] == [True, True]
    assert store.compact(lambda done, total: None) == 0
