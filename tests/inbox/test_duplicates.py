"""A delivery has its effects once: simultaneous and later duplicates, under any id, get its response."""

import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Response

from flask_convex_http import GitHub, HmacSignature, HttpRouter, MutationCtx, Stripe, WebhookEvent, json_response
from flask_convex_http.errors import RegistrationError
from flask_convex_http.testing import Clock
from flask_convex_http.webhooks import Provider
from tests.databases import EACH_ENGINE
from tests.inbox.receiving import Boom, Effect, Receiver, Sign, numbered, payload, receiving, record
from tests.inbox.test_failures import failing
from tests.webhooks.senders import BODY, SECRET, sign_github, sign_hmac, sign_stripe

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
        assert others_may_come.wait(30)
        record(ctx, event)
        return f"run {len(ctx.db.query(Effect).collect())}"

    answers: list[str] = []
    with receiving(tmp_path, handler, is_kept=True) as receiver:
        threads = [threading.Thread(target=lambda: answers.append(receiver.deliver().text)) for _ in range(4)]
        threads[0].start()
        assert inside.wait(30)
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


def _github() -> GitHub:
    return GitHub(secret=SECRET)


def test_real_events_with_one_content(tmp_path: Path) -> None:
    """Events with equal bodies and ids of their own run each, and a duplicate of any of them runs nothing."""
    added, removed = b'{"action": "added", "member": 1}', b'{"action": "removed", "member": 1}'
    with receiving(tmp_path, provider=_github()) as receiver:
        for delivery_id, body in (("d-1", added), ("d-2", removed), ("d-3", added), ("d-1", added), ("d-3", added)):
            assert _from_github(receiver, delivery_id, body) == 200
        assert receiver.effects == ["d-1", "d-2", "d-3"]


def test_real_events_of_any_sender_without_a_signed_id(tmp_path: Path) -> None:
    """HmacSignature takes an id that is not signed, so that a real event with a known body runs."""
    provider = HmacSignature(
        secret=SECRET,
        header="X-Signature",
        prefix="v0=",
        timestamp_header="X-Timestamp",
        signed="v0:{timestamp}:{body}",
        unsigned_id_header="X-Delivery",
    )
    with receiving(tmp_path, provider=provider) as receiver:
        for delivery_id in ("d-1", "d-2", "d-1"):
            assert receiver.send(BODY, sign_hmac, X_Delivery=delivery_id).status_code == 200
        assert receiver.effects == ["d-1", "d-2"]


@pytest.mark.parametrize("days", [30, 0])
def test_other_content_under_the_id_of_a_failed_delivery(days: int, tmp_path: Path) -> None:
    """A failed delivery whose id is not signed cannot be ended by another content, whether its body is kept or not."""
    other = BODY.replace(b"evt_1", b"evt_22")
    handler = failing(Boom(), None)
    with receiving(tmp_path, handler, _github(), keep_bodies=timedelta(days=days)) as receiver:
        assert [_from_github(receiver, "d-1"), _from_github(receiver, "d-1", other)] == [500, 409]
        assert [_from_github(receiver, "d-1"), _from_github(receiver, "d-1")] == [200, 200]
        assert receiver.effects == ["d-1"]


SHARED: dict[str, tuple[Provider, Sign, str]] = {
    "stripe": (Stripe(secret=SECRET), sign_stripe, "evt_00000000000000"),
    "uuid": (numbered(), sign_hmac, "00000000-0000-0000-0000-000000000000"),
    "replaced": (numbered(), sign_hmac, "evt_\ud83d"),
    "unseparated": (numbered(), sign_hmac, "Ev0000000000"),
}


@pytest.mark.parametrize("name", SHARED)
def test_events_that_share_an_id(name: str, tmp_path: Path) -> None:
    """Test events, which all have one id, run once for each type and body, and their handlers see that id."""
    provider, sign, event_id = SHARED[name]
    bodies = [payload(event_id, kind, total=total) for kind, total in (("a", 1), ("b", 1), ("b", 2))]
    with receiving(tmp_path, provider=provider) as receiver:
        assert {receiver.send(body, sign).status_code for body in bodies * 2} == {200}
        assert receiver.effects == [event_id.replace("\ud83d", "\ufffd")] * 3


def test_an_id_that_only_looks_like_a_test_id(tmp_path: Path) -> None:
    """A retry with another body is a duplicate, even if its id has many zeros."""
    with receiving(tmp_path) as receiver:
        for total in (1, 2):
            receiver.deliver("evt_00000000000001", total=total)
        assert receiver.effects == ["evt_00000000000001"]


# --- dedupe="content" ------------------------------------------------------------------------------------------------


def test_a_replay_under_a_fresh_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With dedupe="content" a known body under a fresh id is a duplicate.

    The log mentions it below WARNING, since anyone who has seen a delivery can send many.
    """
    caplog.set_level(logging.INFO, logger="flask_convex_http")
    with receiving(tmp_path, provider=_github(), dedupe="content") as receiver:
        assert _from_github(receiver, "d-1") == 200
        assert [_from_github(receiver, f"fresh-{number}") for number in range(3)] == [200] * 3
        assert (receiver.effects, len(receiver.deliveries)) == (["d-1"], 1)
    copies = [entry for entry in caplog.records if "copy of d-1" in entry.getMessage()]
    assert [entry.levelno for entry in copies] == [logging.INFO] * 3
    assert "fresh-0" in copies[0].getMessage()


def test_a_replay_of_what_has_failed(tmp_path: Path) -> None:
    """With dedupe="content" a failed delivery under a fresh id is the same delivery: it runs once more, and once."""
    fails = [True]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        record(ctx, event)
        if fails:
            fails.pop()
            raise Boom

    with receiving(tmp_path, handler, _github(), dedupe="content") as receiver:
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


def test_content_decides_within_its_window(tmp_path: Path) -> None:
    """A content is a duplicate within dedupe_window= of its first delivery; later it is new and starts a new window."""
    clock, hour = Clock(), timedelta(hours=1)
    options: dict[str, Any] = {"dedupe": "content", "dedupe_window": hour}
    with receiving(tmp_path, provider=_github(), clock=clock, **options) as receiver:
        for delivery_id in ("d-1", "d-2", "d-3", "d-4"):
            assert _from_github(receiver, delivery_id) == 200
            clock.advance(hour * 0.6)
        assert receiver.effects == ["d-1", "d-3"]
        assert _from_github(receiver, "d-1") == 200
        assert receiver.effects == ["d-1", "d-3"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dedupe": "body"}, 'must be "id" or "content"'),
        ({"dedupe_window": timedelta(hours=1)}, 'needs dedupe="content"'),
        ({"dedupe": "content", "dedupe_window": timedelta(0)}, "more than 0"),
        ({"dedupe": "content", "dedupe_window": 3600}, "must be a timedelta"),
        ({"dedupe": "content", "dedupe_window": timedelta(days=500)}, "is longer than keep_ids"),
    ],
)
def test_dedupe_that_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    """A wrong option fails when the webhook is registered, with words that name it."""
    with pytest.raises(RegistrationError, match=words):
        HttpRouter("http", __name__).webhook("/hook", _github(), **options)(record)
