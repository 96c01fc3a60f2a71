"""The deliveries that were refused: what is kept of them, how little that costs, and that nothing can make it fail."""

import hashlib
import json
import logging
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.inbox.rejections import KEPT, LONGEST_BODY, Refusal, Refusals, folder_of

NOW = 1_750_000_000_000.0
SIGNATURE = {"Stripe-Signature": "t=1,v1=00"}


class Times:
    """A clock in milliseconds and a timer in seconds that move when they are told to."""

    def __init__(self) -> None:
        self.now = NOW
        self.seconds = 0.0

    def clock(self) -> float:
        return self.now

    def timer(self) -> float:
        return self.seconds

    def later(self, seconds: float) -> None:
        self.now += seconds * 1000
        self.seconds += seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "app.db")


@pytest.fixture
def refusals(folder: Path, times: Times) -> Refusals:
    return Refusals(folder, times.clock, timer=times.timer)


def add(refusals: Refusals, request_id: str = "r", **changes: Any) -> None:
    """Refuse a delivery."""
    delivery: dict[str, Any] = {
        "source": "stripe",
        "path": "/webhooks/stripe",
        "reason": "no-match",
        "message": "Webhook signature does not match",
        "headers": SIGNATURE,
        "body": b"{}",
        "request_id": request_id,
    }
    refusals.add(**{**delivery, **changes})


def ids(refusals: Refusals, limit: int = KEPT) -> list[str]:
    """The requests that are kept, newest first."""
    return [refusal.request_id for refusal in refusals.recent(limit)]


def test_a_refused_delivery_is_kept_as_it_came(refusals: Refusals, folder: Path) -> None:
    """What is read back is what was refused, when and why; another process reads the same."""
    body = bytes(range(256))
    add(refusals, "r1", body=body, event_id="evt_1", event_type="paid", path="/webhooks/é")
    assert refusals.recent() == Refusals(folder, lambda: NOW).recent()
    [found] = refusals.recent()
    assert (found.request_id, found.received_at, found.source, found.path) == ("r1", NOW, "stripe", "/webhooks/é")
    assert (found.reason, found.message) == ("no-match", "Webhook signature does not match")
    assert (found.headers, found.body, found.size, found.sha256) == (SIGNATURE, body, 256, "")
    assert (found.event_id, found.event_type, found.others, found.is_whole) == ("evt_1", "paid", 0, True)


def test_nothing_is_made_before_the_first_refusal(refusals: Refusals, folder: Path) -> None:
    """Asking makes no folder; the first refusal does, for the owner alone, and its file too."""
    assert (refusals.recent(), refusals.find("r"), folder.exists()) == ([], None, False)
    add(refusals)
    [file] = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_temporary_database_has_its_refusals_in_memory(times: Times) -> None:
    """Without a folder the newest hundred are kept, and none is left out however fast they come."""
    refusals = Refusals(None, times.clock, timer=times.timer)
    for number in range(KEPT + 5):
        add(refusals, str(number))
    assert ids(refusals) == [str(number) for number in reversed(range(5, KEPT + 5))]
    assert ids(refusals, 2) == ["104", "103"]


def test_credentials_are_not_kept(refusals: Refusals, folder: Path) -> None:
    """Cookies and credentials of somebody are in no file."""
    secrets = {"Cookie": "hush-1", "AUTHORIZATION": "hush-2", "proxy-authorization": "hush-3"}
    add(refusals, headers={**secrets, **SIGNATURE})
    assert refusals.recent()[0].headers == SIGNATURE
    assert all(b"hush" not in file.read_bytes() for file in folder.iterdir())


def test_the_repr_shows_nothing_of_the_content(refusals: Refusals) -> None:
    """What may end up in a log has neither headers nor body."""
    add(refusals, "r1", body=b"hush", headers={"X": "hush"})
    assert "hush" not in repr(refusals.recent()) and "r1" in repr(refusals.recent())


def test_a_long_body_is_cut(refusals: Refusals) -> None:
    """A body up to 64 KiB is whole; of a longer one the beginning, the size and the digest of all are kept."""
    add(refusals, body=b"x" * LONGEST_BODY)
    assert refusals.recent()[0].is_whole
    longer = b"x" * LONGEST_BODY + b"y"
    add(refusals, body=longer)
    cut = refusals.recent()[0]
    assert (len(cut.body), cut.size, cut.is_whole) == (LONGEST_BODY, LONGEST_BODY + 1, False)
    assert cut.sha256 == hashlib.sha256(longer).hexdigest()


def test_headers_are_bounded(refusals: Refusals, folder: Path) -> None:
    """However many and long the headers are, what is kept of them is not more than 64 KiB."""
    add(refusals, headers={f"X-{number}": "\x01" * 8000 for number in range(100)})
    assert sum(len(value) for value in refusals.recent()[0].headers.values()) <= 64 * 1024
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1024 * 1024


# --- floods ----------------------------------------------------------------------------------------------------------


def test_a_flood_is_counted_and_hardly_written(refusals: Refusals, folder: Path, times: Times) -> None:
    """Twenty are written at once, then one a second; the next that is says how many like it were not."""
    for number in range(1000):
        add(refusals, str(number))
    add(refusals, "late", reason="too-old")
    assert len(list(folder.iterdir())) == 20
    times.later(1.0)
    add(refusals, "next")
    assert (refusals.recent()[0].request_id, refusals.recent()[0].others) == ("next", 980)
    times.later(1.0)
    add(refusals, "late again", reason="too-old")
    assert refusals.recent()[0].others == 1
    assert refusals.counts == {("stripe", "no-match"): 1001, ("stripe", "too-old"): 2}


def test_the_newest_hundred_stay(refusals: Refusals, folder: Path, times: Times) -> None:
    """With each one that is written the oldest goes, also of one and the same millisecond."""
    for number in range(KEPT + 20):
        times.seconds += 1
        add(refusals, str(number))
    assert len(list(folder.iterdir())) == KEPT
    assert ids(refusals) == [str(number) for number in reversed(range(20, KEPT + 20))]


def test_processes_share_a_ring(folder: Path, times: Times) -> None:
    """What several have refused is one list in the order of time, and the bound is that of all together."""
    both = [Refusals(folder, times.clock, timer=times.timer) for _ in range(2)]
    for number in range(KEPT + 20):
        times.later(1)
        add(both[number % 2], str(number))
    assert ids(both[0]) == ids(both[1]) == [str(number) for number in reversed(range(20, KEPT + 20))]


def test_files_of_a_clock_that_was_wrong_go_first(refusals: Refusals, times: Times) -> None:
    """What seems to be from the future does not keep what is newer from being kept."""
    times.now += 10**11
    for number in range(KEPT):
        times.seconds += 1
        add(refusals, f"future {number}")
    times.now -= 10**11
    times.later(1)
    add(refusals, "now")
    assert ids(refusals, 1) == ["now"]


# --- finding one -----------------------------------------------------------------------------------------------------


def test_one_is_found_by_request_and_by_event(refusals: Refusals, times: Times) -> None:
    """An id is first that of a request, then that of an event; the newest counts, and no id is none."""
    add(refusals, "r1", event_id="evt_1")
    times.later(1)
    add(refusals, "r2", event_id="evt_1")
    times.later(1)
    add(refusals, "evt_2", event_id="")
    times.later(1)
    add(refusals, "r3", event_id="evt_2")
    found = {id: refusals.find(id) for id in ("r1", "evt_1", "evt_2", "missing", "")}
    by_id = {id: refusal.request_id if refusal else None for id, refusal in found.items()}
    assert by_id == {"r1": "r1", "evt_1": "r2", "evt_2": "evt_2", "missing": None, "": None}


# --- what is hostile -------------------------------------------------------------------------------------------------


def test_what_is_found_in_the_folder_may_be_anything(
    refusals: Refusals, folder: Path, tmp_path: Path, times: Times
) -> None:
    """Garbage, other people's files, pipes, folders and links are passed over, and what is not ours stays."""
    add(refusals, "r1")
    stem = "001750000000000-00000001-0000000"
    for number, content in enumerate((b"", b"\xff", b"[" * 10_000, b'{"request_id": 1}', b"null", b"{}" * 600_000)):
        (folder / f"{stem}{number}.json").write_bytes(content)
    os.mkfifo(folder / f"{stem}7.json")
    (folder / f"{stem}8.json").mkdir()
    (tmp_path / "elsewhere").write_bytes((next(iter(folder.glob("*-0000000*")))).read_bytes())
    (folder / f"{stem}9.json").symlink_to(tmp_path / "elsewhere")
    (folder / f"{stem}a.json").symlink_to("nowhere")
    foreign = [folder / "notes.txt", folder / "\n;rm -rf.json", Path(os.fsdecode(bytes(folder) + b"/\xff\xfe.json"))]
    for file in foreign:
        file.write_text("mine")
    assert ids(refusals) == ["r1"]
    for number in range(KEPT):
        times.later(1)
        add(refusals, str(number))
    assert all(file.read_text() == "mine" for file in foreign)
    assert ids(refusals) == [str(number) for number in reversed(range(KEPT))]


def test_a_file_that_vanishes_is_none(refusals: Refusals, folder: Path) -> None:
    """What another process has removed between looking and reading is passed over."""
    add(refusals, "r1")
    file = next(folder.iterdir())
    file.rename(folder / "kept")
    (folder / file.name).symlink_to("gone")
    assert refusals.recent() == []


def test_a_file_that_was_never_finished_is_not_read_and_goes_in_its_time(
    refusals: Refusals, folder: Path, times: Times
) -> None:
    """What a process that died has left is no refusal, and is pushed out like one."""
    folder.mkdir()
    left = folder / "001740000000000-00000000-00000000.new"
    left.write_bytes(b"{")
    for number in range(KEPT):
        times.later(1)
        add(refusals, str(number))
    assert not left.exists()
    assert len(ids(refusals)) == KEPT


@given(
    texts=st.lists(st.text(st.characters(), max_size=50), min_size=6, max_size=6),
    headers=st.dictionaries(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=50), max_size=4),
    body=st.binary(max_size=200),
)
@settings(max_examples=60, deadline=None)
def test_nothing_in_a_delivery_makes_it_fail(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], headers: dict[str, str], body: bytes
) -> None:
    """Whatever the texts, headers and bytes are, halves of characters included, the delivery is kept in one file."""
    folder = tmp_path_factory.mktemp("refused")
    refusals = Refusals(folder, lambda: NOW)
    names = ("path", "reason", "message", "request_id", "event_id", "event_type")
    add(refusals, headers=headers, body=body, **dict(zip(names, texts, strict=True)))
    [found] = refusals.recent()
    assert found.body == body
    assert [file.name.removeprefix("001750000000000-00000000-")[8:] for file in folder.iterdir()] == [".json"]


# --- what fails ------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_had_is_said_once(folder: Path, times: Times, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be written all is counted, the log says so once, and later files say how many went before."""
    folder.write_bytes(b"a file is in the way")
    refusals = Refusals(folder, times.clock, timer=times.timer)
    with caplog.at_level(logging.WARNING, "flask_convex_http"):
        for _ in range(5):
            add(refusals)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "only counted" in caplog.text
    assert (refusals.counts, refusals.recent()) == ({("stripe", "no-match"): 5}, [])
    folder.unlink()
    add(refusals)
    assert refusals.recent()[0].others == 5


def test_a_full_disk_leaves_no_half_a_file(folder: Path, times: Times) -> None:
    """A file that cannot be written whole is removed, and the next one counts it."""
    refusals = Refusals(folder, times.clock, timer=times.timer)
    folder.mkdir()
    limit_size(refusals)
    assert list(folder.iterdir()) == []
    add(refusals)
    assert refusals.recent()[0].others == 1


def limit_size(refusals: Refusals) -> None:
    """Refuse one while no file may grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        add(refusals)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


# --- threads and processes -------------------------------------------------------------------------------------------


def test_threads_count_every_one(folder: Path, times: Times) -> None:
    """Refused in many threads at once, each is counted, and either written or among the others of one that is."""
    refusals = Refusals(folder, times.clock, timer=times.timer)

    def flood() -> None:
        for _ in range(200):
            add(refusals)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.later(1)
    add(refusals)
    assert refusals.counts == {("stripe", "no-match"): 801}
    assert sum(1 + refusal.others for refusal in refusals.recent()) == 801


def test_a_child_of_fork_begins_anew(refusals: Refusals, folder: Path) -> None:
    """A child counts its own only, and goes on although a thread of its parent holds the lock at that moment."""
    add(refusals, "parent")
    with refusals._lock:
        child = os.fork()
        if child == 0:
            add(refusals, "child")
            os._exit(0 if refusals.counts == {("stripe", "no-match"): 1} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(ids(refusals)) == ["child", "parent"]


def test_a_file_is_json_that_others_can_read(refusals: Refusals, folder: Path) -> None:
    """The file is one JSON object with the body in base64."""
    add(refusals, body=b"hello")
    content = json.loads(next(folder.iterdir()).read_bytes())
    assert content["body"] == "aGVsbG8="
    assert content.keys() <= set(Refusal.__struct_fields__)
