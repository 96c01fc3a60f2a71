"""The text of a transition, in one message or in several."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import msgspec

from flask_convex_http.sync.messages import (
    Modification,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    StateVersion,
    Transition,
    TransitionChunk,
    encode,
)
from flask_convex_http.sync.submissions import Outcome

#: Characters of a message, above which a transition is sent in several.
_LONGEST = 5_000_000


def transition_frames(
    start: StateVersion, end: StateVersion, results: Mapping[int, Outcome | None], *, chunks: bool
) -> list[bytes]:
    """Return the messages of a transition.

    Args:
        start: The version that the client has.
        end: The version of the results.
        results: The new results by the client's ids of queries; None for a query that was removed.
        chunks: Whether the client understands a transition in several messages.
    """
    modifications = [_modification(query_id, outcome) for query_id, outcome in results.items()]
    message = encode(Transition(start, end, modifications))
    if len(message) <= _LONGEST or not chunks:
        return [message]
    text = message.decode()
    parts = [text[place : place + _LONGEST] for place in range(0, len(text), _LONGEST)]
    transition_id = secrets.token_hex(8)
    return [encode(TransitionChunk(part, number, len(parts), transition_id)) for number, part in enumerate(parts)]


def _modification(query_id: int, outcome: Outcome | None) -> Modification:
    if outcome is None:
        return QueryRemoved(query_id)
    log_lines = list(outcome.log_lines)
    if outcome.value is not None:
        return QueryUpdated(query_id, msgspec.Raw(outcome.value), log_lines, outcome.journal)
    data = msgspec.UNSET if outcome.error_data is None else msgspec.Raw(outcome.error_data)
    return QueryFailed(query_id, outcome.error_message, log_lines, outcome.journal, data)
