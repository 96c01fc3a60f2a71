"""The ring of rejected deliveries: its content, its bounds, floods, failures and concurrent writers."""

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flask_convex_http.inbox.rejections import KEPT, LONGEST_BODY, Rejection, Rejections, folder_of
from tests.inbox.rejected import NOW, SIGNATURE, arrive, rejection
from tests.lengths import LONG


class Timer:
    """A monotonic clock that moves when a test sets it."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "app.db")


@pytest.fixture
def rejections(folder: Path, timer: Timer) -> Rejections:
    return Rejections(folder, timer=timer)


def ids(rejections: Rejections, limit: int = KEPT) -> list[str]:
    """Return the request ids of the rejections that are kept, newest first."""
    return [rejection.request_id for rejection in rejections.recent(limit)]


# --- content and bounds ----------------------------------------------------------------------------------------------


def test_a_rejection_is_read_back_as_recorded(rejections: Rejections, folder: Path) -> None:
    """A rejection is returned as it was added, also by another process."""
    added = rejection("r1", body=bytes(range(256)), path="/webhooks/é", headers={"X-Name": "J\xf6rg"})
    rejections.add(added)
    assert rejections.recent() == Rejections(folder).recent() == [added]
    assert added.is_whole


def test_nothing_is_created_before_the_first_rejection(rejections: Rejections, folder: Path) -> None:
    """Reading creates no folder, and only the owner can read the folder and its files."""
    assert (rejections.recent(), rejections.find("r"), folder.exists()) == ([], None, False)
    rejections.add(rejection())
    [file] = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_without_a_folder_rejections_are_kept_in_memory(timer: Timer) -> None:
    """Without a folder the newest 100 are kept in memory, and none is skipped however fast they come."""
    rejections = Rejections(None, timer=timer)
    for number in range(KEPT + 5):
        arrive(rejections, rejection(str(number)))
    assert ids(rejections) == [str(number) for number in reversed(range(5, KEPT + 5))]
    assert ids(rejections, 2) == ["104", "103"]


def test_credentials_are_not_kept(rejections: Rejections, folder: Path) -> None:
    """Cookies and authorization headers are written to no file."""
    credentials = {"Cookie": "hush-1", "AUTHORIZATION": "hush-2", "proxy-authorization": "hush-3"}
    rejections.add(rejection(headers={**credentials, **SIGNATURE}))
    assert rejections.recent()[0].headers == SIGNATURE
    assert all(b"hush" not in file.read_bytes() for file in folder.iterdir())


def test_the_repr_contains_no_headers_and_no_body(rejections: Rejections) -> None:
    """The repr, which may be logged, contains the request id but no headers and no body."""
    rejections.add(rejection("r1", body=b"hush", headers={"X": "hush"}))
    assert "hush" not in repr(rejections.recent()) and "r1" in repr(rejections.recent())


def test_only_the_beginning_of_a_long_body_is_kept(rejections: Rejections) -> None:
    """A body of up to 64 KiB is kept whole; of a longer one the first 64 KiB and the size are kept."""
    rejections.add(rejection(body=b"x" * LONGEST_BODY))
    assert rejections.recent()[0].is_whole
    rejections.add(rejection(body=b"x" * LONGEST_BODY + b"y"))
    [cut, _] = rejections.recent()
    assert (len(cut.body), cut.size, cut.is_whole) == (LONGEST_BODY, LONGEST_BODY + 1, False)


def test_headers_are_bounded(rejections: Rejections, folder: Path) -> None:
    """At most 64 KiB of headers are kept, however many and however long they are."""
    rejections.add(rejection(headers={f"X-{number}": "\x01" * 8000 for number in range(100)}))
    assert sum(len(value) for value in rejections.recent()[0].headers.values()) <= 64 * 1024
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1024 * 1024


def test_a_file_is_json(rejections: Rejections, folder: Path) -> None:
    """A file is one JSON object with the body in base64."""
    rejections.add(rejection(body=b"hello"))
    content = json.loads(next(folder.iterdir()).read_bytes())
    assert content["body"] == "aGVsbG8="
    assert content.keys() == set(Rejection.__struct_fields__)


def test_the_newest_of_a_request_is_found(rejections: Rejections) -> None:
    """A rejection is found by its request id; of several with one id the newest is returned."""
    for size, request_id in enumerate(("r1", "r2", "r1")):
        rejections.add(rejection(request_id, body=b"x" * size))
    found = rejections.find("r1")
    assert found is not None and found.size == 2
    assert rejections.find("missing") is None


# --- floods ----------------------------------------------------------------------------------------------------------


def test_a_flood_is_counted_and_hardly_written(rejections: Rejections, folder: Path, timer: Timer) -> None:
    """Twenty files are written at once, then one a second; each tells how many were skipped before it."""
    for number in range(1000):
        arrive(rejections, rejection(str(number)))
    arrive(rejections, rejection("late", reason="too-old"))
    assert len(list(folder.iterdir())) == 20
    timer.seconds += 1
    arrive(rejections, rejection("next"))
    assert (rejections.recent()[0].request_id, rejections.recent()[0].others) == ("next", 980)
    timer.seconds += 1
    arrive(rejections, rejection("late again", reason="too-old"))
    assert rejections.recent()[0].others == 1


def test_a_flood_of_one_webhook_hides_no_rejection_of_another(rejections: Rejections, timer: Timer) -> None:
    """Each webhook has its own allowance."""
    for _ in range(100):
        arrive(rejections, rejection())
    arrive(rejections, rejection("r1", source="github"))
    assert ids(rejections)[0] == "r1"


def test_the_newest_hundred_are_kept(rejections: Rejections, folder: Path, timer: Timer) -> None:
    """The oldest file is removed for each new one, also when the clock was set back or stands still."""
    for number in range(KEPT + 20):
        timer.seconds += 1
        arrive(rejections, rejection(str(number), received_at=NOW - number // 2))
    assert len(list(folder.iterdir())) == KEPT
    assert ids(rejections) == [str(number) for number in reversed(range(20, KEPT + 20))]


def test_processes_share_the_folder(folder: Path, timer: Timer) -> None:
    """The rejections of several processes are one list in the order of arrival, with one bound for all."""
    both = [Rejections(folder, timer=timer) for _ in range(2)]
    for number in range(KEPT + 20):
        timer.seconds += 1
        arrive(both[number % 2], rejection(str(number)))
    assert ids(both[0]) == ids(both[1]) == [str(number) for number in reversed(range(20, KEPT + 20))]


_PROCESS = """
import sys
from pathlib import Path
from flask_convex_http.inbox.rejections import Rejections
from tests.inbox.rejected import arrive, rejection

rejections = Rejections(Path(sys.argv[1]))
for number in range(15):
    arrive(rejections, rejection(f"{sys.argv[2]}-{number}", body=b"x" * 10_000))
"""


@LONG
def test_concurrent_processes_lose_nothing(folder: Path) -> None:
    """Rejections that several processes record at the same time are all kept."""
    processes = [subprocess.Popen([sys.executable, "-c", _PROCESS, str(folder), name]) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sorted(ids(Rejections(folder))) == sorted(f"{name}-{number}" for name in "abc" for number in range(15))


def test_concurrent_threads_count_every_rejection(rejections: Rejections, timer: Timer) -> None:
    """A rejection in one of many threads is either kept or counted as one of the others."""

    def flood() -> None:
        for _ in range(200):
            arrive(rejections, rejection())

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timer.seconds += 1
    arrive(rejections, rejection())
    assert sum(1 + rejection.others for rejection in rejections.recent()) == 801


# --- failures --------------------------------------------------------------------------------------------------------


def test_other_files_in_the_folder_are_left_alone(rejections: Rejections, folder: Path, timer: Timer) -> None:
    """A file with another name is neither read nor removed, and one with other content is skipped."""
    arrive(rejections, rejection("r1"))
    foreign = [folder / "notes.json", folder / "000000000001-0000.json", folder / "\n;rm -rf.json"]
    for file in foreign:
        file.write_text("mine")
    for number, content in enumerate((b"", b"\xff", b"[" * 10_000, b'{"request_id": 1}', b"null")):
        (folder / f"000000000000-0000000{number}.json").write_bytes(content)
    (folder / "000000000000-0000000a.json").mkdir()
    assert ids(rejections) == ["r1"]
    (folder / "000000000000-0000000a.json").rmdir()
    for number in range(KEPT):
        timer.seconds += 1
        arrive(rejections, rejection(str(number)))
    assert all(file.read_text() == "mine" for file in foreign)
    assert ids(rejections) == [str(number) for number in reversed(range(KEPT))]


def test_a_folder_that_cannot_be_used_is_logged_once(
    folder: Path, timer: Timer, caplog: pytest.LogCaptureFixture
) -> None:
    """If nothing can be written one warning is logged, and the next file tells how many were not kept."""
    folder.write_bytes(b"a file is in the way")
    rejections = Rejections(folder, timer=timer)
    with caplog.at_level(logging.WARNING, "flask_convex_http"):
        for _ in range(5):
            arrive(rejections, rejection())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "only counted" in caplog.text
    assert rejections.recent() == []
    folder.unlink()
    arrive(rejections, rejection())
    assert rejections.recent()[0].others == 5


def test_a_full_disk_leaves_no_partial_file(rejections: Rejections, folder: Path) -> None:
    """A file that cannot be written completely is removed, and the next one counts it."""
    _add_with_full_disk(rejections)
    assert list(folder.iterdir()) == []
    arrive(rejections, rejection())
    assert rejections.recent()[0].others == 1


def _add_with_full_disk(rejections: Rejections) -> None:
    """Add a rejection while no file may grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        arrive(rejections, rejection())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_forked_process_records_too(rejections: Rejections) -> None:
    """A child of `os.fork` writes to the same folder as its parent."""
    arrive(rejections, rejection("parent"))
    child = os.fork()
    if child == 0:
        arrive(rejections, rejection("child"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ids(rejections) == ["child", "parent"]
