"""The load of the webhook benchmark: deliveries signed by Stripe's library, each with an event of its own.

They are signed before they are sent, so that signing does not take the processor from the server.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator

from stripe import WebhookSignature

from flask_convex_http.webhooks.samples.events import sample_events

CONNECTIONS = 32
PATH = "/webhooks/stripe"
SECRET = "whsec_of_the_benchmark"
FORGERS_SECRET = "whsec_of_another_sender"
#: Deliveries that are signed in advance for each second. More are signed during the run if they are needed.
_SIGNED_PER_SECOND = 5000
#: Deliveries between an original and its duplicate. Most originals have their response by then.
_DISTANCE = 2 * CONNECTIONS
_ID = "evt_of_the_benchmark"


class Stream:
    """An endless stream of deliveries.

    Args:
        duplicates: The fraction of the deliveries that are duplicates.

    Attributes:
        events: The number of events delivered so far.
        duplicated: The number of duplicates delivered so far.
    """

    def __init__(self, duplicates: float = 0.0) -> None:
        self.events = self.duplicated = 0
        self._duplicates = duplicates
        self._ids = itertools.count()
        [event] = sample_events("stripe", ["checkout.session.completed"], now=time.time() * 1000, event_id=_ID)
        self._body = event.body.decode()

    def requests(self, seconds: float) -> Iterator[bytes]:
        """Yield requests without end, of which enough for so many seconds are signed at the start."""
        ready = deque(self._new() for _ in range(round(seconds * _SIGNED_PER_SECOND)))
        sent: deque[bytes] = deque(maxlen=_DISTANCE)
        owed = 0.0
        while True:
            owed += self._duplicates
            if owed >= 1 and len(sent) == _DISTANCE:
                owed -= 1
                self.duplicated += 1
                yield sent[0]
                continue
            self.events += 1
            sent.append(ready.popleft() if ready else self._new())
            yield sent[-1]

    def forgery(self, path: str = PATH) -> bytes:
        """Return a request that is correct except for its secret."""
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
