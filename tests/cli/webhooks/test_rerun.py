"""`flask convex webhooks`: replay, retry and purge."""

from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.cli.output import moment
from flask_convex_http.testing import run_scheduled
from tests.databases import rows
from tests.orders import NEW_SECRET, VARIABLE, Shop, dead, listed

HOUR = timedelta(hours=1)
NOBODY = "_webhooks_" + "0" * 32


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_asks_first(orders: Shop) -> None:
    """It says how many would have their effects again; only a yes, or --yes, runs them, oldest first."""
    orders.send("e1")
    orders.send("e2")
    asked = orders.convex("webhooks", "replay", "--source", "shop", stdin="n\n")
    assert (asked.status, "2 deliveries will run, and have their effects again" in asked.err) == (1, True)
    assert orders.numbers() == ["e1", "e2"]
    assert orders.convex("webhooks", "replay", "--source", "shop", stdin="y\n").status == 0
    assert orders.numbers() == ["e1", "e2", "e1", "e2"]
    told = orders.convex("webhooks", "replay", "--since", "1h", "--limit", "1", "--yes", "--json").json
    assert [(step["_id"], step["outcome"]) for step in told] == [(orders.delivery("e1").id, "done")]
    assert orders.numbers() == ["e1", "e2", "e1", "e2", "e1"]


def test_each_replay_is_its_own(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be run does not keep the others from running, and makes the exit status 1."""
    orders.send("e1")
    monkeypatch.setenv(VARIABLE, NEW_SECRET)
    orders.send("e2")
    ended = orders.convex("webhooks", "replay", "e1", "e2", "e2", "e3", "--yes")
    assert ended.status == 1
    assert "e2" in ended.out
    assert "old secret" in ended.err
    assert "no delivery 'e3'" in ended.err
    assert orders.numbers() == ["e1", "e2", "e2"]


def test_a_dry_run_is_shown_and_undone(orders: Shop) -> None:
    """The rows that would change are printed, field by field, and what would be scheduled; nothing is asked or done."""
    orders.send("e1")
    (order,) = orders.orders()
    orders.send("e2", type="order.doubtful")
    job = orders.backend.ctx().scheduler.run_after(HOUR, "orders:remind", number="x")
    file = orders.backend.ctx().run_action("orders:store")
    orders.troubles.error = ValueError("not yet")
    orders.send("e3", type="order.settled", paid="e1", gone="", job=job, file=file)
    orders.troubles.error = None
    shown = orders.convex("webhooks", "replay", "--source", "shop", "--dry-run")
    assert (shown.status, shown.err) == (0, "")
    for line in (
        f"  changed {order.id}",
        "    is_paid: false -> true",
        '    tags: [] -> ["settled"]',
        "    total: 7",
        f'  scheduled: orders:remind {{"number":"e3"}} for {moment(orders.clock() + 60_000)}',
        f'  canceled: orders:remind {{"number":"x"}} for {moment(orders.clock() + HOUR.total_seconds() * 1000)}',
        f"  file deleted: {file}",
        "  would answer 200, and change nothing",
    ):
        assert line in shown.out.splitlines()
    assert orders.orders() == [order]
    told = orders.convex("webhooks", "replay", "e3", "--dry-run", "--json").json[0]
    assert told["rows"][0]["fields"]["is_paid"] == {"before": False, "after": True}
    orders.troubles.error = ValueError("not yet")
    failing = orders.convex("webhooks", "replay", "e1", "--dry-run")
    assert (failing.status, "would fail, and change nothing: ValueError: not yet" in failing.out) == (1, True)
    assert len(orders.delivery("e1").attempts) == 1


@pytest.mark.parametrize("command", ["replay", "retry"])
def test_what_is_meant_must_be_said(orders: Shop, command: str) -> None:
    """Neither ids nor filters, or both, are wrong usage; that nothing matches is none."""
    assert orders.convex("webhooks", command).status == 2
    assert orders.convex("webhooks", command, "e1", "--since", "1h").status == 2
    assert orders.convex("webhooks", command, "--limit", "3").status == 2
    assert orders.convex("webhooks", command, "--since", "1h").out == "There are no such deliveries.\n"
    assert orders.convex("webhooks", command, "--since", "1h", "--json").json == []


# --- retry -----------------------------------------------------------------------------------------------------------


def test_a_retry_takes_what_has_failed(orders: Shop) -> None:
    """Filters mean what has failed or is dead; it runs here, or waits for the worker that runs it."""
    orders.send("e1")
    orders.fail("e2")
    orders.fail("e3", error=dead())
    orders.fail("e4", "stock", error=dead())
    told = orders.convex("webhooks", "retry", "--since", "1h", "--json").json
    assert [step["outcome"] for step in told] == ["done", "done", "queued"]
    run_scheduled(orders.backend)
    assert orders.numbers() == ["e1", "e2", "e3", "e4"]
    again = orders.convex("webhooks", "retry", "e2")
    assert (again.status, "`replay` has them happen again" in again.err) == (1, True)


def test_a_retry_that_fails_ends_with_1(orders: Shop) -> None:
    """The error is on stderr, or in what programs read; the delivery is as it was."""
    orders.fail("e1")
    orders.troubles.error = ValueError("still out")
    ended = orders.convex("webhooks", "retry", "e1")
    assert (ended.status, "ValueError: still out" in ended.err) == (1, True)
    told = orders.convex("webhooks", "retry", "--status", "failed", "--json")
    assert (told.status, told.json[0]["outcome"]) == (1, "failed")
    assert orders.delivery("e1").state == "failed"


def test_what_is_stuck_is_retried_by_its_state(orders: Shop) -> None:
    """Deliveries that wait are taken only if they are named, by id or by state."""
    orders.fail("e1", "stock")
    assert orders.convex("webhooks", "retry", "--source", "stock").out == "There are no such deliveries.\n"
    assert "is due now" in orders.convex("webhooks", "retry", "--source", "stock", "--status", "pending").out
    run_scheduled(orders.backend)
    assert orders.delivery("e1", "stock").state == "done"


# --- purge -----------------------------------------------------------------------------------------------------------


def test_a_purge_asks_and_forgets(orders: Shop, tmp_path: Path) -> None:
    """It says what comes of a copy afterwards; what is younger, of another webhook, or waits, stays."""
    orders.send("e1")
    orders.send("e2", "partner")
    orders.send("e3", "stock")
    orders.clock.advance(3 * HOUR)
    orders.send("e4")
    asked = orders.convex("webhooks", "purge", "--older-than", "2h", stdin="n\n")
    assert (asked.status, "2 deliveries will be forgotten; sent again, they run again" in asked.err) == (1, True)
    assert len(listed(orders)) == 4
    assert orders.convex("webhooks", "purge", "--older-than", "2h", "--source", "shop", "--yes", "--json").json == {
        "forgotten": 1
    }
    assert listed(orders) == ["e4", "e3", "e2"]
    assert "3 deliveries" not in orders.convex("webhooks", "purge", "--source", "hmac", "--yes").out
    assert listed(orders) == ["e3"]
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(1,)]
    assert orders.convex("webhooks", "purge", "e3", "e9", "--yes").status == 1
    assert listed(orders) == []
    assert run_scheduled(orders.backend) == []


def test_a_purge_of_bodies_keeps_the_ids(orders: Shop, tmp_path: Path) -> None:
    """Personal data goes, and a copy still runs nothing."""
    orders.send("e1")
    ended = orders.convex("webhooks", "purge", "--source", "shop", "--bodies-only", stdin="y\n")
    assert (ended.status, ended.out) == (0, "1 delivery stripped of headers and body.\n")
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(0,)]
    orders.send("e1")
    assert orders.numbers() == ["e1"]


def test_a_purge_says_what_it_needs(orders: Shop) -> None:
    """Everything is never meant by saying nothing."""
    assert orders.convex("webhooks", "purge").status == 2
    assert orders.convex("webhooks", "purge", "e1", "--older-than", "1d").status == 2
