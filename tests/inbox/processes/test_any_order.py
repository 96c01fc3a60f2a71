"""Any order and number of events, of every sender and with handlers that fail at first, ends in the same state."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import Document
from flask_convex_http.database.query import Query
from flask_convex_http.schema.system_tables import WebhookDelivery
from flask_convex_http.testing import run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, temporary_config
from tests.inbox.processes.senders import SENDERS
from tests.inbox.processes.shop import Effect, FollowUp, State, create_app
from tests.web.apps import backend_of

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: The number of examples. On PostgreSQL each takes longer.
EXAMPLES = {"sqlite": 30, "postgres": 10}
#: The sender of each event of a customer, the number of failures of its handler, and the number of extra duplicates.
STORIES = st.lists(st.tuples(st.sampled_from(sorted(SENDERS)), st.integers(0, 2), st.integers(0, 2)), max_size=5)


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    """Yield the shop on a temporary database. Scheduled functions run when the test runs them."""
    with temporary_config() as config:
        app = create_app(tmp_path, **config)
        app.testing = True
        backend = backend_of(app)
        backend.migrate()
        yield app
        backend.close()


def rows(app: Flask, document: type[Document]) -> list[Any]:
    """Return all documents of a table, oldest first."""
    backend = backend_of(app)
    table = backend.schema.table_for(document)
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()


def test_any_order_and_multiplicity_ends_in_one_state(app: Flask, each_engine: str) -> None:
    """For every order of duplicates, each event has its effect and its follow-up once, and the newest state remains."""
    client, names = app.test_client(), itertools.count()

    @given(story=STORIES, data=st.data())
    @settings(max_examples=EXAMPLES[each_engine], deadline=None)
    def check(story: list[tuple[str, int, int]], data: st.DataObject) -> None:
        customer = f"customer {next(names)}"
        events = {}
        for number, (sender, fails, copies) in enumerate(story):
            events[f"{customer}, {sender}, {number}".replace(" ", "_")] = (sender, number, fails, fails + 1 + copies)
        deliveries = [event_id for event_id, (*_, count) in events.items() for _ in range(count)]
        for event_id in data.draw(st.permutations(deliveries)):
            sender, number, fails, _ = events[event_id]
            change = {"customer": customer, "number": number, "fails": fails}
            delivery = SENDERS[sender](event_id, change)
            client.post(delivery.path, data=delivery.body, headers=delivery.headers)
            if data.draw(st.booleans()):
                run_scheduled(app)
        finish(app)
        assert sorted(row.event for row in rows(app, Effect) if row.customer == customer) == sorted(events)
        assert sorted(row.event for row in rows(app, FollowUp) if row.event in events) == sorted(events)
        assert [row.number for row in rows(app, State) if row.customer == customer] == [len(events) - 1][: len(events)]
        found = {row.event_id: row for row in rows(app, WebhookDelivery) if row.event_id in events}
        assert {event_id: row.state for event_id, row in found.items()} == dict.fromkeys(events, "done")
        for event_id, (_, _, fails, _) in events.items():
            assert [attempt.outcome for attempt in found[event_id].attempts] == ["failed"] * fails + ["success"]

    check()


def finish(app: Flask) -> None:
    """Run scheduled functions until no delivery waits for its next attempt."""
    run_scheduled(app)
    while any(row.state == "pending" for row in rows(app, WebhookDelivery)):
        run_scheduled(app)
