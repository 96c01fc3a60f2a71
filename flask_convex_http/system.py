"""The tables the package itself needs; they are documents like any other.

`_storage` and `_scheduled_functions` can be read by applications through `ctx.db.system`; the others cannot be
reached from functions. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flask_convex_http.ids import Id
from flask_convex_http.schema import Document, unique


class StoredFile(Document, table="_storage"):
    """What is known of a stored file; its bytes are in the blob store under the same id.

    Attributes:
        sha256: The digest of the bytes, base64.
        size: Their number.
        content_type: The type given when it was stored.
        revision: Signed URLs carry it; raising it revokes them.
    """

    sha256: str
    size: int
    content_type: str | None = None
    revision: int = 0


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One time that a scheduled action was run.

    Attributes:
        started: When.
        ended: When it ended, or when it was found that its worker is gone.
        outcome: "lost": its worker died. "stopped": its worker was stopped before it ended.
        error: What it failed with.
    """

    started: float
    ended: float | None = None
    outcome: Literal["running", "success", "failed", "lost", "stopped"] = "running"
    error: str | None = None


class ScheduledFunction(Document, table="_scheduled_functions", indexes={"by_state": ["state", "kind", "due"]}):
    """A function that was scheduled; it is kept for a while after it has ended.

    Attributes:
        name: The function's name, such as "items:create".
        args: Its arguments, as JSON has them.
        kind: Whether it runs in one transaction with its own completion, or outside of any.
        state: "inProgress" is only ever seen of actions.
        scheduled_time: When it is to run.
        due: When it needs looking at next: to run it (again), to see whether its worker lives, to forget it.
        completed_time: When it ended.
        error: What it failed with.
        worker: Who runs it.
        attempts: An action's attempts, in order.
    """

    name: str
    args: dict[str, Any]
    kind: Literal["mutation", "action"]
    state: Literal["pending", "inProgress", "success", "failed", "canceled"]
    scheduled_time: float
    due: float
    completed_time: float | None = None
    error: str | None = None
    worker: str | None = None
    attempts: list[Attempt] = []


class CronJob(Document, table="_cron_jobs", indexes={"by_name": unique("name")}):
    """A cron, as the newest process that started knows it.

    Attributes:
        name: Its name, unique among the crons.
        schedule: Its schedule in one line; when that changes, the next tick is found anew.
        function: The name of the function it runs.
        args: Its arguments, as JSON has them.
        next_tick: When it fires next.
        last_job: What it scheduled last.
    """

    name: str
    schedule: str
    function: str
    args: dict[str, Any]
    next_tick: float
    last_job: Id[ScheduledFunction] | None = None


class CronRun(Document, table="_cron_runs", indexes={"by_tick": unique("name", "tick"), "by_time": ["tick"]}):
    """One firing of a cron: there is one row for each name and tick, so a tick fires once.

    Attributes:
        name: The cron's name.
        tick: The time it was due.
        job: What was scheduled.
        skipped: How many ticks after this one were too late to be run.
    """

    name: str
    tick: float
    job: Id[ScheduledFunction]
    skipped: int = 0


class OnceCall(Document, table="_once_calls", indexes={"by_key": unique("key"), "by_expiry": ["expires"]}):
    """A call to another service that is made once.

    Attributes:
        key: The application's name for it.
        state: "started" until its result is recorded.
        owner: Who makes it: the id of a scheduled function, or a random text.
        started: When.
        result: What it answered, as JSON; None until then.
        error: Why the result could not be recorded.
        expires: When it may be forgotten.
    """

    key: str
    state: Literal["started", "done"]
    owner: str
    started: float
    expires: float
    result: str | None = None
    error: str | None = None


class RateLimitBucket(
    Document, table="_rate_limits", indexes={"by_name": unique("name", "key"), "by_full_at": ["full_at"]}
):
    """How many tokens somebody has left; without a row it is all of them.

    Attributes:
        name: The limit's name.
        key: Whose bucket it is.
        tokens: How many there were at the time.
        time: The time.
        full_at: When it is full again, and the row says nothing any more.
    """

    name: str
    key: str
    tokens: float
    time: float
    full_at: float


class ApiKey(Document, table="api_keys", indexes={"by_hash": unique("hash"), "by_name": ["name"]}):
    """An API key; only a keyed hash of it is kept.

    Attributes:
        name: Whose key it is, for people.
        hint: The first characters of the key, to tell keys apart.
        hash: The keyed hash of the key, hexadecimal.
        scopes: What it may be used for.
        expires_at: Milliseconds since the epoch, None for never.
        revoked_at: Milliseconds since the epoch, None while it is valid.
        last_used_at: Milliseconds since the epoch, brought up to date about once a minute.
    """

    name: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class AccessToken(Document, table="access_tokens", indexes={"by_hash": unique("hash"), "by_subject": ["subject"]}):
    """An opaque Bearer token for a subject; only a keyed hash of it is kept. Times as in `ApiKey`."""

    subject: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class Setting(Document, table="_settings", indexes={"by_key": unique("key")}):
    """Something the deployment must remember, such as the shape of its tables or its secret."""

    key: str
    value: str


#: Tables that applications may read through `ctx.db.system`.
READABLE: tuple[type[Document], ...] = (StoredFile, ScheduledFunction)
DOCUMENTS: tuple[type[Document], ...] = (
    StoredFile,
    ScheduledFunction,
    CronJob,
    CronRun,
    OnceCall,
    RateLimitBucket,
    ApiKey,
    AccessToken,
    Setting,
)
