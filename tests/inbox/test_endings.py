"""Handlers that end with neither a response nor an error: no sender treats them as a success."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Response, abort, redirect
from werkzeug.routing import RequestRedirect

from flask_convex_http import MutationCtx, WebhookEvent
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Handler, receiving, record

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def once(end: Callable[[], Any]) -> Handler:
    """Return a handler that ends this way in its first run, after a write."""
    left = [end]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> Any:
        record(ctx, event)
        return left.pop()() if left else None

    return handler


def _redirected() -> None:
    raise RequestRedirect("/elsewhere")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda: abort(Response("OK", 200)), 200),
        (lambda: abort(Response(status=204)), 204),
        (lambda: abort(redirect("/elsewhere")), 302),
        (_redirected, 308),
    ],
    ids=["200", "204", "redirect", "raised redirect"],
)
def test_a_success_that_is_raised(end: Callable[[], Any], status: int, tmp_path: Path) -> None:
    """abort() with a success status is a failure, since exceptions roll back, and the error names the fix."""
    with receiving(tmp_path, once(end)) as receiver:
        assert receiver.deliver().status_code == 500
        assert (receiver.effects, receiver.states) == ([], ["failed"])
        assert f"abort() was given an answer of {status}, which is no error: return it" in str(receiver.delivery.error)
        assert [receiver.deliver().status_code for _ in range(2)] == [200, 200]
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])


@pytest.mark.parametrize("status", [100, 101, 199])
def test_a_response_that_ends_nothing(status: int, tmp_path: Path) -> None:
    """A client keeps waiting after a status of 1xx, so it is a failure and nothing is committed."""
    with receiving(tmp_path, once(lambda: Response("x", status))) as receiver:
        assert receiver.deliver().status_code == 500
        assert (receiver.effects, receiver.states) == ([], ["failed"])
        assert f"answered {status}" in str(receiver.delivery.error)
        assert receiver.deliver().status_code == 200
        assert (receiver.effects, receiver.states) == (["evt_1"], ["done"])


@pytest.mark.parametrize("argument", [None, 0, 3, "no lamp"], ids=repr)
def test_a_handler_that_wants_the_process_to_end(argument: Any, tmp_path: Path) -> None:
    """sys.exit() fails the handler like an error and is recorded; the process continues."""
    with receiving(tmp_path, once(lambda: sys.exit(argument)), is_kept=True) as receiver:
        assert receiver.deliver().status_code == 500
        assert (receiver.effects, receiver.states) == ([], ["failed"])
        [attempt] = receiver.delivery.attempts
        assert (attempt.by, attempt.outcome) == ("sender", "failed")
        assert "SystemExit" in str(attempt.error)
        assert [receiver.deliver(name).status_code for name in ("evt_2", "evt_1")] == [200, 200]
        assert (receiver.effects, receiver.states) == (["evt_2", "evt_1"], ["done", "done"])
