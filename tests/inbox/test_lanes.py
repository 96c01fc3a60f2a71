"""order_by=: deliveries of one lane run in the order of arrival, and lanes do not block each other."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import DeadLetterError, MutationCtx, Retry, WebhookEvent
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookTurn
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Boom, Handler, Receiver, numbered, receiving, record

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR = timedelta(hours=1)
BY_CUSTOMER = "data.object.customer"


def ordered(folder: Path, handler: Handler = record, order_by: Any = BY_CUSTOMER, **options: Any) -> Any:
    """Yield an app whose webhook has lanes."""
    return receiving(folder, handler, mode="enqueue", order_by=order_by, **options)


def failing_for(bad: str, error: Callable[[], BaseException] = Boom, times: int = 1) -> Handler:
    """Return a handler that fails this many times for one event."""
    left = [times]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        if event.id == bad and left[0]:
            left[0] -= 1
            raise error()

    return handler


def deliver_all(receiver: Receiver, *lanes: tuple[str, str]) -> None:
    """Deliver events, each with its customer."""
    for event_id, customer in lanes:
        assert receiver.deliver(event_id, customer=customer).status_code == 202


def test_the_order_is_kept(tmp_path: Path) -> None:
    """Deliveries of a lane run in the order of arrival, and only the first of a lane is scheduled."""
    with ordered(tmp_path) as receiver:
        deliver_all(receiver, *[(f"evt_{number}", "cus_1") for number in range(5)])
        assert len(receiver.rows(ScheduledFunction)) == 1
        assert [delivery.lane for delivery in receiver.deliveries] == ["cus_1"] * 5
        receiver.work()
        assert receiver.effects == [f"evt_{number}" for number in range(5)]
        assert (set(receiver.states), receiver.rows(WebhookTurn)) == ({"done"}, [])


def test_one_that_fails_holds_up_its_own_lane(tmp_path: Path) -> None:
    """A delivery that is retried blocks its own lane only."""
    with ordered(tmp_path, failing_for("a1"), clock=Clock()) as receiver:
        deliver_all(receiver, ("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"))
        receiver.work()
        assert receiver.effects == ["b1", "b2"]
        deliver_all(receiver, ("a3", "a"))
        assert receiver.work() == []
        receiver.work(advance=HOUR)
        assert receiver.effects == ["b1", "b2", "a1", "a2", "a3"]


def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """A later delivery waits for an earlier one although the clock is set back, and each runs once."""
    clock = Clock()
    with ordered(tmp_path, failing_for("a1", times=2), clock=clock) as receiver:
        deliver_all(receiver, ("a1", "a"))
        receiver.work()
        for name in ("a2", "a3"):
            clock.advance(-HOUR)
            deliver_all(receiver, (name, "a"))
            assert receiver.work() == []
        assert (receiver.effects, [job.state for job in receiver.rows(ScheduledFunction)].count("pending")) == ([], 1)
        receiver.work(advance=5 * HOUR)
        assert (receiver.effects, receiver.states.count("done")) == (["a1", "a2", "a3"], 3)
        assert len(receiver.rows(ScheduledFunction)) == 5


@pytest.mark.parametrize("error", [Boom, lambda: DeadLetterError("no")], ids=["tried too often", "given up"])
def test_one_that_is_dead_frees_its_lane(error: Callable[[], BaseException], tmp_path: Path) -> None:
    """A dead delivery frees its lane for the next one."""
    retry = Retry(max_attempts=2, backoff=1)
    with ordered(tmp_path, failing_for("a1", error, 2), clock=Clock(), retry=retry) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"), ("a3", "a"))
        receiver.work(advance=HOUR)
        assert (receiver.effects, receiver.states) == (["a2", "a3"], ["dead", "done", "done"])
        assert receiver.rows(WebhookTurn) == []


def test_a_duplicate_has_no_place_of_its_own(tmp_path: Path) -> None:
    """Duplicates of a waiting delivery change nothing."""
    with ordered(tmp_path) as receiver:
        deliver_all(receiver, ("a1", "a"), ("a2", "a"), ("a1", "a"), ("a2", "a"))
        assert len(receiver.rows(WebhookTurn)) == 2
        receiver.work()
        deliver_all(receiver, ("a3", "a"))
        assert receiver.deliver("a1", customer="a").status_code == 202
        receiver.work()
        assert receiver.effects == ["a1", "a2", "a3"]


def test_lanes_are_of_one_webhook(tmp_path: Path) -> None:
    """The same customer of another webhook is another lane."""
    with ordered(tmp_path, failing_for("a1"), source="one", is_kept=True) as receiver:
        deliver_all(receiver, ("a1", "a"))
        receiver.work()
    with ordered(tmp_path, source="two", is_kept=True) as receiver:
        deliver_all(receiver, ("a2", "a"))
        receiver.work()
        assert receiver.effects == ["a2"]


@pytest.mark.parametrize(
    "subject", [{}, {"customer": None}, {"customer": ""}, {"customer": {"id": "a"}}, {"customer": True}], ids=str
)
def test_what_has_no_lane(subject: dict[str, Any], tmp_path: Path) -> None:
    """A delivery without a lane waits for no other."""
    with ordered(tmp_path, failing_for("a1"), clock=Clock()) as receiver:
        receiver.deliver("a1", **subject)
        receiver.deliver("a2", **subject)
        receiver.work()
        assert (receiver.effects, [delivery.lane for delivery in receiver.deliveries]) == (["a2"], [None, None])
        receiver.work(advance=HOUR)
        assert receiver.effects == ["a2", "a1"]


@pytest.mark.parametrize(
    "lane",
    ["x" * 10_000, "é\u0000\n' OR 1=1 --", "\U0001f600", 5, -1.5, 2**63, 10**30, "\ud800"],
    ids=["long", "odd", "emoji", "number", "fraction", "2**63", "10**30", "half a character"],
)
def test_strange_lanes(lane: Any, tmp_path: Path) -> None:
    """A lane may be any text or number, and its deliveries run one after another."""
    with ordered(tmp_path, failing_for("a1"), lambda event: lane, clock=Clock()) as receiver:
        assert [receiver.deliver(name).status_code for name in ("a1", "a2")] == [202, 202]
        receiver.work()
        assert receiver.effects == []
        receiver.work(advance=HOUR)
        assert receiver.effects == ["a1", "a2"]
        names = {delivery.lane for delivery in receiver.deliveries}
        assert len(names) == 1 and 0 < len(str(*names)) <= 300


@pytest.mark.parametrize("number", [b"5", b"5e300", b"-0.0", b"1" * 40, b"1" * 5000, b"1e999", b'"\\ud800"'])
def test_strange_lanes_of_a_payload(number: bytes, tmp_path: Path) -> None:
    """Any value in the payload where the lane is read is accepted without a server error."""
    body = b'{"id": "evt_1", "type": "x", "lane": ' + number + b"}"
    with ordered(tmp_path, order_by="lane", provider=numbered()) as receiver:
        assert receiver.send(body).status_code in (202, 400)
        receiver.work()
        assert set(receiver.states) <= {"done"}


@pytest.mark.parametrize("body", [b'{"id": "1", "type": "x", "data": [1]}', b'{"id": "1", "type": "x", "data": "y"}'])
def test_a_path_that_leads_nowhere(body: bytes, tmp_path: Path) -> None:
    """A path into a value that is not an object means no lane."""
    with ordered(tmp_path, provider=numbered()) as receiver:
        assert receiver.send(body).status_code == 202
        assert receiver.delivery.lane is None


def test_a_function_of_the_event(tmp_path: Path) -> None:
    """A function of the event returns the lane."""
    with ordered(tmp_path, order_by=lambda event: event.type) as receiver:
        receiver.deliver("a1", "order.paid")
        receiver.deliver("a2", "order.sent")
        assert [delivery.lane for delivery in receiver.deliveries] == ["order.paid", "order.sent"]


def test_a_function_that_fails(tmp_path: Path) -> None:
    """A function that raises is a failed attempt; after a fix the next duplicate is enqueued in its lane."""
    with ordered(tmp_path, order_by=lambda event: event.payload["customer"], is_kept=True) as receiver:
        assert receiver.deliver("a1", customer="a").status_code == 500
        assert (receiver.states, receiver.work()) == (["failed"], [])
        assert "KeyError" in str(receiver.delivery.error)
    with ordered(tmp_path, is_kept=True) as receiver:
        deliver_all(receiver, ("a0", "a"), ("a1", "a"), ("a2", "a"))
        receiver.work()
        assert (receiver.effects, receiver.states) == (["a0", "a1", "a2"], ["done"] * 3)
