"""The behaviour of a sender: its timeout, its retries, and the response that stops them.

Each provider has a `Profile`. The inbox derives the retention of ids and the response to a delivery from it. The
figures are the vendors', from the page in `source`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The behaviour of a sender.

    Attributes:
        signed: The signed parts of a delivery: `body`, the names of headers, `url` and `method`.
        id_from: Where the id of a delivery is: the name of a header, or `body` and a field of it.
        id_is_signed: Whether the signature covers the id. If not, a replay may have another one.
        timeout: How long the sender waits for a response.
        retries: The waits before each retry of a failed delivery, as published or close to it. Empty for a sender that
            does not retry.
        redelivery: How long people can have the same delivery sent again by hand.
        stop_status: The status after which this sender does not retry.
        stop_headers: The headers of the response that stops the sender.
        rejected_status: The status of the response to a delivery that does not verify.
        max_body_bytes: The largest body of this sender in bytes, or None if it publishes none.
        headers: Headers that are kept with a delivery beside the signed and the required ones.
        shows_answers: Whether people see the text of the response, as in a chat.
        source: The page that documents these figures.
    """

    signed: tuple[str, ...]
    id_from: str
    id_is_signed: bool
    timeout: timedelta
    retries: tuple[timedelta, ...] = ()
    redelivery: timedelta = timedelta(0)
    stop_status: int = 200
    stop_headers: dict[str, str] = field(default_factory=dict)
    rejected_status: int = 400
    max_body_bytes: int | None = None
    headers: tuple[str, ...] = ()
    shows_answers: bool = False
    source: str = ""

    @property
    def window(self) -> timedelta:
        """How long the sender may send the same delivery again."""
        return max(sum(self.retries, timedelta(0)), self.redelivery)
