"""Webhooks that have received nothing for longer than expected."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import RegistrationError
from flask_convex_http.inbox import silence
from flask_convex_http.inbox.silence import SilenceWatch, describe_silence
from flask_convex_http.testing import Clock
from tests.inbox.receiving import Receiver, receiving

HOUR = timedelta(hours=1)


def found(receiver: Receiver) -> tuple[list[str], list[str]]:
    """Return the problems and notes of the check."""
    return describe_silence(receiver.backend.inbox, receiver.backend.clock())


def test_silent_webhook_is_a_problem(tmp_path: Path) -> None:
    """A webhook whose last delivery is older than expected is a problem of the check, and a fresh one is none."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, expect_every=2 * HOUR) as receiver:
        receiver.deliver()
        clock.advance(2 * HOUR)
        assert found(receiver) == ([], [])
        clock.advance(timedelta(minutes=1))
        [problem] = receiver.backend.check(read_bytes=False, progress=lambda done, total: None).problems
        assert problem.startswith("/hook has received no delivery for more than 2 hours: see at stripe")
        receiver.deliver("evt_2")
        assert found(receiver) == ([], [])


def test_webhook_without_any_delivery_is_a_note(tmp_path: Path) -> None:
    """A webhook that has never received a delivery may not be set up yet."""
    with receiving(tmp_path, expect_every=HOUR) as receiver:
        assert found(receiver) == ([], ["/hook has never received a delivery, and expects one every 1 hour"])


def test_nothing_is_expected_by_default(tmp_path: Path) -> None:
    """Without `expect_every` any silence is fine."""
    with receiving(tmp_path) as receiver:
        assert found(receiver) == ([], [])
        assert SilenceWatch(receiver.backend.inbox, receiver.backend.clock).silent() == []


def test_watch_counts_from_its_start(tmp_path: Path) -> None:
    """A process that has just started does not report a webhook without a delivery, and later it does."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, expect_every=HOUR) as receiver:
        watch = SilenceWatch(receiver.backend.inbox, clock)
        assert watch.silent() == []
        clock.advance(HOUR + timedelta(minutes=1))
        assert [one.webhook.source for one in watch.silent()] == ["/hook"]
        receiver.deliver()
        assert watch.silent() == []
        clock.advance(HOUR + timedelta(minutes=1))
        assert [one.webhook.source for one in watch.silent()] == ["/hook"]


def test_watch_reads_a_few_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is not silent until all deliveries that matter have been read, a few by each health check."""
    clock = Clock()
    monkeypatch.setattr(silence, "MOST_ROWS", 2)
    with receiving(tmp_path, clock=clock, expect_every=HOUR) as receiver:
        for number in range(5):
            clock.advance(timedelta(minutes=1))
            receiver.deliver(f"evt_{number}")
        watch = SilenceWatch(receiver.backend.inbox, clock, started=0.0)
        reads = 1
        assert watch.silent() == []
        while not watch.is_complete:
            assert watch.silent() == []
            reads += 1
            assert reads < 10
        assert reads > 2
        clock.advance(2 * HOUR)
        assert len(watch.silent()) == 1


@pytest.mark.parametrize("value", [timedelta(0), -HOUR, timedelta(days=31), 3600])
def test_expectation_is_a_period(tmp_path: Path, value: Any) -> None:
    """Anything but a timedelta of up to 30 days is refused."""
    with pytest.raises(RegistrationError, match="expect_every="), receiving(tmp_path, expect_every=value):
        pass
