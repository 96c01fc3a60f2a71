"""The table of rate limits."""

from __future__ import annotations

from flask_convex_http.schema.documents import Document, unique


class RateLimitBucket(
    Document, table="_rate_limits", indexes={"by_name": unique("name", "key"), "by_full_at": ["full_at"]}
):
    """The token bucket of one caller of a rate limit. A bucket without a row is full.

    Attributes:
        name: The name of the limit.
        key: The caller's key.
        tokens: The number of tokens at `time`.
        time: The time of the last change.
        full_at: The time at which the bucket is full again, so that the row can be purged.
    """

    name: str
    key: str
    tokens: float
    time: float
    full_at: float
