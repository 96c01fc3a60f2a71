"""Load of webhooks: deliveries of Stripe's, signed by Stripe's own library, each of an event of its own.

They are signed before they are sent, so that the server has the machine meanwhile.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator

from stripe import WebhookSignature

from flask_convex_http.webhooks.samples import events

CONNECTIONS = 32
PATH = "/webhooks/stripe"
SECRET = "whsec_of_the_benchmark"
FORGERS_SECRET = "whsec_of_somebody_else"
#: How many are signed for a second; what is needed beyond is signed while the time runs.
_SIGNED_A_SECOND = 5000
#: How many deliveries later a copy comes; most originals are answered by then.
_LATER = 2 * CONNECTIONS
_ID = "evt_of_the_benchmark"


class Stream:
    """Deliveries that never end.

    Args:
        copies: Which part of them are copies of others.

    Attributes:
        events: How many events were delivered.
        copied: How many copies were.
    """

    def __init__(self, copies: float = 0.0) -> None:
        self.events = self.copied = 0
        self._copies = copies
        self._ids = itertools.count()
        now = time.time() * 1000
        self._body = events.event("stripe", "checkout.session.completed", now=now, event_id=_ID).body.decode()

    def requests(self, seconds: float) -> Iterator[bytes]:
        """Requests for so many seconds and then some."""
        ready = deque(self._new() for _ in range(round(seconds * _SIGNED_A_SECOND)))
        sent: deque[bytes] = deque(maxlen=_LATER)
        owed = 0.0
        while True:
            owed += self._copies
            if owed >= 1 and len(sent) == _LATER:
                owed -= 1
                self.copied += 1
                yield sent[0]
                continue
            self.events += 1
            sent.append(ready.popleft() if ready else self._new())
            yield sent[-1]

    def forgery(self, path: str = PATH) -> bytes:
        """A request that is right but for the secret."""
        return _request(self._body, FORGERS_SECRET, path)

    def _new(self) -> bytes:
        return _request(self._body.replace(_ID, f"evt_{next(self._ids):024d}"), SECRET)


def _request(body: str, secret: str, path: str = PATH) -> bytes:
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
        "Accept: */*; q=0.5, application/xml\r\nCache-Control: no-cache\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(content)}\r\n"
        f"Stripe-Signature: {WebhookSignature.generate_signature_header(body, secret)}\r\n\r\n"
    )
    return head.encode() + content
