"""Reads of the inbox for commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_convex_http.inbox.reader import InboxReader
from flask_convex_http.inbox.search import DeliveryFilter
from tests.orders import SECRET, VARIABLE, Shop, shop


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop whose inbox is read."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made:
        yield made


def test_deliveries_are_found_by_conditions_and_ids(orders: Shop) -> None:
    """A delivery is found by conditions, its own id, the event's id and the request's id."""
    delivery_id = orders.receive("e1")
    orders.send("e2")
    reader, delivery = InboxReader(orders.backend.inbox), orders.delivery("e1")
    assert [found.event_id for found in reader.newest(DeliveryFilter(), 10)] == ["e2", "e1"]
    assert reader.ids(DeliveryFilter(), 1) == [delivery_id]
    assert reader.find("e1") == reader.find(delivery_id) == [delivery]
    assert reader.find("e1", {"stock"}) == []
    assert reader.find_request(delivery.request_id) == delivery
    assert reader.find_request("unknown") is None


def test_a_name_stands_for_sources(orders: Shop) -> None:
    """A source, path or provider stands for sources, and an unknown name raises with the known ones."""
    reader = InboxReader(orders.backend.inbox)
    assert reader.sources("/shop") == {"shop"}
    assert reader.sources("hmac") == {"shop", "stock", "partner"}
    assert reader.sources("former", ["former"]) == {"former"}
    with pytest.raises(ValueError, match=r"source 'nope'; there are partner, shop, stock$"):
        reader.sources("nope")


def test_details_hide_credentials_and_the_body(orders: Shop) -> None:
    """Details have the digest of the body, the body on request, and no value of a credential header."""
    orders.send("e1", "partner")
    reader, delivery = InboxReader(orders.backend.inbox), orders.delivery("e1", "partner")
    details = reader.details(delivery, with_body=False)
    assert details.headers is not None and details.headers["authorization"] == "(not shown)"
    assert (details.body, details.scheduled, details.behind) == (None, None, None)
    assert reader.details(delivery, with_body=True).body == b'{"id":"e1","type":"order.placed"}'


def test_details_have_the_job_and_the_delivery_ahead(orders: Shop) -> None:
    """A pending delivery has its job, or the delivery ahead of it in its lane."""
    first = orders.receive("e1", "stock", item="lamp")
    orders.send("e2", "stock", item="lamp")
    reader = InboxReader(orders.backend.inbox)
    ahead = reader.details(orders.delivery("e1", "stock"), with_body=False)
    behind = reader.details(orders.delivery("e2", "stock"), with_body=False)
    assert (ahead.scheduled, ahead.behind) == (orders.job("e1"), None)
    assert (behind.scheduled, behind.behind) == (None, first)
