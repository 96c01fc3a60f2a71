"""Batches: several events in one request, each of which happens exactly once.

Each event is a delivery and a transaction of its own, because a batch that is sent again may contain events that have
run, and because one failed handler must not roll back the effects of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask_convex_http.errors import is_engine_failure
from flask_convex_http.inbox.inbox import Inbox, accepted_response, plain_response
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.runtime import Caller
from flask_convex_http.schema.system_tables import StoredResponse
from flask_convex_http.webhooks.events import WebhookEvent


def receive_batch(
    inbox: Inbox, webhook: Webhook, events: Sequence[WebhookEvent], caller: Callable[[], Caller], request_id: str
) -> StoredResponse:
    """Process the events of a verified batch in their order, and return one response.

    A failed event does not stop the others. Then the response is its error, so that the sender sends the batch again,
    and only the failed events run again.

    Args:
        inbox: The inbox.
        webhook: The webhook that received the batch.
        events: The events.
        caller: Returns the caller that a handler runs for.
        request_id: The id of the request.

    Returns:
        The first response with an error status, or the response for a handler that returned nothing.

    Raises:
        Exception: The first exception of a handler, or a failure of the database, after which no further event is run.
    """
    failures: list[Exception] = []
    declined: list[StoredResponse] = []
    for event in events:
        try:
            answer = inbox.receive(webhook, event, caller(), request_id)
        except Exception as error:
            if is_engine_failure(error):
                raise
            failures.append(error)
        else:
            declined += [answer] if answer.status >= 400 else []
    if failures:
        raise failures[0]
    if declined:
        return declined[0]
    return accepted_response(webhook.provider) if webhook.mode == "enqueue" else plain_response(webhook.provider)
