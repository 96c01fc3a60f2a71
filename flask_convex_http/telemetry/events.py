"""The events: each says that something has ended, how, and how long it took.

Rules:

* Names are those of routes, functions and webhooks in the code, so there are few different ones. A path that no route
  has is None.
* Times are seconds, and `started` is in seconds since the epoch.
* `error` is the exception itself. A subscriber may keep its class and its text, within bounds.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from flask_convex_http.telemetry.scope import DeliveryState, Scope

JobOutcome = Literal["success", "retry", "failed"]


class RequestFinished(msgspec.Struct, frozen=True):
    """A request has its response. The body may still be streamed.

    Attributes:
        scope: Its scope.
        method: The method, `_OTHER` for one that HTTP does not define.
        route: The rule of the route, such as `/items/<id>`; None if no route matched.
        status: The status of the response; 101 if the connection was handed over.
        seconds: Its duration.
        error: The exception that the response stands for, or None.
        is_of_operators: Whether it is no request of the application's clients: a health check, or one to `/_convex`.
    """

    scope: Scope
    method: str
    route: str | None
    status: int
    seconds: float
    error: BaseException | None = None
    is_of_operators: bool = False


class FunctionFinished(msgspec.Struct, frozen=True):
    """A call of a function has ended.

    A mutation that no other function runs ends with its commit, and includes its attempts. One inside of another
    function ends before the commit.

    Attributes:
        scope: Its scope.
        name: The function's name.
        kind: The function's kind.
        seconds: Its duration.
        is_nested: Whether another function runs it.
        job: The id of the job that runs it, or None.
        error: The exception that it raised, or None.
        is_live: Whether it is a run of a live query, which a commit or a subscription has caused.
    """

    scope: Scope
    name: str
    kind: Literal["query", "mutation", "action"]
    seconds: float
    is_nested: bool
    job: str | None = None
    error: BaseException | None = None
    is_live: bool = False


class TransactionFinished(msgspec.Struct, frozen=True):
    """A transaction of a mutation, a delivery or a batch of jobs has ended.

    Attributes:
        scope: Its scope.
        name: The function, or what runs if it is no function.
        seconds: Its duration, with its wait, all its attempts and its commit.
        wait: How long it waited for the writer or for a connection, until it first ran.
        attempts: How often it ran: more than once after a conflict.
        error: The exception that has rolled it back, or None.
    """

    scope: Scope
    name: str
    seconds: float
    wait: float
    attempts: int
    error: BaseException | None = None


class GroupCommitted(msgspec.Struct, frozen=True):
    """The writer of a SQLite database has committed a group of writes.

    Attributes:
        size: The number of writes.
        seconds: The duration of the commit alone.
    """

    size: int
    seconds: float


class DeliveryFinished(msgspec.Struct, frozen=True):
    """A verified webhook delivery was received, or a worker has made an attempt to process it.

    Attributes:
        scope: Its scope.
        source: The webhook.
        provider: The name of the sender's service.
        event_id: The sender's id of the event.
        type: The type of the event; empty for none.
        state: "accepted" waits for a worker. "done" has its effects. "unhandled" has no handler for its type.
            "duplicate" ran nothing. "failed" may be retried, "dead" will not. "declined" has the id of another content.
        seconds: The duration since it was received, or of the worker's attempt.
        error: The text of the failure, or None.
    """

    scope: Scope
    source: str
    provider: str
    event_id: str
    type: str
    state: DeliveryState
    seconds: float
    error: str | None = None


class DeliveryRejected(msgspec.Struct, frozen=True):
    """A webhook delivery was rejected, because it did not verify. Anyone can cause this in any number.

    Attributes:
        source: The webhook.
        provider: The name of the sender's service.
        reason: The machine-readable reason; see `inbox.rejections.Rejection`.
        request_id: The id of the request.
    """

    source: str
    provider: str
    reason: str
    request_id: str


class JobFinished(msgspec.Struct, frozen=True):
    """An attempt to run a job has ended, and its end is committed.

    Attributes:
        scope: Its scope.
        id: The job.
        name: Its function. Those of the package itself begin with an underscore.
        kind: The kind of the function.
        attempt: The number of the attempt, from 1.
        outcome: "retry" has failed, and another attempt follows.
        seconds: The duration of the function.
        lag: The seconds between the time it was due and its start; None for a further attempt.
        error: The exception that it raised, or None.
    """

    scope: Scope
    id: str
    name: str
    kind: Literal["mutation", "action"]
    attempt: int
    outcome: JobOutcome
    seconds: float
    lag: float | None = None
    error: BaseException | None = None


Event: TypeAlias = (
    RequestFinished
    | FunctionFinished
    | TransactionFinished
    | GroupCommitted
    | DeliveryFinished
    | DeliveryRejected
    | JobFinished
)
