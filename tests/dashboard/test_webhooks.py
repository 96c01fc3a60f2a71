"""The page of webhooks: deliveries, replay, rejected deliveries and test deliveries."""

import hmac
import json
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import testing
from tests.dashboard.shop import SECRET, backend_of
from tests.dashboard.visitors import Visitor, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<script>alert(1)</script>"


def deliver(app: Flask, event_id: str = "evt_1", **fields: Any) -> str:
    """Deliver an event to the app, and return the id of its delivery."""
    testing.deliver(app.test_client(), "/hook", {"id": event_id, "type": HOSTILE, "data": {"note": HOSTILE, **fields}})
    [found] = [each for each in deliveries_of(app) if each.event_id == event_id]
    return str(found.id)


def deliveries_of(app: Flask) -> list[Any]:
    """Return the deliveries, newest first."""
    from flask_convex_http.inbox.reader import InboxReader
    from flask_convex_http.inbox.search import DeliveryFilter

    return InboxReader(backend_of(app).inbox).newest(DeliveryFilter(), 1000)


def test_empty(visitor: Visitor) -> None:
    """Without deliveries the page names the webhooks and says what to do."""
    page = text_of(visitor.get("/webhooks"))
    assert "Nothing was delivered yet." in page and "/hook" in page


def test_a_delivery(app: Flask, visitor: Visitor) -> None:
    """A delivery is found by its ids, and shows payload and headers as text, without credentials."""
    delivery = deliver(app)
    for path in ("/webhooks", "/webhooks?state=done&source=/hook&type=%3Cscript*&age=1+hour"):
        assert "evt_1" in visitor.get(path).text
    for path in ("/webhooks?state=failed", "/webhooks?type=x", "/webhooks?older=1"):
        assert "evt_1" not in visitor.get(path).text
    for path in ("/webhooks?state=x", "/webhooks?source=x", "/webhooks?older=nan", "/webhooks?age=x"):
        assert visitor.get(path).status_code == 400
    page = visitor.client.get("/_convex/webhooks/find?id=evt_1", follow_redirects=True)
    assert delivery in page.text and HOSTILE not in page.text and HOSTILE in text_of(page)
    assert SECRET not in page.text
    assert "There is no delivery" in visitor.client.get("/_convex/webhooks/find?id=x", follow_redirects=True).text
    assert visitor.get("/webhooks/delivery/evt_1").status_code == 404


def test_text_without_bytes(app: Flask, visitor: Visitor) -> None:
    """A payload with half of a surrogate pair, which UTF-8 cannot encode, is shown escaped."""
    body = rb'{"id": "evt_1", "type": "a", "data": {"note": "\ud800"}}'
    signature = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    assert app.test_client().post("/hook", data=body, headers={"X-Signature": signature}).status_code == 200
    page = visitor.get(f"/webhooks/delivery/{deliveries_of(app)[0].id}")
    assert page.status_code == 200 and "\\ud800" in page.text


def test_replay(app: Flask, visitor: Visitor) -> None:
    """A replay shows its changes first, and then makes them; one that fails says so."""
    delivery = deliver(app)
    preview = text_of(visitor.get(f"/webhooks/delivery/{delivery}/replay"))
    assert "The handler would fail" in preview  # its customer is there
    assert "failed" in text_of(visitor.post(f"/webhooks/delivery/{delivery}/replay"))
    [customer] = backend_of(app).run("shop:list_customers", {})
    backend_of(app).run("shop:remove_customer", {"customer": customer.id})
    preview = text_of(visitor.get(f"/webhooks/delivery/{delivery}/replay"))
    assert "evt_1@shop.example" in preview and "status 200" in preview
    assert backend_of(app).run("shop:list_customers", {}) == []
    assert "has run" in text_of(visitor.post(f"/webhooks/delivery/{delivery}/replay"))
    assert len(backend_of(app).run("shop:list_customers", {})) == 1


def test_retry_of_what_is_done(app: Flask, visitor: Visitor) -> None:
    """A retry of a delivery whose effects are there is refused, with the reason."""
    assert "its effects are there" in text_of(visitor.post(f"/webhooks/delivery/{deliver(app)}/retry"))


def test_rejections(app: Flask, visitor: Visitor) -> None:
    """A rejected delivery is listed with the reason, and the doctor's verdict names the remedy."""
    body = json.dumps({"id": "evt_2", "type": HOSTILE})
    rejected = app.test_client().post("/hook", data=body, headers={"X-Signature": "0" * 64})
    assert rejected.status_code in (400, 401, 403)
    request_id = rejected.headers["X-Request-Id"]
    assert request_id in visitor.get("/webhooks").text
    assert HOSTILE in text_of(visitor.get("/webhooks/rejections"))
    page = visitor.get(f"/webhooks/rejections/{request_id}")
    assert page.status_code == 200 and "no-match" in page.text and HOSTILE not in page.text
    assert visitor.get("/webhooks/rejections/nothing").status_code == 404


def test_a_test_delivery(app: Flask, visitor: Visitor) -> None:
    """A test delivery is signed, accepted and recorded; a wrong form is explained."""
    form = visitor.get("/webhooks/test?source=/hook")
    kind = text_of(form).partition("Type ")[2].split()[0]
    sent = visitor.post("/webhooks/test", source="/hook", type=kind, data="")
    assert "Status 200" in text_of(sent) and len(deliveries_of(app)) == 1
    wrong = visitor.post("/webhooks/test", source="/hook", type=kind, data="[1]")
    assert wrong.status_code == 400 and "must be a JSON object" in text_of(wrong)
    assert visitor.get("/webhooks/test?source=/nothing").status_code == 404


def test_pages(app: Flask, visitor: Visitor) -> None:
    """Long lists are read in pages without a delivery lost or repeated."""
    for number in range(55):
        deliver(app, f"evt_{number}")
    first = visitor.get("/webhooks").text
    older = first.partition("?older=")[2].partition('"')[0]
    second = visitor.get(f"/webhooks?older={older}").text
    assert (first.count("/webhooks/delivery/"), second.count("/webhooks/delivery/")) == (50, 5)


@pytest.mark.parametrize("path", ["replay", "retry"])
def test_read_only(app: Flask, reader: Visitor, path: str) -> None:
    """A read-only session sees deliveries and runs none."""
    delivery = deliver(app)
    assert (
        f"{path}"
        not in reader.get(f"/webhooks/delivery/{delivery}").text.partition("<main")[2].partition("Attempts")[0]
    )
    assert reader.post(f"/webhooks/delivery/{delivery}/{path}").status_code == 403
    assert reader.get(f"/webhooks/delivery/{delivery}/replay").status_code == 403
