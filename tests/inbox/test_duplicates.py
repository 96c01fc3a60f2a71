"""A delivery has its effects once: simultaneous and later duplicates, under any id, get its response."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Response

from flask_convex_http import GitHub, MutationCtx, WebhookEvent, json_response
from tests.databases import EACH_ENGINE
from tests.inbox.receiving import Boom, Effect, Receiver, receiving, record
from tests.webhooks.senders import BODY, SECRET, sign_github

pytestmark = EACH_ENGINE


def _custom(ctx: MutationCtx, event: WebhookEvent) -> Response:
    record(ctx, event)
    response = json_response({"run": len(ctx.db.query(Effect).collect())}, 201, {"X-Run": "1"})
    response.headers.add("Set-Cookie", "a=1")
    response.headers.add("Set-Cookie", "b=2")
    return response


def _bytes(ctx: MutationCtx, event: WebhookEvent) -> Response:
    record(ctx, event)
    return Response(iter([b"\x00\xff", b"rest"]), 203, content_type="application/x-lamp")


def _redirect(ctx: MutationCtx, event: WebhookEvent) -> tuple[str, int, dict[str, str]]:
    record(ctx, event)
    return "", 303, {"Location": "/elsewhere"}


def _answered(response: Any) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return the parts of a response that a sender sees, without the request id."""
    headers = [(name, value) for name, value in response.headers if name != "X-Request-Id"]
    return response.status_code, response.data, headers


@pytest.mark.parametrize(
    ("handler", "status", "body"),
    [(record, 200, b"OK"), (_custom, 201, b'{"run":1}'), (_bytes, 203, b"\x00\xffrest"), (_redirect, 303, b"")],
    ids=["nothing", "json", "stream", "redirect"],
)
def test_a_duplicate_gets_the_same_response(handler: Any, status: int, body: bytes, tmp_path: Path) -> None:
    """A duplicate gets the status, headers and body of the first response, and runs nothing."""
    with receiving(tmp_path, handler) as receiver:
        first, *copies = [receiver.deliver() for _ in range(4)]
        assert (first.status_code, first.data) == (status, body)
        assert [_answered(copy) for copy in copies] == [_answered(first)] * 3
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])


def test_a_duplicate_has_its_own_request_id(tmp_path: Path) -> None:
    """The row has the id of the request that delivered it; a duplicate's response has its own, and changes no row."""
    with receiving(tmp_path) as receiver:
        first = receiver.deliver()
        before = receiver.delivery
        second = receiver.deliver()
        assert before.request_id == first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
        assert receiver.delivery == before


def test_what_the_inbox_has(tmp_path: Path) -> None:
    """The row of a delivery has its source, its content, the label of its secret, and one attempt."""
    with receiving(tmp_path) as receiver:
        receiver.deliver(customer="cus_1")
        delivery = receiver.delivery
        [attempt] = delivery.attempts
        assert (delivery.source, delivery.event_id, delivery.type) == ("/hook", "evt_1", "order.paid")
        assert (delivery.provider, delivery.secret_label, delivery.answer) == ("stripe", "secret 1", None)
        assert (attempt.by, attempt.outcome, attempt.error) == ("sender", "success", None)
        assert delivery.received <= attempt.started <= attempt.ended
        assert [delivery.size] == [len(body) for body in receiver.bodies]


def test_a_duplicate_with_a_fresh_signature(tmp_path: Path) -> None:
    """A retry with a fresh signature, perhaps with another body for the same id, is a duplicate."""
    with receiving(tmp_path) as receiver:
        assert receiver.deliver(total=1).status_code == 200
        assert receiver.deliver(total=2).status_code == 200
        assert receiver.deliver("evt_2").status_code == 200
        assert receiver.effects == ["evt_1", "evt_2"]


def test_a_duplicate_after_a_restart(tmp_path: Path) -> None:
    """The next process on the same file repeats the response."""
    with receiving(tmp_path, _custom, is_kept=True) as receiver:
        first = _answered(receiver.deliver())
    with receiving(tmp_path, _custom, is_kept=True) as receiver:
        assert _answered(receiver.deliver()) == first
        assert receiver.effects == ["evt_1"]


def test_duplicates_at_the_same_moment(tmp_path: Path) -> None:
    """Of two simultaneous duplicates one runs its handler; the other waits and gets the same response."""
    inside, others_may_come = threading.Event(), threading.Event()

    def handler(ctx: MutationCtx, event: WebhookEvent) -> str:
        inside.set()
        assert others_may_come.wait(10)
        record(ctx, event)
        return f"run {len(ctx.db.query(Effect).collect())}"

    answers: list[str] = []
    with receiving(tmp_path, handler, is_kept=True) as receiver:
        threads = [threading.Thread(target=lambda: answers.append(receiver.deliver().text)) for _ in range(4)]
        threads[0].start()
        assert inside.wait(10)
        for thread in threads[1:]:
            thread.start()
        assert answers == []
        others_may_come.set()
        for thread in threads:
            thread.join()
        assert (answers, receiver.effects) == (["run 1"] * 4, ["evt_1"])


def test_duplicates_at_the_same_moment_of_one_that_fails(tmp_path: Path) -> None:
    """If the first of several duplicates fails, exactly one of the others has its effects committed.

    The sender of the failed one gets the failure, or the response of a faster duplicate.
    """
    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        if fails:
            fails.pop()
            raise Boom

    with receiving(tmp_path, handler, is_kept=True) as receiver:
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(receiver.deliver().status_code)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses)[:3] == [200, 200, 200] and max(statuses) in (200, 500)
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])


# --- a sender that does not sign its ids -----------------------------------------------------------------------------


def _from_github(receiver: Receiver, delivery_id: str, body: bytes = BODY) -> int:
    return receiver.send(body, sign_github, X_GitHub_Delivery=delivery_id).status_code


def _github(**options: Any) -> GitHub:
    return GitHub(secret=SECRET, **options)


def test_a_replay_under_a_fresh_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """GitHub does not sign its ids: a known body under a fresh id is a duplicate.

    The log mentions it below WARNING, since anyone who has seen a delivery can send many.
    """
    caplog.set_level(logging.INFO, logger="flask_convex_http")
    with receiving(tmp_path, provider=_github()) as receiver:
        assert _from_github(receiver, "d-1") == 200
        assert [_from_github(receiver, f"fresh-{number}") for number in range(3)] == [200] * 3
        assert (receiver.effects, len(receiver.deliveries)) == (["d-1"], 1)
    copies = [entry for entry in caplog.records if "copy of d-1" in entry.getMessage()]
    assert [entry.levelno for entry in copies] == [logging.INFO] * 3
    assert "fresh-0" in copies[0].getMessage()


def test_a_replay_of_what_has_failed(tmp_path: Path) -> None:
    """A failed delivery under a fresh id is the same delivery: it runs once more, and only once."""
    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        if fails:
            fails.pop()
            raise Boom

    with receiving(tmp_path, handler, _github()) as receiver:
        assert [_from_github(receiver, f"d-{number}") for number in range(4)] == [500, 200, 200, 200]
        assert (receiver.delivery.event_id, receiver.states, receiver.effects) == ("d-0", ["done"], ["d-1"])


def test_other_content_under_an_id_that_was_there(tmp_path: Path) -> None:
    """Another body under the id of a done delivery runs nothing; the same body under its own id runs."""
    other = BODY.replace(b"evt_1", b"evt_2")
    with receiving(tmp_path, provider=_github()) as receiver:
        assert [_from_github(receiver, "d-1"), _from_github(receiver, "d-1", other)] == [200, 200]
        assert receiver.effects == ["d-1"]
        assert _from_github(receiver, "d-2", other) == 200
        assert receiver.effects == ["d-1", "d-2"]


def test_other_content_under_an_id_that_has_failed(tmp_path: Path) -> None:
    """Another body under the id of a failed delivery is rejected, and then each runs once under its own id."""
    other = BODY.replace(b"evt_1", b"evt_2")
    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        if fails:
            fails.pop()
            raise Boom
        ctx.db.insert(Effect(event=event.payload["id"]))

    with receiving(tmp_path, handler, _github()) as receiver:
        assert [_from_github(receiver, "d-1"), _from_github(receiver, "d-1", other)] == [500, 409]
        assert receiver.effects == []
        assert [_from_github(receiver, "d-2", other), _from_github(receiver, "d-1")] == [200, 200]
        assert (receiver.effects, receiver.states) == (["evt_2", "evt_1"], ["done", "done"])


def test_who_trusts_the_id(tmp_path: Path) -> None:
    """With unsafe_trust_delivery_id only the id identifies a delivery."""
    with receiving(tmp_path, provider=_github(unsafe_trust_delivery_id=True)) as receiver:
        assert [_from_github(receiver, name) for name in ("d-1", "d-2", "d-1")] == [200] * 3
        assert receiver.effects == ["d-1", "d-2"]
