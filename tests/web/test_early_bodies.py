"""Bodies of servers that pass requests on before their bodies have arrived, read before Flask during a flood."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug.exceptions import RequestTimeout

from flask_convex_http import WebhookEvent
from flask_convex_http.web.webhooks.early_bodies import early_body
from tests.web.apps import deployed
from tests.web.floods import FORGED, flood, hook_router, post
from tests.web.orders_webhook import BODY, sign

_SIGNED = {"HTTP_X_SIGNATURE": sign()}


class Pieces:
    """A server's stream, whose body arrives in pieces and may end with an error."""

    def __init__(self, pieces: Sequence[bytes], error: Exception | None = None) -> None:
        self._pieces, self._error = list(pieces), error

    def read(self, size: int) -> bytes:
        """Return the next piece."""
        if self._pieces:
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        return b""


@pytest.mark.parametrize(
    ("pieces", "error", "status", "is_seen"),
    [
        ([BODY], None, "400", False),
        ([BODY[:3], BODY[3:]], None, "400", False),
        ([BODY[:3]], None, "400", True),
        ([BODY[:3]], ValueError("broken"), "400", True),
        ([BODY[:3]], RequestTimeout("slow"), "408", True),
    ],
    ids=["whole", "in pieces", "short", "malformed", "slow"],
)
def test_a_forgery_whose_body_arrives_later_is_rejected_before_flask(
    tmp_path: Path, pieces: list[bytes], error: Exception | None, status: str, is_seen: bool
) -> None:
    """A forgery with a whole body is rejected before Flask. One with a part of it gets the response of Flask."""
    with deployed(tmp_path, hook_router()) as app:
        by_flask = post(app, FORGED | {"wsgi.input": Pieces(pieces, error)})
        flood(app, tmp_path)
        reply = post(app, FORGED | {"wsgi.input": Pieces(pieces, error)})
    assert reply[:3] == by_flask[:3]
    assert (reply.status[:3], reply.is_seen) == (status, is_seen)


def test_a_genuine_body_that_arrives_later_is_handled(tmp_path: Path) -> None:
    """A delivery that verifies reaches its handler with the whole body."""
    events: list[WebhookEvent] = []
    with deployed(tmp_path, hook_router(seen=events)) as app:
        flood(app, tmp_path)
        assert post(app, _SIGNED | {"wsgi.input": Pieces([BODY[:5], BODY[5:]])}).status[:3] == "200"
    assert [event.body for event in events] == [BODY]


def test_a_stream_that_was_begun_is_not_read() -> None:
    """A body of which something has read a part is left to Flask."""
    begun = BytesIO(BODY)
    begun.read(1)
    environ = {"CONTENT_LENGTH": str(len(BODY)), "wsgi.input": begun}
    assert early_body(environ, len(BODY)) is None
    assert (environ["wsgi.input"], begun.tell()) == (begun, 1)
