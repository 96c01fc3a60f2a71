"""`webhooks:` of a document: the events that an app receives, one entry for each pattern of a handler."""

from __future__ import annotations

from typing import Any

from flask_convex_http.web.openapi.responses import Responses
from flask_convex_http.web.openapi.schemas import JsonSchema, Schemas
from flask_convex_http.web.openapi.texts import summary_and_description
from flask_convex_http.web.webhooks.event_handlers import ANY, EventHandler
from flask_convex_http.web.webhooks.webhooks import WebhookRoute


def webhook_object(
    webhook: WebhookRoute, handler: EventHandler, path: str, schemas: Schemas, responses: Responses
) -> dict[str, Any]:
    """Return the operation object of a handler of events, without its `operationId` and tags.

    Args:
        webhook: The webhook.
        handler: One of its handlers.
        path: The full path of the webhook.
        schemas: The schemas of the document.
        responses: The responses of the document.
    """
    kind = "Events" if handler.pattern == ANY else f"Events of type `{handler.pattern}`"
    where = f"{kind} of {webhook.provider.name}, at {path}. The signature is verified."
    texts = summary_and_description(handler.description)
    is_queued = webhook.options.mode == "enqueue"
    return {
        "summary": texts.get("summary", where),
        "description": "\n\n".join([where, *([texts["description"]] if "description" in texts else [])]),
        "requestBody": {"required": True, "content": {"application/json": _media(webhook, handler, schemas)}},
        "responses": {
            "200": {"description": "The event is handled, or was handled before."},
            **({"202": {"description": "The event is recorded, and is handled later."}} if is_queued else {}),
            **{str(status): responses.ref(status) for status in (400, 413, 415, 503)},
            "default": {"description": "Another response of the handler."},
        },
    }


def _media(webhook: WebhookRoute, handler: EventHandler, schemas: Schemas) -> dict[str, Any]:
    """Return the body of an event: the sender's object at its place in the payload."""
    if not handler.takes_object or handler.object_type is Any:
        return {}
    schema: JsonSchema = schemas.received(handler.object_type)
    for name in reversed([name for name in webhook.provider.object_field.split(".") if name]):
        schema = {"type": "object", "properties": {name: schema}, "required": [name]}
    return {"schema": schema}
