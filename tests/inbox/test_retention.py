"""Retention of the inbox: bodies are purged before ids, and unfinished deliveries keep all they need."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import DeadLetterError, EngineError, GitHub, HttpRouter, RegistrationError, Retry, Stripe
from flask_convex_http.schema.system_tables import (
    ScheduledFunction,
    WebhookContent,
    WebhookDelivery,
    WebhookRequest,
    WebhookTurn,
)
from flask_convex_http.testing import Clock
from flask_convex_http.webhooks import Provider
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Boom, Receiver, numbered, payload, receiving, record
from tests.inbox.test_failures import failing
from tests.inbox.test_stuck import remove
from tests.webhooks.senders import BODY, SECRET, build_hmac, sign_github, sign_hmac, sign_stripe

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def sweep(receiver: Receiver) -> list[int]:
    """Purge in rounds, and return the numbers of bodies and deliveries after each."""
    housekeeping, left = Cleaner(receiver.backend), [len(receiver.bodies) + len(receiver.deliveries)]
    while housekeeping.purge():
        left.append(len(receiver.bodies) + len(receiver.deliveries))
    return left


def kept(receiver: Receiver) -> tuple[int, int]:
    """Return the numbers of ids and bodies."""
    sweep(receiver)
    return len(receiver.deliveries), len(receiver.bodies)


@pytest.mark.parametrize(
    ("options", "bodies", "ids"),
    [({}, 30, 90), ({"keep_bodies": 5 * DAY, "keep_ids": 300 * DAY}, 5, 300), ({"keep_bodies": 0 * DAY}, 0, 90)],
    ids=["default", "chosen", "no bodies"],
)
def test_bodies_go_before_ids(options: dict[str, Any], bodies: int, ids: int, tmp_path: Path) -> None:
    """By default bodies are kept for a month and ids for three; a duplicate is recognised without its body."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, **options) as receiver:
        receiver.deliver()
        if bodies:
            clock.advance(bodies * DAY - SECOND)
            assert kept(receiver) == (1, 1)
        clock.advance(2 * SECOND)
        assert kept(receiver) == (1, 0)
        assert receiver.deliver().status_code == 200
        clock.advance((ids - bodies) * DAY - 3 * SECOND)
        assert (kept(receiver), receiver.deliver().status_code) == ((1, 0), 200)
        clock.advance(5 * SECOND)
        assert kept(receiver) == (0, 0)
        assert receiver.effects == ["evt_1"]


def test_who_signs_no_time_is_remembered_longer(tmp_path: Path) -> None:
    """The ids of a sender that signs no time are kept for more than a year."""
    clock = Clock()
    with receiving(tmp_path, provider=GitHub(secret=SECRET), clock=clock, dedupe="content") as receiver:
        receiver.send(BODY, sign_github)
        clock.advance(399 * DAY)
        assert kept(receiver) == (1, 0)
        assert receiver.send(BODY, sign_github, X_GitHub_Delivery="fresh").status_code == 200
        clock.advance(2 * DAY)
        assert (kept(receiver), receiver.rows(WebhookContent), receiver.effects) == ((0, 0), [], ["d-1"])


def test_what_was_purged_is_new(tmp_path: Path) -> None:
    """A delivery whose id has expired runs again under any id."""
    clock = Clock()
    with receiving(tmp_path, provider=GitHub(secret=SECRET), clock=clock, dedupe="content") as receiver:
        receiver.send(BODY, sign_github)
        clock.advance(401 * DAY)
        sweep(receiver)
        assert receiver.send(BODY, sign_github, X_GitHub_Delivery="d-2").status_code == 200
        assert (receiver.effects, len(receiver.deliveries)) == (["d-1", "d-2"], 1)


def test_a_delivery_purged_by_hand(tmp_path: Path) -> None:
    """A delivery that an operator purged is new as a whole, with its content."""
    with receiving(tmp_path, provider=GitHub(secret=SECRET), dedupe="content") as receiver:
        receiver.send(BODY, sign_github)
        inbox, delivery = receiver.backend.inbox, receiver.delivery
        receiver.backend.engine.write(lambda transaction: inbox.deliveries.delete(transaction, delivery.id))
        assert [receiver.rows(table) for table in (WebhookDelivery, WebhookRequest)] == [[], []]
        assert [receiver.send(BODY, sign_github).status_code for _ in range(2)] == [200, 200]
        assert (receiver.effects, len(receiver.deliveries)) == (["d-1", "d-1"], 1)


def test_what_is_not_done_keeps_its_body(tmp_path: Path) -> None:
    """Failed, dead and pending deliveries keep their bodies, since they may run again."""
    clock = Clock()
    handler = failing(Boom(), DeadLetterError("no"))
    with receiving(tmp_path, handler, clock=clock, keep_bodies=DAY) as receiver:
        assert [receiver.deliver(f"evt_{number}").status_code for number in (1, 2)] == [500, 200]
        assert receiver.states == ["failed", "dead"]
        clock.advance(89 * DAY)
        assert kept(receiver) == (2, 2)
        clock.advance(2 * DAY)
        assert kept(receiver) == (0, 0)


def test_what_is_pending_stays(tmp_path: Path) -> None:
    """A pending delivery is never purged, and its retention starts at its end."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, mode="enqueue", order_by="data.object.customer") as receiver:
        assert receiver.deliver(customer="cus_1").status_code == 202
        clock.advance(1000 * DAY)
        assert kept(receiver) == (1, 1)
        assert [job.state for job in receiver.work()] == ["success"]
        assert (receiver.effects, receiver.rows(WebhookTurn)) == (["evt_1"], [])
        clock.advance(89 * DAY)
        assert kept(receiver) == (1, 0)
        clock.advance(2 * DAY)
        assert kept(receiver) == (0, 0)


def test_a_late_success_is_remembered_from_then_on(tmp_path: Path) -> None:
    """The retention of an id starts again when a failed delivery is done."""
    clock = Clock()
    with receiving(tmp_path, failing(Boom(), None), clock=clock) as receiver:
        assert receiver.deliver().status_code == 500
        clock.advance(80 * DAY)
        assert receiver.deliver().status_code == 200
        clock.advance(80 * DAY)
        assert (kept(receiver)[0], receiver.deliver().status_code, receiver.effects) == (1, 200, ["evt_1"])


def test_a_late_success_is_remembered_by_its_content(tmp_path: Path) -> None:
    """The same holds for its content, where that identifies duplicates."""
    clock = Clock()
    handler = failing(Boom(), None, None)
    with receiving(tmp_path, handler, GitHub(secret=SECRET), clock=clock, dedupe="content") as receiver:
        assert receiver.send(BODY, sign_github).status_code == 500
        clock.advance(350 * DAY)
        assert receiver.send(BODY, sign_github).status_code == 200
        clock.advance(100 * DAY)
        sweep(receiver)
        assert receiver.send(BODY, sign_github, X_GitHub_Delivery="fresh").status_code == 200
        assert receiver.effects == ["d-1"]


def test_a_little_at_a_time(tmp_path: Path) -> None:
    """One round purges a bounded number of deliveries and bodies, and further rounds purge the rest."""
    clock = Clock()
    with receiving(tmp_path, provider=numbered(), clock=clock) as receiver:
        for number in range(120):
            receiver.send(payload(f"evt_{number}"))
        clock.advance(31 * DAY)
        assert sweep(receiver) == [240, 190, 140]
        assert kept(receiver) == (120, 0)
        clock.advance(60 * DAY)
        assert sweep(receiver) == [120, 70, 20]
        assert kept(receiver) == (0, 0)


# --- longer tolerances ------------------------------------------------------------------------------------------------


def test_ids_outlive_the_tolerance(tmp_path: Path) -> None:
    """By default an id is kept for longer than the sender's timestamp is accepted."""
    clock, body = Clock(), payload()
    headers = sign_stripe(SECRET, body, int(clock() // 1000))
    with receiving(tmp_path, provider=Stripe(secret=SECRET, tolerance=365 * DAY), clock=clock) as receiver:
        assert receiver.send(body, lambda *_: headers).status_code == 200
        for _ in range(4):
            clock.advance(91 * DAY)
            assert kept(receiver)[0] == 1
            assert receiver.send(body, lambda *_: headers).status_code == 200
        clock.advance(2 * DAY)
        assert receiver.send(body, lambda *_: headers).status_code == 400
        assert receiver.effects == ["evt_1"]


def slow() -> Provider:
    """Return a provider that accepts deliveries from a month before their time to a month after it."""
    return build_hmac(SECRET, tolerance=30 * DAY, retry_window=timedelta(hours=1))


@pytest.mark.parametrize("days", [1, 30, 60])
def test_ids_that_the_tolerance_would_outlive(days: int) -> None:
    """A retention shorter than the timestamp's tolerance, past and future, is refused."""
    with pytest.raises(RegistrationError, match=r"is too short: hmac may send .* or anybody within the tolerance"):
        HttpRouter("http", __name__).webhook("/hook", slow(), keep_ids=days * DAY)(record)


def test_ids_that_just_outlive_the_tolerance(tmp_path: Path) -> None:
    """A delivery of a clock that is far ahead is recognised for as long as it is accepted."""
    clock, body = Clock(), payload()
    headers = sign_hmac(SECRET, body, int((clock() + 30 * DAY.total_seconds() * 1000) // 1000))
    with receiving(tmp_path, provider=slow(), clock=clock, keep_ids=60 * DAY + 2 * SECOND) as receiver:
        assert receiver.send(body, lambda *_: headers).status_code == 200
        clock.advance(60 * DAY - SECOND)
        sweep(receiver)
        assert receiver.send(body, lambda *_: headers).status_code == 200
        clock.advance(2 * SECOND)
        assert receiver.send(body, lambda *_: headers).status_code == 400
        assert receiver.effects == ["evt_1"]


# --- unreadable rows --------------------------------------------------------------------------------------------------


def spoil(receiver: Receiver, delivery_id: str) -> None:
    """Make a row unreadable for this version, as a newer version may write it."""
    table = receiver.backend.inbox.deliveries.table
    newer = {"attempts": '[{"started":1.0,"ended":2.0,"by":"somebody new"}]'}
    receiver.backend.engine.write(lambda transaction: transaction.update(table, delivery_id, newer))
    with pytest.raises(EngineError, match="attempts"):
        assert receiver.deliveries


def test_what_cannot_be_read_is_purged_too(tmp_path: Path) -> None:
    """An unreadable row is purged in time, and blocks neither others nor the rest of housekeeping."""
    clock = Clock()
    with receiving(tmp_path, failing(None, Boom(), DeadLetterError("no"), None), clock=clock) as receiver:
        for number in range(4):
            receiver.deliver(f"evt_{number}")
        assert receiver.states == ["done", "failed", "dead", "done"]
        for delivery in receiver.deliveries[:3]:
            spoil(receiver, delivery.id)
        clock.advance(31 * DAY)
        assert not Cleaner(receiver.backend).purge()
        assert len(receiver.bodies) == 2  # of a failed and of a dead delivery
        clock.advance(60 * DAY)
        assert not Cleaner(receiver.backend).purge()
        assert (receiver.deliveries, receiver.bodies) == ([], [])


def test_a_pending_one_that_cannot_be_read(tmp_path: Path) -> None:
    """An unreadable pending delivery is kept, and other deliveries without a job are still found."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, mode="enqueue") as receiver:
        assert [receiver.deliver(name).status_code for name in ("evt_1", "evt_2", "evt_3")] == [202] * 3
        first, second, _ = receiver.rows(ScheduledFunction)
        for job in (first, second):
            remove(receiver.backend, job.id)
        spoil(receiver, receiver.deliveries[0].id)
        clock.advance(2 * timedelta(hours=1))
        for _ in range(2):
            assert not Cleaner(receiver.backend).purge()
        receiver.work()
        assert (sorted(receiver.effects), len(receiver.bodies)) == (["evt_2", "evt_3"], 3)


def test_a_try_that_cannot_be_read(tmp_path: Path) -> None:
    """An unreadable job that is not due blocks no housekeeping."""
    clock = Clock()
    retry = Retry(max_attempts=2, backoff=timedelta(hours=5), max_backoff=timedelta(hours=5))
    with receiving(tmp_path, failing(Boom(), None), clock=clock, mode="enqueue", retry=retry) as receiver:
        receiver.deliver()
        receiver.work()
        [job] = [job for job in receiver.rows(ScheduledFunction) if job.state == "pending"]
        jobs = receiver.backend.jobs.table
        receiver.backend.engine.write(lambda transaction: transaction.update(jobs, job.id, {"args": "5"}))
        clock.advance(timedelta(hours=2))
        assert not Cleaner(receiver.backend).purge()
        clock.advance(timedelta(hours=5))
        receiver.work()  # the worker sets it aside
        assert not Cleaner(receiver.backend).purge()
        receiver.work()
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])


def test_a_content_whose_delivery_cannot_be_read(tmp_path: Path) -> None:
    """A content stays with its delivery and is purged with it, even if that is unreadable."""
    clock = Clock()
    handler = failing(Boom(), None)
    with receiving(tmp_path, handler, GitHub(secret=SECRET), clock=clock, dedupe="content") as receiver:
        assert receiver.send(BODY, sign_github).status_code == 500
        clock.advance(350 * DAY)
        assert receiver.send(BODY, sign_github).status_code == 200
        spoil(receiver, receiver.delivery.id)
        clock.advance(100 * DAY)
        assert not Cleaner(receiver.backend).purge()
        assert len(receiver.rows(WebhookContent)) == 1
        clock.advance(301 * DAY)
        assert not Cleaner(receiver.backend).purge()
        assert (receiver.deliveries, receiver.rows(WebhookContent)) == ([], [])
