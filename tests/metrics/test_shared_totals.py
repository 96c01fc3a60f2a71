"""Totals of several processes. Here each `SharedTotals` stands for a process: they share nothing but the folder."""

import os
from pathlib import Path

import msgspec
import pytest

from flask_convex_http.metrics.definitions import LAG_SECONDS, REJECTED
from flask_convex_http.metrics.shared_totals import Member, SharedTotals
from flask_convex_http.metrics.totals import Total, Totals

LABELS = ("stripe", "too-old")


def rejected(number: float) -> Totals:
    """Return totals of a process that has rejected deliveries."""
    totals = Totals()
    totals.count(REJECTED, LABELS, number)
    totals.observe(LAG_SECONDS, (), [1.0] * int(number))
    return totals


def published(folder: Path, number: float, **gauges: float) -> SharedTotals:
    """Return a process that has shared its numbers."""
    process = SharedTotals(folder)
    process.publish(rejected(number), gauges)
    return process


def files(folder: Path) -> int:
    """Return the number of files of processes."""
    return len([*folder.glob("*-*.json"), *folder.glob("*-*.lock")])


def test_the_numbers_of_all_processes_add_up(tmp_path: Path) -> None:
    """Each process returns the sums of all, whichever responds to the scrape."""
    first = published(tmp_path / "metrics", 1, connections=3)
    second = published(tmp_path / "metrics", 2, connections=4)
    for process, own in ((first, 1), (second, 2)):
        gauges = {"connections": own + 2.0}
        totals, sums, processes = process.collect(rejected(own), gauges)
        assert totals.of(REJECTED) == {LABELS: Total(3)}
        assert sum(totals.of(LAG_SECONDS)[()].buckets) == 3
        assert (sums, processes) == ({"connections": 7.0}, 2)


def test_the_counters_of_an_ended_process_stay(tmp_path: Path) -> None:
    """After a process has died, its counters count on, its gauges do not, and its files are removed."""
    first = published(tmp_path / "metrics", 1)
    for number in range(1, 4):
        published(tmp_path / "metrics", 2, connections=9).forget()  # as the kernel releases the lock of a dead process
        totals, gauges, processes = first.collect(rejected(1), {})
        assert totals.of(REJECTED) == {LABELS: Total(1 + 2 * number)}
        assert (gauges, processes, files(tmp_path / "metrics")) == ({}, 1, 2)


def test_a_process_that_dies_while_it_adds_another_one_counts_nothing_twice(tmp_path: Path) -> None:
    """Files that were added, and could not be removed any more, are not added again."""
    folder = tmp_path / "metrics"
    first = published(folder, 1)
    published(folder, 2).forget()
    stays = {path: path.read_bytes() for path in folder.glob("*-*.*")}
    first.collect(rejected(1), {})
    for path in [path for path in stays if not path.exists()]:
        path.write_bytes(stays[path])
    assert first.collect(rejected(1), {})[0].of(REJECTED) == {LABELS: Total(3)}
    assert files(folder) == 2


def test_the_first_process_begins_at_zero(tmp_path: Path) -> None:
    """Where no other process lives, the numbers of former ones are gone."""
    published(tmp_path / "metrics", 5).forget()
    totals, _, processes = published(tmp_path / "metrics", 1).collect(rejected(1), {})
    assert (totals.of(REJECTED), processes) == ({LABELS: Total(1)}, 1)


def test_numbers_of_another_release_are_left_out(tmp_path: Path) -> None:
    """A metric whose labels or buckets are others, or that is unknown, does not fail the scrape."""
    process = published(tmp_path / "metrics", 1)
    other = published(tmp_path / "metrics", 1)
    [path] = [path for path in (tmp_path / "metrics").glob("*-*.json") if path.stem != process._name]
    entries = [(REJECTED.name, ("stripe",), Total(7)), (LAG_SECONDS.name, (), Total(1, [1])), ("old", (), Total(1))]
    path.write_bytes(msgspec.json.encode(Member(entries)))
    assert process.collect(rejected(1), {})[0].of(REJECTED) == {LABELS: Total(1)}
    path.write_bytes(b'{"totals": [["')
    assert process.collect(rejected(1), {})[0].of(REJECTED) == {LABELS: Total(1)}
    other.forget()


def test_equal_numbers_are_not_written_again(tmp_path: Path) -> None:
    """A process without news leaves its file alone."""
    process = published(tmp_path / "metrics", 1)
    [path] = (tmp_path / "metrics").glob("*-*.json")
    before = path.stat().st_ino, path.stat().st_mtime_ns
    process.publish(rejected(1), {})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_used_leaves_the_numbers_of_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a folder, or with one that is removed, a process returns its own numbers, and warns once."""
    (tmp_path / "file").touch()
    process = SharedTotals(tmp_path / "file" / "metrics")
    for _ in range(2):
        totals, _, processes = process.collect(rejected(1), {})
        assert (totals.of(REJECTED), processes) == ({LABELS: Total(1)}, 1)
    assert len(caplog.records) == 1
    assert "cannot be shared" in caplog.text
    alone = SharedTotals(None).collect(rejected(2), {"connections": 1})
    assert (alone[0].of(REJECTED), alone[1:]) == ({LABELS: Total(2)}, ({"connections": 1}, 1))


def test_a_removed_folder_is_made_again(tmp_path: Path) -> None:
    """A process whose folder was removed shares its numbers again."""
    folder = tmp_path / "metrics"
    process = published(folder, 1)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    for _ in range(2):
        assert process.collect(rejected(2), {})[0].of(REJECTED) == {LABELS: Total(2)}
    assert process.collect(rejected(3), {})[2] == 1
    assert files(folder) == 2


def test_a_held_folder_lock_does_not_stop_a_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the folder for too long, a scrape has the numbers of its own process."""
    import fcntl

    from flask_convex_http.metrics import shared_totals

    monkeypatch.setattr(shared_totals, "_TIMEOUT", 0.0)
    process = published(tmp_path, 1)
    descriptor = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert process.collect(rejected(1), {})[0].of(REJECTED) == {LABELS: Total(1)}
    os.close(descriptor)
    published(tmp_path, 1).forget()


def test_numbers_that_could_not_be_written_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could not write its file for a while, such as on a full disk, counts once afterwards."""
    from flask_convex_http.metrics import shared_totals

    process = published(tmp_path, 1)
    with monkeypatch.context() as context:
        context.setattr(shared_totals, "_replace", fail)
        process.publish(rejected(2), {})
    assert process.collect(rejected(3), {})[0].of(REJECTED) == {LABELS: Total(3)}
    assert published(tmp_path, 1).collect(rejected(1), {})[0].of(REJECTED) == {LABELS: Total(4)}


def fail(*_: object) -> None:
    """Fail as a write to a full disk does."""
    raise OSError(28, "No space left on device")
