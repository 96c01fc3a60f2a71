"""HubSpot's webhooks."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import HttpRouter, HubSpot, MutationCtx, VerificationError, WebhookEvent
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from tests.web.apps import deployed
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

URL = "https://shop.example/webhooks/hubspot"


def notification(**changes: Any) -> dict[str, Any]:
    """Return an event of HubSpot."""
    event = {"eventId": 1, "subscriptionId": 2, "portalId": 3, "occurredAt": 1750000000000, "objectId": 4}
    return {**event, "subscriptionType": "contact.creation", "attemptNumber": 0, **changes}


def signed(secret: str, body: bytes, at: int, url: str = URL) -> Headers:
    """Sign the method, the URL, the body and the time in milliseconds."""
    signature = hmac.digest(secret.encode(), b"POST%b%b%d000" % (url.encode(), body, at), "sha256")
    return {
        "X-HubSpot-Signature-v3": base64.b64encode(signature).decode(),
        "X-HubSpot-Request-Timestamp": f"{at}000",
    }


def events_of(provider: HubSpot, *payloads: Mapping[str, Any]) -> list[WebhookEvent]:
    """Return the events of a verified batch."""
    body = json.dumps(payloads).encode()
    return list(provider.split(provider.verify(signed("s", body, NOW), body, now=NOW * 1000)))


class TestHubSpot(SenderContract):
    """Deliveries by HubSpot's documented rule of version 3."""

    build = partial(HubSpot, url=URL)
    url, fixes_url = URL, True
    body = json.dumps([notification(), notification(eventId=5)]).encode()
    event = (hashlib.sha256(body).hexdigest(), "")
    needed = ("X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp")
    timed = True
    sign = staticmethod(signed)

    def timestamps(self) -> tuple[str, ...]:
        """Return both headers, because the signature covers the milliseconds."""
        return self.needed

    def test_samples_are_events_of_the_sender(self) -> None:
        """Each sample is an array of one event of its type."""
        provider = self.provider()
        for name in event_types("hubspot"):
            (sample,) = make_deliveries(provider, name, Faults(), now=NOW * 1000)
            (event,) = provider.split(provider.verify(sample.headers, sample.body, now=NOW * 1000))
            assert (event.type, event.data["subscriptionType"]) == (name, name)


def test_each_element_has_an_id_that_a_retry_repeats() -> None:
    """An element has the same id in a retry, and another one if anything else in it differs, even with one eventId."""
    provider = HubSpot(secret="s", url=URL)
    first, second, third = events_of(provider, notification(), notification(objectId=9), notification(eventId="no id"))
    (retry,) = events_of(provider, notification(attemptNumber=3))
    assert first.id == retry.id and first.id.startswith("1-")
    assert len({first.id, second.id, third.id}) == 3
    assert first.type == "contact.creation" and provider.object_of(first) == notification()


def test_what_a_workflow_sends_has_no_type() -> None:
    """An object is one event, without a type if it is no notification. Elements that are no objects have ids too."""
    provider = HubSpot(secret="s", url=URL)
    body = b'{"vid": 1}'
    event = provider.verify(signed("s", body, NOW), body, now=NOW * 1000)
    assert (event.type, event.data) == ("", {"vid": 1})
    numbers = events_of(provider, 1, 2)  # type: ignore[arg-type]  # no notifications
    assert len({number.id for number in numbers}) == 2


def test_method_and_url_are_signed() -> None:
    """A delivery to another URL or with another method does not match."""
    provider, body = HubSpot(secret="s"), b"[]"
    provider.verify(signed("s", body, NOW), body, now=NOW * 1000, url=URL, method="POST")
    for method, url in (("PUT", URL), ("POST", f"{URL}/"), ("POST", "http://shop.example/webhooks/hubspot")):
        with pytest.raises(VerificationError, match="does not match"):
            provider.verify(signed("s", body, NOW), body, now=NOW * 1000, url=url, method=method)


def test_listed_characters_of_the_url_are_signed_decoded() -> None:
    """The encoded characters that HubSpot lists are signed decoded, and all others as they are written."""
    provider, body = HubSpot(secret="s"), b"[]"
    headers = signed("s", body, NOW, f"{URL}?a=b@c:%20%C3%A9")
    provider.verify(headers, body, now=NOW * 1000, url=f"{URL}?a=b%40c%3a%20%C3%A9", method="POST")


def test_repeated_batch_runs_only_what_is_new(tmp_path: Path) -> None:
    """A batch that is sent again with one more event runs the handler for that event only."""
    router, handled = HttpRouter("hooks", __name__), []

    @router.webhook("/hubspot", HubSpot(secret="s", url=URL))
    def handle(ctx: MutationCtx, event: WebhookEvent) -> None:
        """Remember the object."""
        handled.append(event.data["objectId"])

    with deployed(tmp_path, router) as app:
        for batch in ([notification()], [notification(attemptNumber=1), notification(objectId=5)]):
            body = json.dumps(batch).encode()
            response = app.test_client().post("/hubspot", data=body, headers=signed("s", body, int(time.time())))
            assert response.status_code == 200
    assert handled == [4, 5]
