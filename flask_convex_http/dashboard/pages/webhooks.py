"""The inbox: deliveries with their attempts, replay with its changes first, and rejected deliveries with the reason."""

from __future__ import annotations

import json
from datetime import timedelta

from flask import Response
from werkzeug.exceptions import Forbidden, NotFound

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.inbox.deliveries import STATES, State
from flask_convex_http.inbox.explanations import claimed_event, explain_rejection
from flask_convex_http.inbox.reader import InboxReader
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.inbox.rerun_results import RerunResult
from flask_convex_http.inbox.search import DeliveryFilter
from flask_convex_http.schema.system_tables import WebhookDelivery

page = Page("webhooks", "Webhooks")

_DELIVERIES = 50
_LONGEST_BODY = 200_000
#: The ages to choose from, in milliseconds.
AGES: dict[str, float] = {
    name: age.total_seconds() * 1000
    for name, age in {
        "1 hour": timedelta(hours=1),
        "1 day": timedelta(days=1),
        "7 days": timedelta(days=7),
        "30 days": timedelta(days=30),
    }.items()
}


@page.get()
def index(visit: Visit) -> Response:
    """List deliveries, the newest first, and the newest rejected ones."""
    reader = InboxReader(visit.backend.inbox)
    sources = sorted({webhook.source for webhook in visit.backend.webhooks} | set(reader.stored_sources()))
    conditions = _conditions(visit, sources)
    found = reader.page(conditions, _DELIVERIES)
    return visit.render(
        "webhooks.html",
        deliveries=found.deliveries,
        next=found.until,
        is_full=len(found.deliveries) == _DELIVERIES,
        sources=sources,
        states=list(STATES),
        ages=list(AGES),
        rejections=visit.backend.rejections.recent()[:5],
        webhooks=list(visit.backend.webhooks),
    )


@page.get("/find")
def find(visit: Visit) -> Response:
    """Open the delivery with an id of its own, of its event or of its request."""
    name = visit.text("id")
    reader = InboxReader(visit.backend.inbox)
    found = reader.find(name) if name else []
    chosen = max(found, key=lambda each: each.creation_time) if found else reader.find_request(name)
    if chosen is not None:
        return visit.redirect("webhooks_delivery", delivery=chosen.id)
    rejection = visit.backend.rejections.find(name)
    if rejection is not None:
        return visit.redirect("webhooks_rejection", request_id=rejection.request_id)
    return visit.redirect("webhooks_index", failed=f"There is no delivery with the id {name[:100]!r}.")


@page.get("/delivery/<delivery>")
def delivery(visit: Visit, delivery: str) -> Response:
    """Show a delivery with its attempts, its headers without credentials, and its body."""
    found = _find(visit, delivery)
    details = InboxReader(visit.backend.inbox).details(found, with_body=True)
    return visit.render(
        "delivery.html", delivery=found, details=details, body=None if details.body is None else _shown(details.body)
    )


@page.get("/delivery/<delivery>/replay")
def preview(visit: Visit, delivery: str) -> Response:
    """Preview a replay. It runs the handler and rolls it back."""
    if not visit.can_write:
        raise Forbidden("This session is read-only; log in with an admin key that is not")
    found = _find(visit, delivery)
    result = Replays(visit.backend.inbox).preview(found.id)
    if isinstance(result, RerunResult):
        return visit.render("delivery_replay.html", 409, delivery=found, preview=None, refused=result.sentence)
    return visit.render("delivery_replay.html", delivery=found, preview=result, refused="")


@page.post("/delivery/<delivery>/replay")
def replay(visit: Visit, delivery: str) -> Response:
    """Run the handler again: its effects happen again."""
    return _respond(visit, Replays(visit.backend.inbox).replay(_find(visit, delivery).id))


@page.post("/delivery/<delivery>/retry")
def retry(visit: Visit, delivery: str) -> Response:
    """Run a delivery whose effects have not happened."""
    return _respond(visit, Replays(visit.backend.inbox).retry(_find(visit, delivery).id))


@page.get("/rejections")
def rejections(visit: Visit) -> Response:
    """List the rejected deliveries, the newest first."""
    found = visit.backend.rejections.recent()
    rows = [(rejection, claimed_event(visit.backend.webhooks, rejection)) for rejection in found]
    return visit.render("rejections.html", rows=rows)


@page.get("/rejections/<request_id>")
def rejection(visit: Visit, request_id: str) -> Response:
    """Show why a delivery was rejected, and how to fix it. Nothing of its body is shown."""
    found = visit.backend.rejections.find(request_id)
    if found is None:
        raise NotFound
    findings = explain_rejection(visit.backend.inbox, found)
    event = claimed_event(visit.backend.webhooks, found)
    return visit.render("rejection.html", rejection=found, findings=findings, event=event)


def _conditions(visit: Visit, sources: list[str]) -> DeliveryFilter:
    state, source, age = visit.choice("state", STATES), visit.choice("source", sources), visit.choice("age", list(AGES))
    chosen: tuple[State, ...] = tuple(each for each in STATES if state in ("", each))
    return DeliveryFilter(
        sources=frozenset({source}) if source else None,
        states=chosen,
        type=visit.text("type") or None,
        since=visit.backend.clock() - AGES[age] if age else None,
        until=visit.decimal("older"),
    )


def _find(visit: Visit, delivery: str) -> WebhookDelivery:
    found = [each for each in InboxReader(visit.backend.inbox).find(delivery) if each.id == delivery]
    if not found:
        raise NotFound
    return found[0]


def _shown(body: bytes) -> str:
    """Return a body as text, indented if it is JSON."""
    text = body[:_LONGEST_BODY].decode("utf-8", "replace")
    if len(body) > _LONGEST_BODY:
        return f"{text}\n… ({len(body):,} bytes)"
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text


def _respond(visit: Visit, result: RerunResult) -> Response:
    failed = result.outcome not in ("done", "queued")
    sentence = result.sentence[:1].upper() + result.sentence[1:]
    message = {"failed" if failed else "done": sentence}
    return visit.redirect("webhooks_delivery", delivery=result.id, **message)
