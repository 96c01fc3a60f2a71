"""The package's own tables.

Applications read `_storage`, `_scheduled_functions` and `_webhooks` through `ctx.db.system`. Functions cannot reach the
other tables. All times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Document, unique
from flask_convex_http.schema.history_tables import CommitKey, CommitRow


class StoredFile(Document, table="_storage"):
    """The metadata of a stored file. Its bytes are in the blob store under the same id.

    Attributes:
        sha256: The SHA-256 digest of the bytes, base64.
        size: The number of bytes.
        content_type: The media type given when it was stored.
        revision: Part of every signed URL of the file. A higher revision revokes them.
        name: The name of the file for people, without folders and without characters that mislead.
    """

    sha256: str
    size: int
    content_type: str | None = None
    revision: int = 0
    name: str | None = None


class UsedUpload(Document, table="_used_uploads", indexes={"by_nonce": unique("nonce"), "by_expiry": ["expires"]}):
    """A use of an upload URL that works once.

    Attributes:
        nonce: The nonce of the URL.
        expires: The expiry of the URL, after which the row is purged.
    """

    nonce: str
    expires: float


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to run a scheduled action.

    Attributes:
        started: The start time.
        ended: The end time, or the time at which its worker was found dead.
        outcome: "lost" if its worker died, "stopped" if its worker was stopped before the end.
        error: The error, if the attempt failed.
    """

    started: float
    ended: float | None = None
    outcome: Literal["running", "success", "failed", "lost", "stopped"] = "running"
    error: str | None = None


class ScheduledFunction(Document, table="_scheduled_functions", indexes={"by_state": ["state", "kind", "due"]}):
    """A job: a scheduled function. It is purged some time after its end.

    Attributes:
        name: The name of the function, such as "items:create".
        args: The arguments, as JSON values.
        kind: "mutation" runs in one transaction with its own completion, "action" outside a transaction.
        state: The state. Only actions are ever "inProgress". A "paused" job is pending again after `resume`.
        scheduled_time: The time it should run.
        due: The time of its next step: an attempt, a check of its lease, or its purge.
        completed_time: The end time.
        error: The error, if it failed.
        worker: The worker that runs it.
        attempts: The attempts of an action, and those of a mutation whose process died, in order.
        trace: What has scheduled it, as the `traceparent` of a trace; None without tracing.
    """

    name: str
    args: dict[str, Any]
    kind: Literal["mutation", "action"]
    state: Literal["pending", "inProgress", "success", "failed", "canceled", "paused"]
    scheduled_time: float
    due: float
    completed_time: float | None = None
    error: str | None = None
    worker: str | None = None
    attempts: list[Attempt] = []
    trace: str | None = None


class CronJob(Document, table="_cron_jobs", indexes={"by_name": unique("name")}):
    """A cron, as the process that started last defines it.

    Attributes:
        name: Its name, unique among the crons.
        schedule: Its schedule in one line. A changed schedule computes `next_tick` again.
        function: The name of the function.
        args: The arguments, as JSON values.
        next_tick: The time of the next tick.
        last_job: The job of the last tick.
    """

    name: str
    schedule: str
    function: str
    args: dict[str, Any]
    next_tick: float
    last_job: Id[ScheduledFunction] | None = None


class CronRun(Document, table="_cron_runs", indexes={"by_tick": unique("name", "tick"), "by_time": ["tick"]}):
    """One tick of a cron. The unique index on name and tick makes a tick run once.

    Attributes:
        name: The name of the cron.
        tick: The time of the tick.
        job: The scheduled job.
        skipped: The number of ticks after this one that were too late to run.
    """

    name: str
    tick: float
    job: Id[ScheduledFunction]
    skipped: int = 0


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


class StoredResponse(msgspec.Struct, frozen=True):
    """The stored response to a webhook delivery.

    Attributes:
        status: The HTTP status.
        headers: Names and values, in order.
        body: The body.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)
    body: bytes = b"OK"


class WebhookAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to run the handler of a webhook delivery.

    Attributes:
        started: The start time.
        ended: The end time.
        by: The cause: the sender's request, a worker, or a command (`retry` or `replay`).
        outcome: "success" if the effects are committed.
        error: The error, if the attempt failed.
    """

    started: float
    ended: float
    by: Literal["sender", "worker", "retry", "replay"] = "sender"
    outcome: Literal["success", "failed", "dead"] = "success"
    error: str | None = None


class WebhookDelivery(
    Document, table="_webhooks", indexes={"by_event": unique("source", "event_id"), "by_state": ["state", "due"]}
):
    """A verified webhook delivery and its state. Duplicates have no row of their own.

    Attributes:
        source: The name of the webhook that received it.
        event_id: The sender's id of the event.
        type: The sender's type of the event.
        provider: The name of the provider.
        state: "pending" if a worker will run its handler, "done" if its effects are committed, "failed" if the handler
            failed and runs again when the sender retries, "dead" if it failed for good, "canceled" if its job was
            canceled, "unhandled" if there was no handler for its type, "undone" if its effects were undone.
        received: The time it arrived.
        expires: The time after which it is purged. A later duplicate would count as a new event.
        due: The time of its next step: a check that its job exists, the purge of headers and body, or its purge.
        secret_label: The label of the secret that verified its signature.
        request_id: The id of the request that delivered it, as in the log.
        size: Bytes of its body, which is stored separately and purged sooner.
        completed_time: The time it became "done", "dead", "canceled", "unhandled" or "undone".
        error: The error of the last failed attempt.
        answer: The response to the sender and to each duplicate, None for a plain OK.
        lane: The lane, whose deliveries run one after another.
        job: The job that runs its handler.
        attempts: The newest hundred attempts to run the handler, in order.
    """

    source: str
    event_id: str
    type: str
    provider: str
    state: Literal["pending", "done", "failed", "dead", "canceled", "unhandled", "undone"]
    received: float
    expires: float
    due: float
    secret_label: str
    request_id: str
    size: int
    completed_time: float | None = None
    error: str | None = None
    answer: StoredResponse | None = None
    lane: str | None = None
    job: Id[ScheduledFunction] | None = None
    attempts: list[WebhookAttempt] = []


class WebhookRequest(Document, table="_webhook_requests"):
    """The headers and the body of a delivery. Its id ends like the delivery's.

    Attributes:
        headers: The headers that the provider names and a few common ones, with lower-case names.
        body: The verified bytes.
    """

    headers: dict[str, str]
    body: bytes


class WebhookContent(
    Document,
    table="_webhook_contents",
    indexes={"by_fingerprint": unique("source", "fingerprint"), "by_expiry": ["expires"]},
):
    """The content of a delivery to a webhook with `dedupe="content"`, to recognise a duplicate with another id.

    Attributes:
        source: The name of the webhook that received it.
        fingerprint: A digest of the content, equal in all duplicates.
        event_id: The id of the first delivery with this content.
        expires: The time after which it is purged.
    """

    source: str
    fingerprint: str
    event_id: str
    expires: float


class WebhookTurn(
    Document, table="_webhook_turns", indexes={"by_lane": ["source", "lane"], "by_delivery": ["delivery"]}
):
    """The position of a pending delivery in its lane.

    Attributes:
        source: The name of the webhook that received it.
        lane: The lane.
        delivery: The delivery.
    """

    source: str
    lane: str
    delivery: Id[WebhookDelivery]


class IdempotencyKey(
    Document, table="_idempotency_keys", indexes={"by_digest": unique("digest"), "by_expiry": ["expires"]}
):
    """The key of an idempotent request, with the response that its handler has returned.

    Attributes:
        digest: A keyed digest of the caller and the key, by which a retry is recognised.
        fingerprint: A keyed digest of method, path, query string and body, which a retry must have too.
        key: The key, as the client sent it.
        identity: The caller, None for an anonymous one.
        method: The method.
        path: The path.
        request_id: The id of the request whose effects are committed.
        expires: The time after which the row is purged. A later request with the key runs again.
        status: The HTTP status of the response.
        headers: The names and values of its headers, in order.
        body: Its body.
    """

    digest: str
    fingerprint: str
    key: str
    identity: str | None
    method: str
    path: str
    request_id: str
    expires: float
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class ApiKey(
    Document,
    table="api_keys",
    indexes={
        "by_hash": unique("hash"),
        "by_name": ["name"],
        "by_owner": ["owner"],
        "by_expiry": ["expires_at"],
        "by_revocation": ["revoked_at"],
    },
):
    """An API key. Only a keyed hash of it is stored.

    Attributes:
        name: A name for people.
        hint: The first characters of the key, to tell keys apart.
        hash: The keyed hash of the key, hexadecimal.
        scopes: The scopes it grants.
        expires_at: The expiry, None for never.
        revoked_at: The time it was revoked, None while it is valid.
        last_used_at: The time of its last use, updated about once a minute.
        owner: The subject of its identity, None for its own id.
    """

    name: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    owner: str | None = None


class AccessToken(
    Document,
    table="access_tokens",
    indexes={
        "by_hash": unique("hash"),
        "by_subject": ["subject"],
        "by_expiry": ["expires_at"],
        "by_revocation": ["revoked_at"],
    },
):
    """An opaque Bearer token of a subject. Only a keyed hash of it is stored. Fields as in `ApiKey`."""

    subject: str
    hint: str
    hash: str
    scopes: list[str]
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    name: str | None = None


class Setting(Document, table="_settings", indexes={"by_key": unique("key")}):
    """A setting of the database itself, such as the shape of its tables or the deployment's secret."""

    key: str
    value: str


#: Tables that applications may read through `ctx.db.system`.
READABLE: tuple[type[Document], ...] = (StoredFile, ScheduledFunction, WebhookDelivery)
DOCUMENTS: tuple[type[Document], ...] = (
    StoredFile,
    UsedUpload,
    ScheduledFunction,
    CronJob,
    CronRun,
    OnceCall,
    RateLimitBucket,
    WebhookDelivery,
    WebhookRequest,
    WebhookContent,
    WebhookTurn,
    IdempotencyKey,
    ApiKey,
    AccessToken,
    Setting,
    CommitRow,
    CommitKey,
)
