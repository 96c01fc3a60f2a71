"""The table of `ctx.once`."""

from __future__ import annotations

from typing import Literal

from flask_convex_http.schema.documents import Document, unique


class OnceCall(Document, table="_once_calls", indexes={"by_key": unique("key"), "by_expiry": ["expires"]}):
    """A call of `ctx.once` to another service.

    Attributes:
        key: The application's key of the call.
        state: "started" until its result is recorded.
        owner: The caller: the id of a job, or a random text.
        started: The start time.
        result: The result as JSON, None before the end.
        error: The reason, if the result could not be recorded.
        expires: The time after which it is purged.
    """

    key: str
    state: Literal["started", "done"]
    owner: str
    started: float
    expires: float
    result: str | None = None
    error: str | None = None
