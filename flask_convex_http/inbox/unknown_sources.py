"""Notes on deliveries whose source no webhook has, as the check of a deployment reports them."""

from __future__ import annotations

from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.search import count_deliveries, stored_sources

#: Deliveries that are counted for one source, and sources that are described.
_MAX_COUNT, _MAX_SOURCES = 1000, 10


def describe_unknown_sources(inbox: Inbox) -> list[str]:
    """Return one sentence for each source of deliveries that no webhook has.

    If a webhook was renamed, the inbox does not recognize duplicates of what it has received under its old source.
    """
    with inbox.runtime.engine.snapshot() as snapshot:
        stored = stored_sources(inbox.deliveries, snapshot)
        unknown = [source for source in stored if inbox.webhooks.get(source) is None]
        described = unknown[:_MAX_SOURCES]
        counts = [count_deliveries(inbox.deliveries, snapshot, source, _MAX_COUNT) for source in described]
    notes = [_describe(source, count) for source, count in zip(described, counts, strict=True)]
    if len(unknown) > len(described):
        notes.append(f"There are deliveries of {len(unknown) - len(described)} more sources that no webhook has")
    return notes


def _describe(source: str, count: int) -> str:
    more = " or more" if count == _MAX_COUNT else ""
    have = "delivery has" if count == 1 else "deliveries have"
    return (
        f"{count}{more} {have} the source {source!r}, which no webhook has: if one was renamed, duplicates of these "
        f"deliveries would run again; give that webhook source={source!r}"
    )
