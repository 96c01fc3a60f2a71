"""Deliveries whose type has no handler: recorded, acknowledged, and run once there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import HttpRouter, Schema
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.inbox.rerun_results import Preview, RerunResult
from tests.inbox.receiving import Boom, Effect, Receiver, record, stripe
from tests.web.apps import deployed


def fail(ctx: Any, event: Any) -> None:
    """Fail."""
    raise Boom("a bug")


@contextmanager
def dispatching(folder: Path, *patterns: str, handler: Any = record, **options: Any) -> Iterator[Receiver]:
    """Yield an app whose webhook at /hook has a handler for these types, on the database in the folder."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", stripe(), **options).on(*patterns)(handler)
    config: dict[str, Any] = {"TESTING": True, "PROPAGATE_EXCEPTIONS": False}
    with deployed(folder, http, schema=Schema(Effect), is_kept=True, **config) as app:
        yield Receiver(app)


@pytest.mark.parametrize(("mode", "status"), [("transaction", 200), ("enqueue", 202)])
def test_unhandled_delivery_is_acknowledged(mode: Any, status: int, tmp_path: Path) -> None:
    """A delivery without a handler gets the usual response, as do its duplicates, and no job."""
    with dispatching(tmp_path, "order.paid", mode=mode) as shop:
        responses = [shop.deliver("evt_1", "order.lost") for _ in range(2)]
        assert shop.work() == []
        assert shop.states == ["unhandled"]
        assert shop.delivery.attempts == []
        assert shop.delivery.completed_time is not None
        assert len(shop.bodies) == 1
        assert shop.effects == []
    assert [response.status_code for response in responses] == [status, status]


@pytest.mark.parametrize("mode", ["transaction", "enqueue"])
def test_sent_again_it_runs_once_there_is_a_handler(mode: Any, tmp_path: Path) -> None:
    """A duplicate of an unhandled delivery runs the handler that was added since, once."""
    with dispatching(tmp_path, "order.paid", mode=mode) as shop:
        shop.deliver("evt_1", "order.lost")
    with dispatching(tmp_path, "order.*", mode=mode) as shop:
        for _ in range(2):
            shop.deliver("evt_1", "order.lost")
            shop.work()
        assert shop.effects == ["evt_1"]
        assert shop.states == ["done"]


def test_replay_runs_a_handler_that_was_added(tmp_path: Path) -> None:
    """A replay of an unhandled delivery is refused without a handler, and runs the one that was added since."""
    with dispatching(tmp_path, "order.paid") as shop:
        shop.deliver("evt_1", "order.lost")
        with shop.app.app_context():
            replays = Replays(shop.backend.inbox)
            results = [run(shop.delivery.id) for run in (replays.replay, replays.retry, replays.preview)]
        assert all(isinstance(result, RerunResult) and result.outcome == "refused" for result in results)
        assert all(".on('order.lost')" in getattr(result, "sentence", "") for result in results)
    with dispatching(tmp_path, "order.*") as shop, shop.app.app_context():
        preview = Replays(shop.backend.inbox).preview(shop.delivery.id)
        assert isinstance(preview, Preview) and [row.verb for row in preview.rows] == ["inserted"]
        assert shop.states == ["unhandled"]
        assert Replays(shop.backend.inbox).replay(shop.delivery.id).outcome == "done"
        assert shop.states == ["done"]
        assert shop.effects == ["evt_1"]


def test_failed_delivery_whose_handler_is_removed_is_unhandled(tmp_path: Path) -> None:
    """The retry of a failed delivery whose handler was removed is acknowledged, and keeps its attempt."""
    with dispatching(tmp_path, "order.*", handler=fail) as shop:
        assert shop.deliver("evt_1", "order.lost").status_code == 500
    with dispatching(tmp_path, "order.paid") as shop:
        assert shop.deliver("evt_1", "order.lost").status_code == 200
        assert shop.states == ["unhandled"]
        assert [attempt.outcome for attempt in shop.delivery.attempts] == ["failed"]
        assert shop.delivery.error is None


def test_failure_of_an_added_handler_is_recorded(tmp_path: Path) -> None:
    """An unhandled delivery whose new handler fails is a failed one, and runs again."""
    with dispatching(tmp_path, "order.paid") as shop:
        shop.deliver("evt_1", "order.lost")
    with dispatching(tmp_path, "order.*", handler=fail) as shop:
        assert shop.deliver("evt_1", "order.lost").status_code == 500
        assert shop.states == ["failed"]


def test_waiting_delivery_whose_handler_is_removed_is_unhandled(tmp_path: Path) -> None:
    """A worker that has no handler for a waiting delivery ends it, and goes on with its lane."""
    with dispatching(tmp_path, "order.*", mode="enqueue", order_by="data.object.lane") as shop:
        shop.deliver("evt_1", "order.lost", lane="a")
        shop.deliver("evt_2", "order.paid", lane="a")
    with dispatching(tmp_path, "order.paid", mode="enqueue", order_by="data.object.lane") as shop:
        shop.work(timedelta(hours=1))
        assert shop.states == ["unhandled", "done"]
        assert shop.effects == ["evt_2"]


def test_commands_select_unhandled_deliveries(tmp_path: Path) -> None:
    """`webhooks list --unhandled` lists them, and filters of replay select them only when told so."""
    with dispatching(tmp_path, "order.paid") as shop:
        shop.deliver("evt_1", "order.lost")
        shop.deliver("evt_2", "order.paid")
    with dispatching(tmp_path, "order.*") as shop:
        run = shop.app.test_cli_runner().invoke
        listed = run(args=["convex", "webhooks", "list", "--unhandled"]).output
        assert "evt_1" in listed and "evt_2" not in listed
        assert run(args=["convex", "webhooks", "list", "--unhandled", "--status", "done"]).exit_code == 2
        filters = ["convex", "webhooks", "replay", "--source", "/hook", "--yes"]
        assert "evt_1" not in run(args=filters).output
        assert "evt_1" in run(args=[*filters, "--status", "unhandled"]).output
        assert shop.states == ["done", "done"]
        shop.deliver("evt_3", "lost")
        run(args=["convex", "webhooks", "purge", "--source", "/hook", "--yes"])
        assert shop.deliveries == []
