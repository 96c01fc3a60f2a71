"""What a replay would do: shown, and undone."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import ConvexError
from flask_convex_http.inbox.replay import Preview
from flask_convex_http.runtime.row_changes import FieldChange
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, database_digest
from tests.orders import SECRET, VARIABLE, Shop, dead, remind, shop, store

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOUR = timedelta(hours=1)


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop, in its app context, as a command has one."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made, made.app.app_context():
        yield made


def previewed(shop: Shop, delivery_id: str) -> Preview:
    """What a replay would do, where one is possible."""
    preview = shop.replays.preview(delivery_id)
    assert isinstance(preview, Preview)
    return preview


def later(shop: Shop) -> str:
    """Something that is scheduled."""
    return shop.backend.ctx().scheduler.run_after(HOUR, remind, number="later")


def settled(shop: Shop, paid: str, gone: str = "nothing") -> dict[str, Any]:
    """What the event says whose handler does all that one can."""
    file_id = shop.backend.ctx().run_action(store)
    return {"type": "order.settled", "paid": paid, "gone": gone, "job": later(shop), "file": file_id}


def test_a_dry_run_shows_each_change(orders: Shop) -> None:
    """Rows by table, id and fields before and after; what is scheduled, canceled and deleted in words."""
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
    """Not a byte of the database is another, the bytes of a deleted file are there, and no worker is woken."""
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
    assert orders.replays.retry(delivery_id).outcome == "done"  # what the dry run has shown, for real
    assert database_digest(tmp_path) != before
    assert orders.backend.ctx().storage.get_metadata(told["file"]) is None


@pytest.mark.parametrize("error", [ValueError("The lamp is out"), ConvexError("no"), SystemExit("stop"), dead()])
def test_a_dry_run_says_what_a_handler_fails_with(orders: Shop, tmp_path: Path, error: BaseException) -> None:
    """A handler that fails changes nothing, and a dry run does not write that down."""
    delivery_id = orders.received("e1")
    orders.troubles.error = error
    before = database_digest(tmp_path)
    preview = previewed(orders, delivery_id)
    assert (preview.status, preview.rows, preview.system) == (None, [], [])
    assert str(error) in (preview.error or "")
    assert database_digest(tmp_path) == before


def test_what_a_handler_takes_back_does_not_show(orders: Shop) -> None:
    """A part that was undone, and a row that was inserted and deleted, are no changes."""
    preview = previewed(orders, orders.received("e1", type="order.doubtful"))
    assert (preview.status, preview.rows, preview.system) == (200, [], [])
