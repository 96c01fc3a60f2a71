"""A failed handler leaves only its attempt, and the sender's next duplicate runs it again."""

import hmac
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Response, abort
from werkzeug.exceptions import Conflict

from flask_convex_http import (
    ArgumentValidationError,
    ConvexError,
    DeadLetterError,
    DocumentNotFoundError,
    FunctionNotFoundError,
    HmacSignature,
    MigrationRequiredError,
    MutationCtx,
    NoRetry,
    OverloadedError,
    UnavailableError,
    VerificationError,
    WebhookEvent,
    error_response,
    internal_mutation,
)
from flask_convex_http.engines import Transaction
from flask_convex_http.webhooks import Slack
from tests.databases import EACH_ENGINE, SQLITE_ONLY
from tests.inbox.receiving import Boom, Effect, Handler, Receiver, payload, receiving, record
from tests.sqlite.limits import no_longer_files
from tests.webhooks.senders import OTHER_SECRET, SECRET, sign_slack

pytestmark = EACH_ENGINE


class NoText(Exception):
    """An error whose text cannot be read."""

    def __str__(self) -> str:
        raise ValueError("no text")


def failing(*errors: Exception | None) -> Handler:
    """Return a handler that writes and then raises these errors in turn, or succeeds where one is None."""
    left = list(errors)

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        error = left.pop(0)
        if error is not None:
            raise error

    return handler


def raising(error: Callable[[], Any]) -> Handler:
    """Return a handler that writes and then raises this error."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        error()

    return handler


def test_the_next_duplicate_runs_again(tmp_path: Path) -> None:
    """A failed delivery keeps its attempts and their errors; a successful duplicate has exactly one effect."""
    with receiving(tmp_path, failing(Boom("first"), Boom("second"), None)) as receiver:
        assert [receiver.deliver().status_code for _ in range(2)] == [500, 500]
        failed = receiver.delivery
        assert (failed.state, receiver.effects, failed.completed_time) == ("failed", [], None)
        assert failed.error is not None and "second" in failed.error
        assert [receiver.deliver().status_code for _ in range(3)] == [200, 200, 200]
        done = receiver.delivery
        assert (done.id, done.state, done.error, receiver.effects) == (failed.id, "done", None, ["evt_1"])
        assert [attempt.outcome for attempt in done.attempts] == ["failed", "failed", "success"]
        assert [str(attempt.error).rpartition(": ")[2] for attempt in done.attempts] == ["first", "second", "None"]
        assert done.completed_time is not None


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ValueError("x"), 500, None),
        (NoText(), 500, None),
        (ConvexError("x", status=409), 409, None),
        (ConvexError("x", status=429), 429, None),
        (ConvexError("x", status=503), 503, None),
        (Conflict("x"), 409, None),
        (UnavailableError("The shop is closed"), 503, "10"),
        # the delivery is valid, although these errors blame a client elsewhere
        (ArgumentValidationError("x"), 500, None),
        (DocumentNotFoundError("x"), 500, None),
        (FunctionNotFoundError("x"), 500, None),
        (VerificationError("no-match", "x"), 500, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_the_sender_is_told(error: Exception, status: int, retry_after: str | None, tmp_path: Path) -> None:
    """A ConvexError and an HTTP error keep their status; every other error is a 500 to the sender."""
    with receiving(tmp_path, failing(error, error)) as receiver:
        for _ in range(2):
            response = receiver.deliver()
            assert (response.status_code, response.headers.get("Retry-After")) == (status, retry_after)
        assert (receiver.effects, receiver.states, len(receiver.delivery.attempts)) == ([], ["failed"], 2)
        assert type(error).__name__ in str(receiver.delivery.error)


def _declines(ctx: MutationCtx, event: WebhookEvent) -> Response:
    record(ctx, event)
    return error_response("no such lamp", 422, {"X-Lamp": "1"})


@pytest.mark.parametrize("answer", [_declines, raising(lambda: abort(_declined()))], ids=["returned", "aborted"])
def test_an_error_status_is_sent(answer: Handler, tmp_path: Path) -> None:
    """An error status of a handler is sent, and its effects are rolled back; each duplicate runs it again."""
    with receiving(tmp_path, answer) as receiver:
        for count in (1, 2):
            response = receiver.deliver()
            assert (response.status_code, response.json) == (422, {"error": "no such lamp"})
            assert response.headers["X-Lamp"] == "1"
            assert (receiver.effects, receiver.states, len(receiver.delivery.attempts)) == ([], ["failed"], count)


def _declined() -> Response:
    return error_response("no such lamp", 422, {"X-Lamp": "1"})


@pytest.mark.parametrize("status", [399, 400, 599])
def test_what_is_an_error(status: int, tmp_path: Path) -> None:
    """Statuses from 400 are errors, and lower ones are successes."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> tuple[str, int]:
        record(ctx, event)
        return "x", status

    with receiving(tmp_path, handler) as receiver:
        assert receiver.deliver().status_code == status
        assert receiver.states == (["done"] if status < 400 else ["failed"])
        assert len(receiver.effects) == (status < 400)


@pytest.mark.parametrize(
    "answer",
    [
        object,
        lambda: 5,
        lambda: Boom,
        lambda: ("x", "y", "z", 1),
        lambda: ("x", 200, {"A": "b\nc"}),
        lambda: Response(map(bytes.decode, [b"x", b"\xff"])),
    ],
    ids=["object", "number", "class", "tuple", "line break", "broken stream"],
)
def test_a_response_that_is_none(answer: Callable[[], Any], tmp_path: Path) -> None:
    """A response that cannot be sent fails the handler while its effects can still be rolled back."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> Any:
        record(ctx, event)
        return answer()

    with receiving(tmp_path, handler) as receiver:
        assert receiver.deliver().status_code == 500
        assert (receiver.effects, receiver.states) == ([], ["failed"])


def test_a_broken_part_that_was_caught(tmp_path: Path) -> None:
    """A mutation that fails inside the handler is rolled back alone, if the handler continues."""

    @internal_mutation
    def part(ctx: MutationCtx) -> None:
        ctx.db.insert(Effect(event="part"))
        raise Boom

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        with pytest.raises(Boom):
            ctx.run_mutation(part)
        record(ctx, event)

    with receiving(tmp_path, handler, functions=[part]) as receiver:
        assert receiver.deliver().status_code == 200
        assert receiver.effects == ["evt_1"]


# --- given up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DeadLetterError, NoRetry])
def test_a_delivery_that_is_dead_lettered(error: type[NoRetry], tmp_path: Path) -> None:
    """DeadLetterError rolls back, keeps the delivery as dead and responds with success; duplicates run nothing.

    NoRetry, which functions of jobs raise too, does the same.
    """
    with receiving(tmp_path, failing(error("The shop closed in 2019"))) as receiver:
        assert [(answer.status_code, answer.text) for answer in [receiver.deliver() for _ in range(3)]] == [
            (200, "OK")
        ] * 3
        dead = receiver.delivery
        assert (dead.state, dead.error, receiver.effects) == ("dead", "The shop closed in 2019", [])
        assert [(attempt.outcome, attempt.error) for attempt in dead.attempts] == [("dead", "The shop closed in 2019")]
        assert dead.completed_time is not None and len(receiver.bodies) == 1


def test_one_that_failed_before_is_dead_lettered(tmp_path: Path) -> None:
    """DeadLetterError works in a later attempt as well."""
    with receiving(tmp_path, failing(Boom(), DeadLetterError())) as receiver:
        assert [receiver.deliver().status_code for _ in range(3)] == [500, 200, 200]
        assert [attempt.outcome for attempt in receiver.delivery.attempts] == ["failed", "dead"]
        assert receiver.delivery.error == "The handler dead-lettered it"


def test_a_sender_that_wants_to_be_told_in_its_own_words(tmp_path: Path) -> None:
    """Slack stops at its own header."""
    body = b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}'
    with receiving(tmp_path, failing(DeadLetterError("no")), Slack(secret=SECRET)) as receiver:
        for _ in range(2):
            assert receiver.send(body, sign_slack).headers["X-Slack-No-Retry"] == "1"
        assert receiver.states == ["dead"]


# --- database failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (OverloadedError("busy"), "1"),
        (UnavailableError("no space", by_engine=True), "10"),
        (MigrationRequiredError("no table"), None),
    ],
    ids=["busy", "disk", "not migrated"],
)
def test_trouble_of_the_database_is_no_attempt(error: Exception, retry_after: str | None, tmp_path: Path) -> None:
    """While the database cannot be used, nothing is recorded and the sender gets a retryable error."""
    with receiving(tmp_path, failing(error, None)) as receiver:
        response = receiver.deliver()
        assert (response.status_code, response.headers.get("Retry-After")) == (503, retry_after)
        assert (receiver.deliveries, receiver.effects) == ([], [])
        assert receiver.deliver().status_code == 200
        assert (receiver.effects, len(receiver.delivery.attempts)) == (["evt_1"], 1)


@contextmanager
def held_writer(receiver: Receiver) -> Iterator[None]:
    """Hold the writer during the block."""
    held, over = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        held.set()
        assert over.wait(30)

    thread = threading.Thread(target=receiver.backend.engine.write, args=(work,))
    thread.start()
    try:
        assert held.wait(30)
        yield
    finally:
        over.set()
        thread.join()


@SQLITE_ONLY
@pytest.mark.parametrize("mode", ["transaction", "enqueue"])
def test_a_busy_writer(mode: str, tmp_path: Path) -> None:
    """A delivery waits for the writer for half of its sender's timeout; duplicates and forgeries need no writer."""
    sender = HmacSignature(secret=SECRET, header="X-Signature", id_field="id", timeout=timedelta(seconds=0.2))
    with receiving(tmp_path, provider=sender, mode=mode) as receiver:
        first = receiver.send(payload("evt_1"), sign_plainly).status_code
        receiver.work()
        with held_writer(receiver):
            busy = receiver.send(payload("evt_2"), sign_plainly)
            assert (busy.status_code, busy.headers.get("Retry-After")) == (503, "1")
            assert receiver.send(payload("evt_1"), sign_plainly).status_code == first
            assert receiver.send(payload("evt_2"), sign_plainly, secret=OTHER_SECRET).status_code == 400
        assert receiver.send(payload("evt_2"), sign_plainly).status_code == first
        receiver.work()
        assert (receiver.effects, receiver.states) == (["evt_1", "evt_2"], ["done", "done"])


@SQLITE_ONLY
def test_a_sender_that_does_not_wait(tmp_path: Path) -> None:
    """A sender without a timeout waits for no writer at all."""
    ran: list[object] = []
    with receiving(tmp_path) as receiver, ThreadPoolExecutor(1) as pool, held_writer(receiver):
        waiting = pool.submit(receiver.backend.engine.write, ran.append, timeout=0)
        with pytest.raises(OverloadedError):
            waiting.result(timeout=30)
    assert ran == []


def sign_plainly(secret: str, body: bytes, at: int) -> dict[str, str]:
    """Return an HMAC of the body."""
    return {"X-Signature": hmac.new(secret.encode(), body, "sha256").hexdigest()}


@contextmanager
def out_of_space(folder: Path, error: Exception) -> Iterator[Receiver]:
    """Yield a webhook whose handler fails while the disk is full."""
    short = folder / "short"
    short.write_bytes(b"x")
    with ExitStack() as stack:

        def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
            stack.enter_context(no_longer_files(short))
            raise error

        with receiving(folder, handler, is_kept=True) as receiver:
            yield receiver
            stack.close()


@SQLITE_ONLY
def test_a_failure_that_cannot_be_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a failed attempt cannot be recorded, the sender and the log still get the failure."""
    with out_of_space(tmp_path, ValueError("x")) as receiver:
        assert receiver.deliver().status_code == 500
        assert receiver.deliveries == []
    assert "the failed delivery evt_1 was not recorded" in caplog.text


@SQLITE_ONLY
def test_a_dead_letter_that_cannot_be_recorded(tmp_path: Path) -> None:
    """A dead delivery that cannot be recorded does not stop the sender."""
    with out_of_space(tmp_path, DeadLetterError("no")) as receiver:
        response = receiver.deliver()
        assert (response.status_code, response.headers.get("Retry-After")) == (503, "10")
        assert receiver.deliveries == []


# --- the log ---------------------------------------------------------------------------------------------------------


def test_what_the_log_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the source, the id, the error and the request of a failed attempt."""
    with receiving(tmp_path, failing(Boom("no lamp")), source="shop") as receiver:
        request_id = receiver.deliver().headers["X-Request-Id"]
    [warning] = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert re.match(r"Webhook shop: \w+ delivery evt_1 \(.*\) failed: .*no lamp", warning)
    assert warning.endswith(f"[request {request_id}]")


def test_a_dead_delivery_is_one_line_at_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A delivery that its handler dead-letters is one line at ERROR, although the sender gets a success."""
    caplog.set_level(logging.INFO, logger="flask_convex_http.webhooks")
    with receiving(tmp_path, failing(DeadLetterError("no lamp")), source="shop") as receiver:
        assert receiver.deliver().status_code == 200
    [record] = [entry for entry in caplog.records if entry.name == "flask_convex_http.webhooks"]
    assert (record.levelname, "delivery evt_1 (" in record.getMessage()) == ("ERROR", True)
    assert "is dead: no lamp" in record.getMessage()
