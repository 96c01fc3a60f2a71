"""The README's three webhooks accept every event that their senders send."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import WebhookDelivery
from flask_convex_http.database.query import Query
from flask_convex_http.testing import deliver, run_scheduled
from flask_convex_http.webhooks.samples.events import event_types
from tests.docs.markdown import README

SECRETS = {"CLERK_SECRET": "whsec_" + "c2VjcmV0" * 4, "GITHUB_SECRET": "g" * 32, "SHOP_SECRET": "s" * 32}


@pytest.fixture(name="app")
def _app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    blocks = [block.code for folder in README.folders() for block in folder]
    (code,) = [code for code in blocks if code.startswith("# hooks.py\n")]
    (tmp_path / "hooks.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FLASK_CONVEX_DATABASE_URL", "sqlite:///:memory:")
    monkeypatch.setenv("FLASK_TESTING", "true")
    app: Flask = importlib.import_module("hooks").create_app()
    backend = app.extensions["convex_http"]
    backend.migrate()
    try:
        yield app
    finally:
        backend.close()
        sys.modules.pop("hooks")


def states(app: Flask) -> list[str]:
    """Run what is pending, and return the states of all deliveries."""
    run_scheduled(app)
    backend = app.extensions["convex_http"]
    table = backend.schema.table_for(WebhookDelivery)
    with backend.engine.snapshot() as snapshot:
        return [delivery.state for delivery in Query(snapshot, table, table.indexes["by_creation_time"]).collect()]


def test_every_sample_event_is_accepted(app: Flask) -> None:
    """Each sample event of Clerk, GitHub and a shop is done, whether the handler knows its type or not."""
    client = app.test_client()
    types = {"clerk": event_types("clerk"), "github": event_types("github"), "/hooks/shop": event_types("hmac")}
    for sender, names in types.items():
        for name in names:
            assert deliver(client, sender, name).status_code in (200, 202), name
    assert set(states(app)) == {"done"}


@pytest.mark.parametrize(
    ("sender", "event"),
    [
        ("clerk", {"type": "user.created", "data": {"id": "user_1", "first_name": None, "email_addresses": []}}),
        ("clerk", {"type": "user.updated", "data": {"id": "user_1"}, "timestamp": None}),
        ("clerk", {"type": "user.deleted", "data": {"deleted": True, "object": "user"}}),
        ("clerk", {"type": "organizationMembership.created", "data": {"id": "orgmem_1"}, "timestamp": 1}),
        ("clerk", {"type": "session.ended", "data": {"id": "sess_1", "user_id": None}}),
        ("github", {"action": "member_added", "organization": {"login": "o"}}),
        ("github", {"zen": "Keep it logically awesome.", "repository": None}),
        ("/hooks/shop", {"id": "1", "order": None}),
        ("/hooks/shop", {"id": 2, "order": {"number": 7}}),
    ],
)
def test_optional_fields_may_be_null_or_missing(app: Flask, sender: str, event: dict[str, Any]) -> None:
    """An event without its optional fields, or of another family, is done."""
    assert deliver(app.test_client(), sender, event, event_id="e-1", event_type="other").status_code in (200, 202)
    assert states(app) == ["done"]
