"""Searching the inbox by filters, ids and sources."""

import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.engines import Transaction
from flask_convex_http.inbox import search
from flask_convex_http.inbox.deliveries import STATES, State
from flask_convex_http.inbox.search import (
    DeliveryFilter,
    count_deliveries,
    find_deliveries,
    sources_named,
    stored_sources,
)
from flask_convex_http.schema.system_tables import WebhookDelivery
from tests.orders import SECRET, VARIABLE, Shop, shop

HOUR = timedelta(hours=1)
UNKNOWN_ID = "_webhooks_" + "0" * 32


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop whose inbox is searched."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made:
        yield made


def add(shop: Shop, *deliveries: WebhookDelivery) -> None:
    """Insert rows into the inbox."""

    def work(transaction: Transaction) -> None:
        times = CreationTimes(shop.clock())
        for delivery in deliveries:
            insert(transaction, shop.backend.inbox.deliveries.table, delivery, times)

    shop.backend.engine.write(work)


def row(number: int, source: str, state: State, type: str, expires: float) -> WebhookDelivery:
    """Return a row of the inbox."""
    return WebhookDelivery(
        source=source,
        event_id=f"e{number}",
        type=type,
        provider="hmac",
        state=state,
        received=0.0,
        expires=expires,
        due=expires,
        secret_label="X",
        request_id="r",
        size=0,
    )


def test_filters_equal_a_plain_loop(orders: Shop) -> None:
    """Each combination of filters returns the same as a plain scan of the rows, in order of time, with a limit."""
    number = 0
    kinds: Iterator[Any] = product(("shop", "stock"), STATES, ("order.placed", "order.paid", "orders", ""))
    for source, state, type in kinds:
        number += 1
        add(orders, row(number, source, state, type, expires=1000.0 - number % 7))
        orders.clock.advance(HOUR)
    deliveries = orders.backend.inbox.deliveries
    with orders.backend.engine.snapshot() as snapshot:
        rows = DeliveryFilter().newest(deliveries, snapshot, 1000)
        assert [row.event_id for row in rows] == [f"e{n}" for n in range(number, 0, -1)]
        middle = rows[number // 2].creation_time
        combinations: Iterator[Any] = product(
            (None, frozenset({"shop"})),
            (STATES, ("failed", "dead"), ("pending",), ("done",), ("done", "failed")),
            (None, "order.*", "orders", "*", ""),
            (None, middle),
            (None, middle),
        )
        for sources, states, type, since, until in combinations:
            conditions = DeliveryFilter(sources=sources, states=states, type=type, since=since, until=until)
            expected = [
                row
                for row in rows
                if (sources is None or row.source in sources)
                and row.state in states
                and (type in (None, "*") or row.type == type or (type == "order.*" and row.type.startswith("order.")))
                and (since is None or row.creation_time >= since)
                and (until is None or row.creation_time <= until)
            ]
            assert conditions.newest(deliveries, snapshot, 1000) == expected
            assert conditions.newest(deliveries, snapshot, 2) == expected[:2]
            assert conditions.ids(deliveries, snapshot) == [row.id for row in expected[::-1]]
            assert conditions.ids(deliveries, snapshot, 2) == [row.id for row in expected[::-1]][:2]


@pytest.mark.parametrize(("few", "searched"), [(1000, 4000), (0, 4000), (0, 5)])
@pytest.mark.parametrize("states", [("failed",), ("done", "failed"), STATES])
def test_pages(
    orders: Shop, monkeypatch: pytest.MonkeyPatch, states: tuple[State, ...], few: int, searched: int
) -> None:
    """The pages of a search have each match once, also where a search ends before a page is full."""
    monkeypatch.setattr(search, "_FEW", few)
    monkeypatch.setattr(search, "_SEARCHED", searched)
    for number in range(40):
        state: State = "failed" if number % 7 == 0 else "done"
        add(orders, row(number, "shop", state, "order.placed", expires=1000.0))
        orders.clock.advance(HOUR)
    deliveries, until, found = orders.backend.inbox.deliveries, None, []
    with orders.backend.engine.snapshot() as snapshot:
        for _ in range(20):
            page = DeliveryFilter(states=states, until=until).page(deliveries, snapshot, 3)
            assert len(page.deliveries) <= 3
            found += page.deliveries
            until = page.until
            if until is None:
                break
        assert found == DeliveryFilter(states=states).newest(deliveries, snapshot, 1000)


@pytest.mark.parametrize("states", [STATES, ("dead",)])
def test_a_long_list_takes_little_memory(orders: Shop, states: tuple[State, ...]) -> None:
    """Only as many deliveries as requested are held in memory, among thousands that match."""
    add(orders, *(row(number, "shop", "dead", "order.placed", 1.0) for number in range(3000)))
    conditions = DeliveryFilter(states=states, type="order.*")
    deliveries = orders.backend.inbox.deliveries
    with orders.backend.engine.snapshot() as snapshot:
        conditions.newest(deliveries, snapshot, 1)
        tracemalloc.start()
        try:
            found = conditions.newest(deliveries, snapshot, 5)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [row.event_id for row in found] == [f"e{number}" for number in range(2999, 2994, -1)]
    assert peak < 200_000  # 3000 of them are 3 MB


def test_a_delivery_is_found_by_either_id(orders: Shop) -> None:
    """A delivery is found by either id, in one webhook or in all that received it, for any characters."""
    long = "e" * 1000
    own = orders.receive("e1")
    orders.send("e1", "stock")
    orders.send(long)
    backend = orders.backend

    def found(name: str, *sources: str) -> list[str]:
        with backend.engine.snapshot() as snapshot:
            deliveries = find_deliveries(backend.inbox.deliveries, snapshot, name, sources or None)
        return [delivery.source for delivery in deliveries]

    assert found(own) == ["shop"]
    assert found(own, "stock") == []
    assert sorted(found("e1")) == ["shop", "stock"]
    assert found("e1", "stock", "partner") == ["stock"]
    assert found(long) == ["shop"]
    for name in (UNKNOWN_ID, "", "\udce9", "' OR 1=1", "x" * 100_000):
        assert found(name) == []


def test_a_stored_source_comes_before_a_provider(orders: Shop) -> None:
    """Stored sources come first, so that a former source is not confused with a provider of that name."""
    webhooks = orders.backend.webhooks
    assert sources_named([], webhooks, "hmac") == {"shop", "stock", "partner"}
    assert sources_named(["hmac"], webhooks, "hmac") == {"hmac"}
    assert sources_named(["shop"], webhooks, "/stock") == {"stock"}
    assert sources_named(["former"], webhooks, "former") == {"former"}
    assert sources_named(["former"], webhooks, "formerly") == frozenset()


def test_all_sources_are_found_with_one_query_each(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sources are found in order, with one row read for each source."""
    sources = ["", "/hooks/stripe", "a\nb", "shop", "shop ", "Shop", "\U0001f4a1"]
    add(orders, *(row(number, source, "done", "x", 1.0) for source in sources for number in range(50)))
    with orders.backend.engine.snapshot() as snapshot:
        selected: list[int] = []
        select = type(snapshot).select

        def counting(self: Any, *arguments: Any, **options: Any) -> Any:
            rows = select(self, *arguments, **options)
            selected.append(len(rows))
            return rows

        monkeypatch.setattr(type(snapshot), "select", counting)
        assert stored_sources(orders.backend.inbox.deliveries, snapshot) == sorted(sources)
        assert selected == [1] * len(sources) + [0]
        assert count_deliveries(orders.backend.inbox.deliveries, snapshot, "shop", 100) == 50
        assert count_deliveries(orders.backend.inbox.deliveries, snapshot, "shop", 20) == 20
