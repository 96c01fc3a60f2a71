"""What the log says of deliveries."""

import logging
from pathlib import Path

import pytest

from flask_convex_http import (
    Delivery,
    HmacSignature,
    HttpRouter,
    from_env,
)
from flask_convex_http.errors import VerificationUnavailableError
from flask_convex_http.inbox.rejections import Rejections
from tests.web.apps import backend_of, deployed
from tests.web.orders_webhook import SECRET, VARIABLE, deliver, receiving, sign, store


def test_each_delivery_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Accepted, repeated and rejected deliveries are lines at INFO with the request id, and without the payload."""
    caplog.set_level(logging.INFO, logger="flask_convex_http.webhooks")
    with receiving(tmp_path, lambda ctx, event: None) as app:
        ids = [
            deliver(app, signature=signature).headers["X-Request-Id"]
            for signature in (None, None, sign(secret="other"))
        ]
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"Webhook /hook: hmac delivery evt_1 (order.paid) was accepted with 200 [request {ids[0]}]",
        f"Webhook /hook: hmac delivery evt_1 (order.paid) is a duplicate, ran nothing and got 200 [request {ids[1]}]",
        "Webhook /hook: a delivery of hmac was rejected: no-match: Webhook signature does not match "
        f"[request {ids[2]}]",
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_a_flood_of_forgeries_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of many forgeries at once twenty are logged; a later line has the number of the others."""
    caplog.set_level(logging.INFO, logger="flask_convex_http.webhooks")
    seconds = 0.0
    with receiving(tmp_path, lambda ctx, event: None) as app:
        ring = backend_of(app).rejections = Rejections(tmp_path / "rejected", timer=lambda: seconds)
        for _ in range(25):
            assert deliver(app, signature=sign(secret="other")).status_code == 400
        assert len(caplog.records) == 20
        seconds += 1
        deliver(app, signature=sign(secret="other"))
    assert "does not match; 5 more like it were not logged [request " in caplog.records[-1].getMessage()
    assert ring.recent()[0].others == 5


def test_a_flood_without_a_secret_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the secret is unset, twenty errors are logged at once, then one a second with the number of others."""
    monkeypatch.delenv(VARIABLE, raising=False)
    seconds = 0.0
    with receiving(tmp_path, store, from_env(VARIABLE)) as app:
        backend_of(app).rejections = Rejections(tmp_path / "rejected", timer=lambda: seconds)
        caplog.set_level(logging.ERROR, logger="flask_convex_http")
        for _ in range(25):
            assert deliver(app).status_code == 503
        assert len(caplog.records) == 20
        seconds += 1
        assert deliver(app).json == {"error": "The signing secret is not set"}
    assert caplog.records[-2].getMessage().endswith("is not set; 5 more like it were not logged")
    assert len(caplog.records) == 22


def test_a_flood_without_keys_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a sender's keys cannot be fetched, twenty errors are logged at once."""

    class Unreachable(HmacSignature):
        def matches(self, delivery: Delivery, key: bytes) -> bool:
            raise VerificationUnavailableError("The keys cannot be fetched")

    http = HttpRouter("http", __name__)
    http.webhook("/hook", Unreachable(secret=SECRET, header="X-Signature"))(lambda ctx, event: None)
    with deployed(tmp_path, http) as app:
        backend_of(app).rejections = Rejections(tmp_path / "rejected", timer=lambda: 0.0)
        caplog.set_level(logging.ERROR, logger="flask_convex_http")
        assert {deliver(app).status_code for _ in range(25)} == {503}
        assert len(caplog.records) == 20
        assert backend_of(app).rejections.recent() == []
