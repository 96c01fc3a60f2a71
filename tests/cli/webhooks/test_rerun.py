"""`flask convex webhooks replay`, `retry` and `purge`."""

from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.cli.output import moment
from flask_convex_http.testing import run_scheduled
from tests.databases import rows
from tests.orders import NEW_SECRET, VARIABLE, Shop, dead_letter_error, list_event_ids

HOUR = timedelta(hours=1)


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_asks_first(orders: Shop) -> None:
    """The question has the number of deliveries. After yes, or with --yes, they run in the order of arrival."""
    orders.send("e1")
    orders.send("e2")
    asked = orders.convex("webhooks", "replay", "--source", "shop", stdin="n\n")
    assert (asked.status, "2 deliveries will run, and their effects will happen again" in asked.err) == (1, True)
    assert orders.numbers() == ["e1", "e2"]
    assert orders.convex("webhooks", "replay", "--source", "shop", stdin="y\n").status == 0
    assert orders.numbers() == ["e1", "e2", "e1", "e2"]
    steps = orders.convex("webhooks", "replay", "--since", "1h", "--limit", "1", "--yes", "--json").json
    assert [(step["_id"], step["outcome"]) for step in steps] == [(orders.delivery("e1").id, "done")]
    assert orders.numbers() == ["e1", "e2", "e1", "e2", "e1"]


def test_a_replay_that_fails_does_not_stop_the_others(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each replay is a transaction of its own. One that cannot run makes the exit status 1."""
    orders.send("e1")
    monkeypatch.setenv(VARIABLE, NEW_SECRET)
    orders.send("e2")
    ended = orders.convex("webhooks", "replay", "e1", "e2", "e2", "e3", "--yes")
    assert ended.status == 1
    assert "e2" in ended.out
    assert "old secret" in ended.err
    assert "no delivery 'e3'" in ended.err
    assert orders.numbers() == ["e1", "e2", "e2"]


def test_a_dry_run_is_printed_and_rolled_back(orders: Shop) -> None:
    """A dry run prints each change of a field and each scheduled job, asks nothing and commits nothing."""
    orders.send("e1")
    (order,) = orders.orders()
    orders.send("e2", type="order.doubtful")
    job = orders.backend.ctx().scheduler.run_after(HOUR, "orders:remind", number="x")
    file = orders.backend.ctx().run_action("orders:store")
    orders.faults.error = ValueError("not yet")
    orders.send("e3", type="order.settled", paid="e1", gone="", job=job, file=file)
    orders.faults.error = None
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
        "  would respond 200 and change nothing",
    ):
        assert line in shown.out.splitlines()
    assert orders.orders() == [order]
    preview = orders.convex("webhooks", "replay", "e3", "--dry-run", "--json").json[0]
    assert preview["rows"][0]["fields"]["is_paid"] == {"before": False, "after": True}
    orders.faults.error = ValueError("not yet")
    failing = orders.convex("webhooks", "replay", "e1", "--dry-run")
    assert (failing.status, "would fail and change nothing: ValueError: not yet" in failing.out) == (1, True)
    assert len(orders.delivery("e1").attempts) == 1


@pytest.mark.parametrize("command", ["replay", "retry"])
def test_a_selection_is_required(orders: Shop, command: str) -> None:
    """Neither ids nor filters, or both, is a usage error. Filters that match nothing are not."""
    assert orders.convex("webhooks", command).status == 2
    assert orders.convex("webhooks", command, "e1", "--since", "1h").status == 2
    assert orders.convex("webhooks", command, "--limit", "3").status == 2
    assert orders.convex("webhooks", command, "--since", "1h").out == "No deliveries match.\n"
    assert orders.convex("webhooks", command, "--since", "1h", "--json").json == []


# --- retry -----------------------------------------------------------------------------------------------------------


def test_a_retry_selects_failed_and_dead_deliveries(orders: Shop) -> None:
    """Filters select failed and dead deliveries, which run in the command or become due for a worker."""
    orders.send("e1")
    orders.fail("e2")
    orders.fail("e3", error=dead_letter_error())
    orders.fail("e4", "stock", error=dead_letter_error())
    steps = orders.convex("webhooks", "retry", "--since", "1h", "--json").json
    assert [step["outcome"] for step in steps] == ["done", "done", "queued"]
    run_scheduled(orders.backend)
    assert orders.numbers() == ["e1", "e2", "e3", "e4"]
    again = orders.convex("webhooks", "retry", "e2")
    assert (again.status, "`replay` has them happen again" in again.err) == (1, True)


def test_a_retry_that_fails_ends_with_1(orders: Shop) -> None:
    """A failed retry prints the error on stderr or as JSON, and leaves the delivery failed."""
    orders.fail("e1")
    orders.faults.error = ValueError("still out")
    ended = orders.convex("webhooks", "retry", "e1")
    assert (ended.status, "ValueError: still out" in ended.err) == (1, True)
    ended = orders.convex("webhooks", "retry", "--status", "failed", "--json")
    assert (ended.status, ended.json[0]["outcome"]) == (1, "failed")
    assert orders.delivery("e1").state == "failed"


def test_a_pending_delivery_is_retried_by_its_state(orders: Shop) -> None:
    """Pending deliveries are only selected by id or with `--status pending`."""
    orders.fail("e1", "stock")
    assert orders.convex("webhooks", "retry", "--source", "stock").out == "No deliveries match.\n"
    assert "is due now" in orders.convex("webhooks", "retry", "--source", "stock", "--status", "pending").out
    run_scheduled(orders.backend)
    assert orders.delivery("e1", "stock").state == "done"


# --- purge -----------------------------------------------------------------------------------------------------------


def test_a_purge_asks_first(orders: Shop, tmp_path: Path) -> None:
    """The question warns about duplicates. Younger, pending and other webhooks' deliveries stay."""
    orders.send("e1")
    orders.send("e2", "partner")
    orders.send("e3", "stock")
    orders.clock.advance(3 * HOUR)
    orders.send("e4")
    asked = orders.convex("webhooks", "purge", "--older-than", "2h", stdin="n\n")
    assert asked.status == 1
    assert "2 deliveries will be purged. A purged delivery that is sent again runs again." in asked.err
    assert len(list_event_ids(orders)) == 4
    assert orders.convex("webhooks", "purge", "--older-than", "2h", "--source", "shop", "--yes", "--json").json == {
        "forgotten": 1
    }
    assert list_event_ids(orders) == ["e4", "e3", "e2"]
    assert "3 deliveries" not in orders.convex("webhooks", "purge", "--source", "hmac", "--yes").out
    assert list_event_ids(orders) == ["e3"]
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(1,)]
    assert orders.convex("webhooks", "purge", "e3", "e9", "--yes").status == 1
    assert list_event_ids(orders) == []
    assert run_scheduled(orders.backend) == []


def test_a_purge_of_bodies_keeps_the_ids(orders: Shop, tmp_path: Path) -> None:
    """After a purge of bodies a duplicate still does not run the handler."""
    orders.send("e1")
    ended = orders.convex("webhooks", "purge", "--source", "shop", "--bodies-only", stdin="y\n")
    assert (ended.status, ended.out) == (0, "Purged the headers and bodies of 1 delivery.\n")
    assert rows(tmp_path, "SELECT count(*) FROM _webhook_requests") == [(0,)]
    orders.send("e1")
    assert orders.numbers() == ["e1"]


def test_a_purge_needs_a_selection(orders: Shop) -> None:
    """Neither ids nor filters, or both, is a usage error: nothing never selects everything."""
    assert orders.convex("webhooks", "purge").status == 2
    assert orders.convex("webhooks", "purge", "e1", "--older-than", "1d").status == 2
