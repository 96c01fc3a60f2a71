"""Publish deliveries, while telemetry is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask_convex_http.error_texts import text_of
from flask_convex_http.inbox.arrival import Arrival
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.runtime import MutationCalls
from flask_convex_http.schema.system_tables import WebhookDelivery
from flask_convex_http.telemetry import DeliveryFinished, DeliveryState, Scope, Telemetry, current_scope

T = TypeVar("T")


def note_outcome(state: DeliveryState, error: str | None = None) -> None:
    """Note how the delivery of the current scope ends. The last note counts."""
    scope = current_scope()
    if scope is not None and scope.kind == "delivery":
        scope.outcome = state, error


def observe_arrival(telemetry: Telemetry, arrival: Arrival, receive: Callable[[], T]) -> T:
    """Receive a delivery, and publish its end. Without a noted outcome it has failed."""
    webhook, event = arrival.webhook, arrival.event
    handler = webhook.handler_name(event.type)
    scope = telemetry.enter("delivery", webhook.source, arrival.request_id, subject=arrival.event_id, function=handler)
    state: DeliveryState = "done"
    text: str | None = None
    try:
        return receive()
    except BaseException as error:
        state, text = "failed", text_of(error)
        raise
    finally:
        seconds = telemetry.leave(scope)
        state, text = scope.outcome or (state, text)
        telemetry.publish(
            DeliveryFinished(
                scope, webhook.source, webhook.provider.name, arrival.event_id, event.type or "", state, seconds, text
            )
        )


def observe_attempt(
    telemetry: Telemetry,
    calls: MutationCalls,
    delivery: WebhookDelivery,
    webhook: Webhook | None,
    attempt: Callable[[], T],
) -> T:
    """Attempt a delivery in a worker, and publish its end after the commit."""
    handler = None if webhook is None else webhook.handler_name(delivery.type)
    scope = telemetry.enter(
        "delivery", delivery.source, delivery.request_id, subject=delivery.event_id, function=handler
    )
    try:
        return attempt()
    finally:
        seconds = telemetry.leave(scope)
        if scope.outcome is not None:
            calls.after_commit(lambda: _publish_attempt(telemetry, scope, delivery, webhook, seconds))


def observe_rerun(
    telemetry: Telemetry, delivery: WebhookDelivery, webhook: Webhook | None, rerun: Callable[[], T]
) -> T:
    """Run a delivery again for a person, and publish its end, unless nothing was run."""
    handler = None if webhook is None else webhook.handler_name(delivery.type)
    scope = telemetry.enter("delivery", delivery.source, subject=delivery.event_id, function=handler)
    try:
        return rerun()
    finally:
        seconds = telemetry.leave(scope)
        if scope.outcome is not None:
            _publish_attempt(telemetry, scope, delivery, webhook, seconds)


def _publish_attempt(
    telemetry: Telemetry, scope: Scope, delivery: WebhookDelivery, webhook: Webhook | None, seconds: float
) -> None:
    state, error = scope.outcome or ("done", None)
    provider = "" if webhook is None else webhook.provider.name
    telemetry.publish(
        DeliveryFinished(
            scope, delivery.source, provider, delivery.event_id, delivery.type or "", state, seconds, error
        )
    )
