"""Dry runs: the changes that a replay would make are shown and rolled back."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ConvexError
from flask_convex_http.inbox.rerun_results import Preview
from flask_convex_http.runtime.row_changes import FieldChange
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, database_digest
from tests.orders import SECRET, VARIABLE, Shop, dead_letter_error, remind, shop, store

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR = timedelta(hours=1)


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Open the shop in its application context."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made, made.app.app_context():
        yield made


def previewed(shop: Shop, delivery_id: str) -> Preview:
    """Return the preview of a replay that is possible."""
    preview = shop.replays.preview(delivery_id)
    assert isinstance(preview, Preview)
    return preview


def later(shop: Shop) -> str:
    """Schedule a job."""
    return shop.backend.ctx().scheduler.run_after(HOUR, remind, number="later")


def settled(shop: Shop, paid: str, gone: str = "nothing") -> dict[str, Any]:
    """Return the event whose handler makes every kind of change."""
    file_id = shop.backend.ctx().run_action(store)
    return {"type": "order.settled", "paid": paid, "gone": gone, "job": later(shop), "file": file_id}


def test_a_dry_run_shows_each_change(orders: Shop) -> None:
    """A dry run shows rows with their fields before and after, and changes of jobs and files in words."""
    orders.send("paid")
    orders.send("gone")
    paid, gone = orders.orders()
    told = settled(orders, "paid", "gone")
    delivery_id = orders.fail("e1", **told)
    preview = previewed(orders, delivery_id)
    assert (preview.status, preview.error) == (200, None)
    changed, deleted, inserted = preview.rows
    assert (changed.table, changed.id, changed.verb) == ("orders", paid.id, "changed")
    assert changed.fields == {"is_paid": FieldChange(False, True), "tags": FieldChange([], ["settled"])}
    assert (deleted.id, deleted.verb, deleted.fields["number"]) == (gone.id, "deleted", FieldChange("gone", None))
    assert (inserted.table, inserted.verb, inserted.fields["total"]) == ("orders", "inserted", FieldChange(None, 7))
    scheduled, canceled, file = preview.system
    assert (scheduled.what, scheduled.name, scheduled.args) == ("scheduled", remind.name, {"number": "e1"})
    assert scheduled.time == orders.clock() + 60_000
    assert (canceled.what, canceled.name, canceled.args) == ("canceled", remind.name, {"number": "later"})
    assert (file.what, file.name) == ("file deleted", told["file"])


def test_a_dry_run_leaves_nothing(orders: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run changes no byte of the database, deletes no file and wakes no worker."""
    told = settled(orders, "e0")
    delivery_id = orders.fail("e1", **told)
    woken: list[None] = []
    monkeypatch.setattr(orders.backend.engine.notifications, "notify", lambda: woken.append(None))
    before = database_digest(tmp_path)
    assert previewed(orders, delivery_id).rows
    assert database_digest(tmp_path) == before
    assert woken == []
    with orders.backend.ctx().storage.get(told["file"]) as file:  # type: ignore[union-attr]  # it is there
        assert file.read() == b"a receipt"
    assert orders.replays.retry(delivery_id).outcome == "done"  # the changes of the dry run, committed
    assert database_digest(tmp_path) != before
    assert orders.backend.ctx().storage.get_metadata(told["file"]) is None


@pytest.mark.parametrize(
    "error", [ValueError("The lamp is out"), ConvexError("no"), SystemExit("stop"), dead_letter_error()]
)
def test_a_handler_that_fails(orders: Shop, tmp_path: Path, error: BaseException) -> None:
    """A dry run of a handler that fails returns its error, and records nothing."""
    delivery_id = orders.receive("e1")
    orders.faults.error = error
    before = database_digest(tmp_path)
    preview = previewed(orders, delivery_id)
    assert (preview.status, preview.rows, preview.system) == (None, [], [])
    assert str(error) in (preview.error or "")
    assert database_digest(tmp_path) == before


def test_writes_without_a_result(orders: Shop) -> None:
    """Rolled back writes, and a row that was inserted and deleted, are no changes."""
    preview = previewed(orders, orders.receive("e1", type="order.doubtful"))
    assert (preview.status, preview.rows, preview.system) == (200, [], [])
