"""The caller of a function: an identity, and the job that runs, if one does."""

from __future__ import annotations

import msgspec

from flask_convex_http.errors import FunctionCallError
from flask_convex_http.runtime.auth import Auth as Auth
from flask_convex_http.storage.files import Site, unknown_site

#: How deep functions may call each other.
MAX_DEPTH = 8


class AttemptNumber(int):
    """The number of an attempt, from 1.

    Attributes:
        max_attempts: The number of the last attempt: no other follows if this one has that number and fails.
    """

    max_attempts: int

    def __new__(cls, number: int, max_attempts: int) -> AttemptNumber:
        """Return the number of an attempt, one of at most `max_attempts`."""
        made = super().__new__(cls, number)
        made.max_attempts = max_attempts
        return made


class RunningJob(msgspec.Struct, frozen=True):
    """The job whose attempt runs at the moment.

    Attributes:
        id: The job's id.
        token: The idempotency token, which is the same in all attempts.
        attempt: The number of the attempt, from 1.
        max_attempts: The number of the last attempt.
        cron: The cron that has scheduled it, or None.
    """

    id: str
    token: str
    attempt: int = 1
    max_attempts: int = 1
    cron: str | None = None


class Caller(msgspec.Struct, frozen=True):  # one is made for each call, and a dataclass takes five times as long
    """On whose behalf functions run.

    Attributes:
        auth: The identity.
        site: Returns the start of absolute URLs. Without a request it fails.
        depth: The number of functions that this call is inside of.
        job: The job that runs the outermost function, or None.
        request_id: The id of the HTTP request, or None.
    """

    auth: Auth
    site: Site = unknown_site
    depth: int = 0
    job: RunningJob | None = None
    request_id: str | None = None

    def deeper(self) -> Caller:
        """Return the caller of a function that this one runs.

        Raises:
            FunctionCallError: The functions call each other too deep.
        """
        if self.depth >= MAX_DEPTH:
            raise FunctionCallError(f"Functions call each other more than {MAX_DEPTH} deep; is there an endless loop?")
        return Caller(self.auth, self.site, self.depth + 1, self.job, self.request_id)
