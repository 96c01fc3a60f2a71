"""What the inbox keeps, and for how long: bodies go before ids, and what is not done keeps what it needs."""

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
from tests.webhooks.senders import BODY, SECRET, build_hmac, sign_github, sign_hmac, sign_stripe

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def sweep(receiver: Receiver) -> list[int]:
    """Forget what may be forgotten; answers how many bodies and deliveries are left after each round."""
    housekeeping, left = Cleaner(receiver.backend), [len(receiver.bodies) + len(receiver.deliveries)]
    while housekeeping.purge():
        left.append(len(receiver.bodies) + len(receiver.deliveries))
    return left


def kept(receiver: Receiver) -> tuple[int, int]:
    """How many ids and how many bodies are kept."""
    sweep(receiver)
    return len(receiver.deliveries), len(receiver.bodies)


@pytest.mark.parametrize(
    ("options", "bodies", "ids"),
    [({}, 30, 90), ({"keep_bodies": 5 * DAY, "keep_ids": 300 * DAY}, 5, 300), ({"keep_bodies": 0 * DAY}, 0, 90)],
    ids=["default", "chosen", "no bodies"],
)
def test_bodies_go_before_ids(options: dict[str, Any], bodies: int, ids: int, tmp_path: Path) -> None:
    """Headers and bodies are kept for a month and ids for three, or as long as it says; a copy is known without its
    body."""
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
    """Where a delivery never gets too old to be sent again its id is kept for more than a year."""
    clock = Clock()
    with receiving(tmp_path, provider=GitHub(secret=SECRET), clock=clock) as receiver:
        receiver.send(BODY, sign_github)
        clock.advance(399 * DAY)
        assert kept(receiver) == (1, 0)
        assert receiver.send(BODY, sign_github, X_GitHub_Delivery="fresh").status_code == 200
        clock.advance(2 * DAY)
        assert (kept(receiver), receiver.rows(WebhookContent), receiver.effects) == ((0, 0), [], ["d-1"])


def test_what_was_forgotten_is_new(tmp_path: Path) -> None:
    """A delivery whose id has expired runs again, as if it had never come, under whatever id it comes."""
    clock = Clock()
    with receiving(tmp_path, provider=GitHub(secret=SECRET), clock=clock) as receiver:
        receiver.send(BODY, sign_github)
        clock.advance(401 * DAY)
        sweep(receiver)
        assert receiver.send(BODY, sign_github, X_GitHub_Delivery="d-2").status_code == 200
        assert (receiver.effects, len(receiver.deliveries)) == (["d-1", "d-2"], 1)


def test_one_that_somebody_had_forgotten(tmp_path: Path) -> None:
    """A delivery that was forgotten by hand is new as a whole, its content, too."""
    with receiving(tmp_path, provider=GitHub(secret=SECRET)) as receiver:
        receiver.send(BODY, sign_github)
        inbox, delivery = receiver.backend.inbox, receiver.delivery
        receiver.backend.engine.write(lambda transaction: inbox.deliveries.delete(transaction, delivery.id))
        assert [receiver.rows(table) for table in (WebhookDelivery, WebhookRequest)] == [[], []]
        assert [receiver.send(BODY, sign_github).status_code for _ in range(2)] == [200, 200]
        assert (receiver.effects, len(receiver.deliveries)) == (["d-1", "d-1"], 1)


def test_what_is_not_done_keeps_its_body(tmp_path: Path) -> None:
    """What has failed or is dead may be run again by somebody, and what is pending must be: their bodies stay."""
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
    """What waits for a worker is not forgotten, however long there is none; from its end on it is kept like others."""
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
    """An id's time begins anew when a delivery that had failed is done."""
    clock = Clock()
    with receiving(tmp_path, failing(Boom(), None), clock=clock) as receiver:
        assert receiver.deliver().status_code == 500
        clock.advance(80 * DAY)
        assert receiver.deliver().status_code == 200
        clock.advance(80 * DAY)
        assert (kept(receiver)[0], receiver.deliver().status_code, receiver.effects) == (1, 200, ["evt_1"])


def test_a_late_success_is_remembered_by_its_content(tmp_path: Path) -> None:
    """So does its content's, where that is what tells copies."""
    clock = Clock()
    with receiving(tmp_path, failing(Boom(), None, None), GitHub(secret=SECRET), clock=clock) as receiver:
        assert receiver.send(BODY, sign_github).status_code == 500
        clock.advance(350 * DAY)
        assert receiver.send(BODY, sign_github).status_code == 200
        clock.advance(100 * DAY)
        sweep(receiver)
        assert receiver.send(BODY, sign_github, X_GitHub_Delivery="fresh").status_code == 200
        assert receiver.effects == ["d-1"]


def test_a_little_at_a_time(tmp_path: Path) -> None:
    """One round forgets a bounded number of deliveries and of bodies; round after round all of it goes."""
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


# --- what is signed for longer ---------------------------------------------------------------------------------------


def test_ids_outlive_the_tolerance(tmp_path: Path) -> None:
    """Whoever has seen a delivery can repeat it for as long as its time is accepted: by default its id is kept for
    longer than that."""
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
    """A sender whose deliveries are accepted from a month before their time to a month after it."""
    return build_hmac(SECRET, tolerance=30 * DAY, retry_window=timedelta(hours=1))


@pytest.mark.parametrize("days", [1, 30, 60])
def test_ids_that_the_tolerance_would_outlive(days: int) -> None:
    """Ids that would be forgotten while a delivery is still accepted are refused; so is the time to come counted."""
    with pytest.raises(RegistrationError, match=r"is too short: hmac may send .* or anybody within the tolerance"):
        HttpRouter("http", __name__).webhook("/hook", slow(), keep_ids=days * DAY)(record)


def test_ids_that_just_outlive_the_tolerance(tmp_path: Path) -> None:
    """A delivery from a clock that is far ahead is known to the last moment at which it is accepted."""
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


# --- what cannot be read ---------------------------------------------------------------------------------------------


def spoil(receiver: Receiver, delivery_id: str) -> None:
    """Have a row be one that this version cannot read, such as a newer version has written."""
    table = receiver.backend.inbox.deliveries.table
    newer = {"attempts": '[{"started":1.0,"ended":2.0,"by":"somebody new"}]'}
    receiver.backend.engine.write(lambda transaction: transaction.update(table, delivery_id, newer))
    with pytest.raises(EngineError, match="attempts"):
        assert receiver.deliveries


def test_what_cannot_be_read_is_forgotten_too(tmp_path: Path) -> None:
    """A row that cannot be read is forgotten when it is time, and holds up neither others nor the rest of
    housekeeping."""
    clock = Clock()
    with receiving(tmp_path, failing(None, Boom(), DeadLetterError("no"), None), clock=clock) as receiver:
        for number in range(4):
            receiver.deliver(f"evt_{number}")
        assert receiver.states == ["done", "failed", "dead", "done"]
        for delivery in receiver.deliveries[:3]:
            spoil(receiver, delivery.id)
        clock.advance(31 * DAY)
        assert not Cleaner(receiver.backend).purge()
        assert len(receiver.bodies) == 2  # of what has failed and what is dead
        clock.advance(60 * DAY)
        assert not Cleaner(receiver.backend).purge()
        assert (receiver.deliveries, receiver.bodies) == ([], [])


def test_a_pending_one_that_cannot_be_read(tmp_path: Path) -> None:
    """What waits and cannot be read is left as it is, and the others that nothing is to run are found."""
    clock = Clock()
    with receiving(tmp_path, clock=clock, mode="enqueue") as receiver:
        assert [receiver.deliver(name).status_code for name in ("evt_1", "evt_2", "evt_3")] == [202] * 3
        first, second, _ = receiver.rows(ScheduledFunction)
        for job in (first, second):
            receiver.backend.ctx().scheduler.cancel(job.id)
        spoil(receiver, receiver.deliveries[0].id)
        clock.advance(2 * timedelta(hours=1))
        for _ in range(2):
            assert not Cleaner(receiver.backend).purge()
        receiver.work()
        assert (sorted(receiver.effects), len(receiver.bodies)) == (["evt_2", "evt_3"], 3)


def test_a_try_that_cannot_be_read(tmp_path: Path) -> None:
    """A scheduled function that cannot be read, and is not due yet, keeps housekeeping from nothing."""
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
        receiver.work()  # sets it aside
        assert not Cleaner(receiver.backend).purge()
        receiver.work()
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])


def test_a_content_whose_delivery_cannot_be_read(tmp_path: Path) -> None:
    """A content stays with its delivery, and goes with it, also if that cannot be read."""
    clock = Clock()
    handler = failing(Boom(), None)
    with receiving(tmp_path, handler, GitHub(secret=SECRET), clock=clock) as receiver:
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
