"""GitHub and Shopify sign only the body: anyone who has seen a delivery can repeat it under other headers.

With `dedupe="content"` such a forgery has no effect beyond the genuine delivery's. It never removes an effect of one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import GitHub, MutationCtx, WebhookEvent
from flask_convex_http.webhooks import Provider, Shopify
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Boom, Effect, Handler, Receiver, Sign, receiving
from tests.webhooks.senders import SECRET, sign_github, sign_shopify

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Forgeable:
    """A sender whose headers are not signed.

    Attributes:
        build: Makes the provider.
        sign: Signs a body.
        id_header: The header of the id.
        type_header: The header of the type.
        other_type: The response to a failed body under another id and type: a duplicate's, or that of a new delivery if
            the sender sends one body under several types.
    """

    build: Callable[..., Provider]
    sign: Sign
    id_header: str
    type_header: str
    other_type: int

    def send(self, receiver: Receiver, body: bytes, delivery_id: str, event_type: str = "paid") -> int:
        """Send a body with a known signature, under any id and type."""
        headers = {self.id_header: delivery_id, self.type_header: event_type}
        return receiver.send(body, self.sign, **headers).status_code


SENDERS = {
    "github": Forgeable(GitHub, sign_github, "X_GitHub_Delivery", "X_GitHub_Event", 409),
    "shopify": Forgeable(Shopify, sign_shopify, "X_Shopify_Webhook_Id", "X_Shopify_Topic", 200),
}
FIRST, SECOND = b'{"number": 1}', b'{"number": 2}'


def failing_while(down: list[bytes]) -> Handler:
    """Return a handler of one event type, which fails while the body is in the list."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        if event.type != "paid" or not isinstance(event.payload, dict):
            return
        if event.body in down:
            raise Boom
        ctx.db.insert(Effect(event=str(event.payload["number"])))

    return handler


@pytest.mark.parametrize("dedupe", ["id", "content"])
@pytest.mark.parametrize("sender", SENDERS.values(), ids=SENDERS)
def test_the_content_of_another_delivery(sender: Forgeable, dedupe: str, tmp_path: Path) -> None:
    """A done content has no second effect under the id of a failed delivery, which is not lost either."""
    down = [FIRST]
    with receiving(tmp_path, failing_while(down), sender.build(secret=SECRET), dedupe=dedupe) as receiver:
        assert [sender.send(receiver, SECOND, "y"), sender.send(receiver, FIRST, "x")] == [200, 500]
        assert sender.send(receiver, SECOND, "x") == 409
        assert (receiver.effects, receiver.states) == (["2"], ["done", "failed"])
        down.clear()
        assert [sender.send(receiver, FIRST, "x"), sender.send(receiver, SECOND, "x")] == [200, 200]
        assert (receiver.effects, receiver.states) == (["2", "1"], ["done", "done"])


@pytest.mark.parametrize("sender", SENDERS.values(), ids=SENDERS)
def test_another_type(sender: Forgeable, tmp_path: Path) -> None:
    """A failed body cannot be ended under a type without a handler."""
    down = [FIRST]
    with receiving(tmp_path, failing_while(down), sender.build(secret=SECRET), dedupe="content") as receiver:
        assert sender.send(receiver, FIRST, "x") == 500
        assert sender.send(receiver, FIRST, "x", "starred") == 409
        assert sender.send(receiver, FIRST, "fresh", "starred") == sender.other_type
        assert (receiver.deliveries[0].state, receiver.deliveries[0].type) == ("failed", "paid")
        down.clear()
        assert [sender.send(receiver, FIRST, "x") for _ in range(2)] == [200, 200]
        assert (receiver.deliveries[0].state, receiver.effects) == ("done", ["1"])


def test_another_content_type(tmp_path: Path) -> None:
    """A failed form has the same payload and fails again, if it is repeated with another content type."""
    form, down, seen = b"payload=%7B%22number%22%3A1%7D", [True], list[Any]()

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        seen.append(event.payload)
        failing_while([form] if down else [])(ctx, event)

    def send(receiver: Receiver, content_type: str, delivery_id: str = "x") -> int:
        headers = {"X_GitHub_Delivery": delivery_id, "X_GitHub_Event": "paid", "Content_Type": content_type}
        return receiver.send(form, sign_github, **headers).status_code

    with receiving(tmp_path, handler, GitHub(secret=SECRET), dedupe="content") as receiver:
        assert send(receiver, FORM) == 500
        assert [send(receiver, JSON), send(receiver, JSON, "fresh"), send(receiver, "text/plain")] == [500] * 3
        down.clear()
        assert [send(receiver, FORM), send(receiver, JSON)] == [200, 200]
        assert (receiver.effects, receiver.states, seen) == (["1"], ["done"], [{"number": 1}] * 5)
