"""How rejected deliveries are listed, by `webhooks list --status rejected` and by `webhooks doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from flask_convex_http.cli.output import moment, print_table, shortened
from flask_convex_http.inbox.explanations import claimed_event
from flask_convex_http.inbox.registry import Webhooks
from flask_convex_http.inbox.rejections import Rejection


def print_rejections(rejections: Iterable[Rejection]) -> None:
    """Print a table with a line for each rejected delivery."""
    rows = [
        (rejection.request_id, moment(rejection.received_at), rejection.source, rejection.reason, rejection.message)
        for rejection in rejections
    ]
    print_table(("REQUEST ID", "RECEIVED", "SOURCE", "REASON", "MESSAGE"), [tuple(map(shortened, row)) for row in rows])


def rejection_as_json(webhooks: Webhooks, rejection: Rejection) -> dict[str, Any]:
    """Return a rejected delivery for `--json`: without its body, and with only the names of its headers."""
    event = claimed_event(webhooks, rejection)
    fields = msgspec.structs.asdict(rejection)
    del fields["body"]
    return {
        **fields,
        "headers": sorted(rejection.headers),
        "event_id": "" if event is None else event.id,
        "event_type": "" if event is None else event.type,
    }
