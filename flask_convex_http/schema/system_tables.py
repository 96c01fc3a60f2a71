"""The tables the package itself needs; they are documents like any other.

`_storage`, `_scheduled_functions` and `_webhooks` can be read by applications through `ctx.db.system`; the others
cannot be reached from functions. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Document, unique


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


class Answer(msgspec.Struct, frozen=True):
    """What the sender of a webhook is answered.

    Attributes:
        status: The HTTP status.
        headers: Names and values, in order.
        body: The bytes.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)
    body: bytes = b"OK"


class WebhookAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One time that a webhook's handler was run.

    Attributes:
        started: When.
        ended: When it ended.
        by: Who had it run: the sender's delivery, a worker, or somebody at the command line.
        outcome: Whether its effects were committed.
        error: What it failed with.
    """

    started: float
    ended: float
    by: Literal["sender", "worker", "retry", "replay"] = "sender"
    outcome: Literal["success", "failed", "dead"] = "success"
    error: str | None = None


class WebhookDelivery(
    Document, table="_webhooks", indexes={"by_event": unique("source", "event_id"), "by_state": ["state", "due"]}
):
    """A verified delivery of a webhook, and what became of it; copies of it have no row of their own.

    Attributes:
        source: Which of the application's webhooks received it.
        event_id: The sender's id of it.
        type: What happened, in the sender's words.
        provider: The kind of sender.
        state: "pending": a worker is to run its handler. "done": its effects are committed. "failed": the handler
            failed, and runs again when the sender sends it again. "dead": it has failed for good.
        received: When it came.
        expires: When it may be forgotten; a copy that comes later would be taken for new.
        due: When it needs looking at: to forget its headers and body, then all of it; to see whether it is still to
            be run.
        secret_label: Which secret its signature was made with.
        request_id: The request that brought it, as the log has it.
        size: Bytes of its body, which is kept apart and forgotten sooner.
        completed_time: When it was done or dead.
        error: What it failed with last.
        answer: What the sender was answered, and is for each copy; None for a plain OK.
        lane: Whose deliveries are run one after another.
        job: The scheduled function that runs its handler.
        attempts: When its handler was run, in order; the newest hundred.
    """

    source: str
    event_id: str
    type: str
    provider: str
    state: Literal["pending", "done", "failed", "dead"]
    received: float
    expires: float
    due: float
    secret_label: str
    request_id: str
    size: int
    completed_time: float | None = None
    error: str | None = None
    answer: Answer | None = None
    lane: str | None = None
    job: Id[ScheduledFunction] | None = None
    attempts: list[WebhookAttempt] = []


class WebhookRequest(Document, table="_webhook_requests"):
    """The headers and the body of a delivery; its id has the same number as the delivery's.

    Attributes:
        headers: As received, with lower-case names, without cookies and credentials.
        body: The verified bytes.
    """

    headers: dict[str, str]
    body: bytes


class WebhookContent(
    Document,
    table="_webhook_contents",
    indexes={"by_fingerprint": unique("source", "fingerprint"), "by_expiry": ["expires"]},
):
    """The signed content of a delivery whose id is not signed, so that it is known under another id.

    Attributes:
        source: Which of the application's webhooks received it.
        fingerprint: What is the same in each copy.
        event_id: The id it came under first.
        expires: When it may be forgotten.
    """

    source: str
    fingerprint: str
    event_id: str
    expires: float


class WebhookTurn(
    Document, table="_webhook_turns", indexes={"by_lane": ["source", "lane"], "by_delivery": ["delivery"]}
):
    """The place of a delivery in its lane, for as long as it has not been dealt with.

    Attributes:
        source: Which of the application's webhooks received it.
        lane: The lane.
        delivery: The delivery.
    """

    source: str
    lane: str
    delivery: Id[WebhookDelivery]


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
READABLE: tuple[type[Document], ...] = (StoredFile, ScheduledFunction, WebhookDelivery)
DOCUMENTS: tuple[type[Document], ...] = (
    StoredFile,
    ScheduledFunction,
    CronJob,
    CronRun,
    OnceCall,
    RateLimitBucket,
    WebhookDelivery,
    WebhookRequest,
    WebhookContent,
    WebhookTurn,
    ApiKey,
    AccessToken,
    Setting,
)
