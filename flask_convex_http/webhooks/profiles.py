"""What is known of a sender of webhooks beside its signature: how patient it is, how long it repeats, how to stop it.

Each provider has a `Profile`; the inbox keeps ids and answers by it. The figures are the vendors', from the page
that each profile names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a sender behaves.

    Attributes:
        signed: What the signature covers: `body`, and names of headers.
        id_from: Where the id of a delivery is: the name of a header, or `body` and a field of it.
        id_is_signed: Whether the signature covers that id. If not, a replay may come under another one.
        timeout: How long the sender waits for an answer.
        retries: The waits before each further attempt of a delivery that failed, as published or nearly so; empty for a
            sender that does not try again by itself.
        redelivery: For how long people can have the same delivery sent again by hand.
        stop_status: The answer after which this sender does not send a delivery again.
        stop_headers: Headers that go with it.
        shows_answers: Whether people see the text that the sender is answered, as those of a chat do.
        honours_retry_after: Whether the sender waits as long as a `Retry-After` says.
        source: The page that says so.
    """

    signed: tuple[str, ...]
    id_from: str
    id_is_signed: bool
    timeout: timedelta
    retries: tuple[timedelta, ...] = ()
    redelivery: timedelta = timedelta(0)
    stop_status: int = 200
    stop_headers: dict[str, str] = field(default_factory=dict)
    shows_answers: bool = False
    honours_retry_after: bool = False
    source: str = ""

    @property
    def window(self) -> timedelta:
        """For how long the same delivery may come again."""
        return max(sum(self.retries, timedelta(0)), self.redelivery)
