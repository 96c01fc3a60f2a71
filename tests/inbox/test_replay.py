"""Reruns, previews and purges of deliveries by hand, concurrently with senders and workers."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import OverloadedError
from flask_convex_http.inbox.inbox import stop_response
from flask_convex_http.inbox.rerun_results import RerunResult
from flask_convex_http.testing import run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, rows
from tests.orders import NEW_SECRET, SECRET, VARIABLE, Shop, dead_letter_error, remind, shop

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOBODY = "_webhooks_" + "0" * 32


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Return the shop in its app context, as a command has it."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made, made.app.app_context():
        yield made


def by(shop: Shop, event_id: str, source: str = "shop") -> list[tuple[str, str]]:
    """Return the cause and the outcome of each attempt."""
    return [(attempt.by, attempt.outcome) for attempt in shop.delivery(event_id, source).attempts]


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_has_the_effects_happen_again(orders: Shop) -> None:
    """A replay of a done delivery runs it once more and records its cause; the stored response stays."""
    delivery_id = orders.receive("e1")
    before = orders.delivery("e1")
    orders.clock.advance(HOUR)
    assert orders.replays.replay(delivery_id).outcome == "done"
    assert orders.numbers() == ["e1", "e1"]
    assert by(orders, "e1") == [("sender", "success"), ("replay", "success")]
    after = orders.delivery("e1")
    assert (after.state, after.answer) == ("done", before.answer)
    assert (after.completed_time, after.expires) == (before.completed_time, before.expires)
    assert orders.send("e1").text == "taken: e1"
    assert orders.numbers() == ["e1", "e1"]


def test_a_replay_that_fails_leaves_what_was_done(orders: Shop) -> None:
    """A failed replay is rolled back, and the delivery stays done, so that duplicates do not run."""
    delivery_id = orders.receive("e1")
    orders.faults.error = ValueError("The lamp is out")
    step = orders.replays.replay(delivery_id)
    assert step.outcome == "failed"
    assert "ValueError: The lamp is out" in step.sentence
    assert by(orders, "e1") == [("sender", "success"), ("replay", "failed")]
    orders.faults.error = None
    assert orders.send("e1").status_code == 200
    assert orders.numbers() == ["e1"]
    assert (orders.delivery("e1").state, orders.delivery("e1").error) == ("done", None)


def test_a_replay_fixes_what_has_failed(orders: Shop) -> None:
    """A failed delivery is done after a replay, and a duplicate gets the response of the replay."""
    delivery_id = orders.fail("e1")
    assert orders.replays.replay(delivery_id).outcome == "done"
    assert orders.delivery("e1").state == "done"
    assert orders.send("e1").text == "taken: e1"
    assert orders.numbers() == ["e1"]


def test_a_replay_is_verified_as_of_the_time_it_was_received(orders: Shop) -> None:
    """A replay verifies the signature as of the time of arrival, and the handler gets the event unchanged."""
    delivery_id = orders.receive("e1")
    received = orders.delivery("e1").received
    orders.clock.advance(20 * DAY)
    assert orders.replays.replay(delivery_id).outcome == "done"
    assert orders.delivery("e1").received == received


def test_a_replay_needs_the_secret_it_was_signed_with(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rotation of the secret a replay is refused with the fix; with the old secret it runs."""
    delivery_id = orders.receive("e1")
    monkeypatch.setenv(VARIABLE, NEW_SECRET)
    step = orders.replays.replay(delivery_id)
    assert step.outcome == "refused"
    assert VARIABLE in step.sentence
    assert "old secret beside the new one" in step.sentence
    assert SECRET not in step.sentence
    assert isinstance(orders.replays.preview(delivery_id), RerunResult)
    monkeypatch.delenv(VARIABLE)
    assert "is not set" in orders.replays.replay(delivery_id).sentence
    monkeypatch.setenv(VARIABLE, SECRET)
    assert orders.replays.replay(delivery_id).outcome == "done"
    assert orders.numbers() == ["e1", "e1"]


def test_what_was_altered_in_the_database_is_not_replayed(orders: Shop, tmp_path: Path) -> None:
    """A body that was changed in the database is refused, since its signature fails."""
    delivery_id = orders.receive("e1")
    rows(tmp_path, "UPDATE _webhook_requests SET body = ?", b'{"id": "e1", "total": 1000000}')
    assert orders.replays.replay(delivery_id).outcome == "refused"
    assert orders.numbers() == ["e1"]


def test_what_cannot_be_run_is_refused(orders: Shop, tmp_path: Path) -> None:
    """An unknown delivery, an unknown webhook and a purged body are each refused with the reason."""
    first, second = orders.receive("e1"), orders.receive("e2")
    rows(tmp_path, "UPDATE _webhooks SET source = 'former' WHERE event_id = 'e1'")
    rows(tmp_path, "DELETE FROM _webhook_requests")
    for run in (orders.replays.replay, orders.replays.preview):
        for name in (NOBODY, "", "e1", "\udce9", "_scheduled_functions_" + "0" * 32, "x" * 100_000):
            step = run(name)
            assert isinstance(step, RerunResult)
            assert step.outcome == "unknown"
        former, bodiless = run(first), run(second)
        assert isinstance(former, RerunResult)
        assert isinstance(bodiless, RerunResult)
        assert (former.outcome, "'former'" in former.sentence) == ("refused", True)
        assert (bodiless.outcome, "body was purged" in bodiless.sentence) == ("refused", True)
    assert orders.numbers() == ["e1", "e2"]


def test_what_waits_for_a_worker_is_not_replayed(orders: Shop) -> None:
    """A delivery that waits for a worker is not replayed, which would cause a second effect."""
    delivery_id = orders.receive("e1", "stock", item="lamp")
    step = orders.replays.replay(delivery_id)
    assert (step.outcome, "`retry`" in step.sentence) == ("refused", True)
    run_scheduled(orders.backend)
    assert orders.replays.replay(delivery_id).outcome == "done"
    assert orders.numbers() == ["e1", "e1"]


def test_what_a_replay_schedules_is_announced(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs scheduled by a replay are part of its commit, and workers are woken after it."""
    delivery_id = orders.receive("e1", type="order.followed")
    run_scheduled(orders.backend)
    woken: list[None] = []
    monkeypatch.setattr(orders.backend.engine.notifications, "notify", lambda: woken.append(None))
    assert orders.replays.replay(delivery_id).outcome == "done"
    assert woken == [None]
    assert [job.name for job in run_scheduled(orders.backend)] == [remind.name]


def test_what_a_duplicate_would_not_run_is_not_to_be_sent_again(orders: Shop, tmp_path: Path) -> None:
    """Without its body a done or dead delivery must be purged first; a duplicate of a failed one runs by itself."""
    done, gone, failed = orders.receive("e1"), orders.fail("e2", error=dead_letter_error()), orders.fail("e3")
    rows(tmp_path, "DELETE FROM _webhook_requests")
    for delivery_id, state in ((done, "done"), (gone, "dead")):
        sentence = orders.replays.replay(delivery_id).sentence
        assert f"a duplicate of a {state} delivery runs nothing" in sentence
        assert f"`purge {delivery_id}`" in sentence
    assert orders.replays.replay(failed).sentence.endswith("its body was purged; have the sender send it again")
    orders.purges.purge([done], bodies_only=False, pending=False)
    for event_id in ("e1", "e2", "e3"):
        orders.send(event_id)
    assert orders.numbers() == ["e1", "e1", "e3"]


# --- retry -----------------------------------------------------------------------------------------------------------


def test_a_retry_runs_what_has_failed_once(orders: Shop) -> None:
    """A retry has the effects once: the sender's next duplicate runs nothing, and a second retry is refused."""
    delivery_id = orders.fail("e1")
    assert orders.replays.retry(delivery_id).outcome == "done"
    assert orders.send("e1").text == "taken: e1"
    step = orders.replays.retry(delivery_id)
    assert (step.outcome, "`replay`" in step.sentence) == ("refused", True)
    assert orders.numbers() == ["e1"]
    assert by(orders, "e1") == [("sender", "failed"), ("retry", "success")]


@pytest.mark.parametrize(
    ("first", "then", "state"),
    [
        (ValueError("one"), ValueError("two"), "failed"),
        (ValueError("one"), dead_letter_error(), "dead"),
        (dead_letter_error(), ValueError("two"), "dead"),
        (dead_letter_error(), None, "done"),
    ],
)
def test_what_comes_of_a_retry(orders: Shop, first: BaseException, then: BaseException | None, state: str) -> None:
    """A delivery that fails again stays failed; a dead one stays dead until it is done."""
    delivery_id = orders.fail("e1", error=first)
    orders.faults.error = then
    step = orders.replays.retry(delivery_id)
    assert step.outcome == (
        "done" if then is None else "dead" if isinstance(then, type(dead_letter_error())) else "failed"
    )
    delivery = orders.delivery("e1")
    assert (delivery.state, delivery.attempts[-1].by) == (state, "retry")
    if state == "dead":
        webhook = orders.backend.webhooks.get("shop")
        assert webhook is not None
        assert delivery.answer == stop_response(webhook.provider)
    orders.faults.error = None
    assert orders.send("e1").status_code == 200  # a dead delivery stops its sender
    assert orders.numbers() == ([] if state == "dead" else ["e1"])


def test_a_retry_needs_no_secret(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry needs no secret, since the delivery was verified on arrival."""
    delivery_id = orders.fail("e1")
    monkeypatch.setenv(VARIABLE, NEW_SECRET)
    assert orders.replays.retry(delivery_id).outcome == "done"


def test_a_retry_gives_a_dead_delivery_back_to_the_worker(orders: Shop) -> None:
    """A retry of a dead enqueued delivery queues it at the end of its lane; another retry is refused."""
    orders.fail("e1", "stock", error=dead_letter_error(), item="lamp")
    delivery_id = orders.delivery("e1", "stock").id
    assert orders.delivery("e1", "stock").state == "dead"
    orders.send("e2", "stock", item="lamp")
    assert orders.replays.retry(delivery_id).outcome == "queued"
    again = orders.replays.retry(delivery_id)
    assert (again.outcome, "behind" in again.sentence) == ("refused", True)
    assert orders.numbers() == []
    orders.faults.runs.clear()
    run_scheduled(orders.backend)
    assert orders.faults.runs == ["e2", "e1"]
    assert orders.delivery("e1", "stock").state == "done"


def test_a_retry_brings_the_next_attempt_forward(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry wakes a worker that would wait an hour for the next attempt; it is one attempt, not two."""
    delivery_id = orders.fail("e1", "stock")
    job = orders.job("e1")
    assert job.due > orders.clock()
    woken: list[None] = []
    monkeypatch.setattr(orders.backend.engine.notifications, "notify", lambda: woken.append(None))
    assert orders.replays.retry(delivery_id).outcome == "queued"
    assert woken
    assert (orders.job("e1").id, orders.job("e1").due) == (job.id, orders.clock())
    orders.faults.runs.clear()
    run_scheduled(orders.backend, advance=2 * HOUR)
    assert orders.faults.runs == ["e1"]
    assert orders.numbers() == ["e1"]
    assert orders.replays.retry(delivery_id).outcome == "refused"


@pytest.mark.parametrize("more", [{}, {"item": "lamp"}])
def test_a_retry_frees_what_is_stuck(orders: Shop, tmp_path: Path, more: dict[str, str]) -> None:
    """A delivery whose job was canceled is scheduled again by a retry, with or without a lane."""
    delivery_id = orders.receive("e1", "stock", **more)
    behind = orders.receive("e2", "stock", **more)
    orders.backend.ctx().scheduler.cancel(orders.job("e1").id)
    run_scheduled(orders.backend, advance=HOUR)
    assert orders.delivery("e1", "stock").state == "canceled"
    assert orders.replays.retry(delivery_id).outcome == "queued"
    run_scheduled(orders.backend)
    assert {orders.delivery(event_id, "stock").state for event_id in ("e1", "e2")} == {"done"}
    assert sorted(orders.numbers()) == ["e1", "e2"]
    assert orders.replays.retry(behind).outcome == "refused"
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_turns") == [(0,)]


def test_many_retries_at_once_have_one_effect(orders: Shop) -> None:
    """Of several simultaneous retries and a duplicate from the sender, one runs the handler."""
    delivery_id = orders.fail("e1")
    found: list[str] = []
    together = threading.Barrier(6)

    def retry() -> None:
        with orders.app.app_context():
            together.wait(30)
            found.append(orders.replays.retry(delivery_id).outcome)

    def send() -> None:
        together.wait(30)
        found.append(str(orders.send("e1").status_code))

    threads = [threading.Thread(target=target) for target in (retry, retry, retry, retry, send, send)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert orders.numbers() == ["e1"]
    assert found.count("200") == 2
    assert found.count("done") + found.count("refused") == 4


def test_a_busy_database_is_no_failure_of_the_handler(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the writer is busy nothing is run or recorded, and the caller gets the error."""
    delivery_id = orders.fail("e1")
    write, calls = orders.backend.engine.write, count()

    def busy(work: Any, **options: Any) -> Any:
        if next(calls) == 0:
            raise OverloadedError("not now")
        return write(work, **options)

    monkeypatch.setattr(orders.backend.engine, "write", busy)
    with pytest.raises(OverloadedError):
        orders.replays.retry(delivery_id)
    assert by(orders, "e1") == [("sender", "failed")]


# --- purge -----------------------------------------------------------------------------------------------------------


def test_what_is_purged_comes_as_new(orders: Shop, tmp_path: Path) -> None:
    """A duplicate of a purged delivery runs again, and no row of the first one is left."""
    delivery_id = orders.receive("e1")
    (step,) = orders.purges.purge([delivery_id], bodies_only=False, pending=False)
    assert step.outcome == "forgotten"
    for table in ("_webhooks", "_webhook_requests", "_webhook_turns"):
        assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]
    orders.send("e1")
    assert orders.numbers() == ["e1", "e1"]
    assert [step.outcome for step in orders.purges.purge([NOBODY, "?"], bodies_only=False, pending=True)] == [
        "unknown",
        "unknown",
    ]


def test_bodies_go_and_ids_stay(orders: Shop, tmp_path: Path) -> None:
    """Without headers and body a delivery still recognises duplicates, and cannot be replayed."""
    delivery_id = orders.receive("e1")
    (step,) = orders.purges.purge([delivery_id], bodies_only=True, pending=False)
    assert step.outcome == "forgotten"
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(0,)]
    assert orders.send("e1").text == "taken: e1"
    assert orders.numbers() == ["e1"]
    assert orders.replays.replay(delivery_id).outcome == "refused"


def test_what_waits_is_purged_only_on_purpose(orders: Shop) -> None:
    """A purge keeps pending deliveries unless asked for them; then the next of the lane gets its turn."""
    first = orders.receive("e1", "stock", item="lamp")
    orders.send("e2", "stock", item="lamp")
    orders.send("e3", "stock", item="lamp")
    (kept,) = orders.purges.purge([first], bodies_only=False, pending=False)
    assert kept.outcome == "refused"
    job = orders.job("e1").id
    second = orders.delivery("e2", "stock").id
    for delivery_id in (second, first):  # one that waits for its turn, and the first of the lane
        (gone,) = orders.purges.purge([delivery_id], bodies_only=False, pending=True)
        assert gone.outcome == "forgotten"
    ran = run_scheduled(orders.backend)
    assert orders.numbers() == ["e3"]
    assert job not in [function.id for function in ran]
