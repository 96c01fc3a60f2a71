"""Requests in groups: each is collected once, with any method and status, and from any thread."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request, Response

from flask_convex_http import ActionCtx, HttpRouter, Schema
from flask_convex_http.telemetry import Event, RequestFinished, RequestGroup, RequestScope, Telemetry
from tests.web.apps import backend_of, deployed


class _Groups:
    """Keeps the groups that it takes, and counts how often it is woken."""

    def __init__(self) -> None:
        self.taken: list[RequestGroup] = []
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def take(self, groups: Sequence[RequestGroup]) -> None:
        self.taken += groups


@contextmanager
def _grouped(folder: Path) -> Iterator[tuple[Flask, list[Event], _Groups]]:
    """Yield an app, its events and its groups."""
    events: list[Event] = []
    groups = _Groups()
    with deployed(folder, _router(), schema=Schema()) as app:
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
        app.add_url_rule("/status/<line>", "status", lambda line: Response(status=line))
        backend_of(app).telemetry.subscribe(events.append, groups=groups)
        yield app, events, groups


def _router() -> HttpRouter:
    http = HttpRouter("http", __name__)

    @http.get("/broken")
    def broken(ctx: ActionCtx, request: Request) -> None:
        raise ZeroDivisionError

    return http


def test_requests_of_one_kind_are_one_group(tmp_path: Path) -> None:
    """Requests with the same method, route and status are one group, with the id and the duration of each."""
    with _grouped(tmp_path) as (app, events, groups):
        client = app.test_client()
        for number in range(3):
            client.get("/status/201", headers={"X-Request-Id": f"id-{number}"})
        client.get("/status/404")
        client.get("/nothing")
        assert groups.woken == 1, "one request wakes the subscriber until somebody collects"
        backend_of(app).telemetry.collect()
        assert {(group.method, group.route, group.status): len(group.timings) for group in groups.taken} == {
            ("GET", "/status/<line>", 201): 3,
            ("GET", "/status/<line>", 404): 1,
            ("GET", None, 404): 1,
        }
        assert [request_id for _, _, request_id in groups.taken[0].timings] == ["id-0", "id-1", "id-2"]
        assert all(0 < seconds < 60 for _, seconds, _ in groups.taken[0].timings)
        assert events == []
        client.get("/status/201")
        assert groups.woken == 2


def test_a_request_that_failed_is_an_event(tmp_path: Path) -> None:
    """A request whose response stands for an exception is an event with this exception, and in no group."""
    with _grouped(tmp_path) as (app, events, groups):
        assert app.test_client().get("/broken").status_code == 500
        backend_of(app).telemetry.collect()
        assert [(type(event), type(getattr(event, "error", None))) for event in events] == [
            (RequestFinished, ZeroDivisionError)
        ]
        assert groups.taken == []


def test_a_subscriber_without_groups_gets_each_request(tmp_path: Path) -> None:
    """As soon as one subscriber takes no groups, each request is an event for all, and those before are collected."""
    with _grouped(tmp_path) as (app, events, groups):
        app.test_client().get("/status/200")
        others: list[Event] = []
        backend_of(app).telemetry.subscribe(others.append)
        assert len(groups.taken) == 1
        app.test_client().get("/status/200")
        assert len(events) == len(others) == 1
        backend_of(app).telemetry.collect()
        assert len(groups.taken) == 1


@pytest.mark.parametrize("line", ["99999 Many", "²²² Squares", "none at all", "0"])
def test_a_status_that_is_no_number_breaks_nothing(tmp_path: Path, line: str) -> None:
    """The requests of a view are collected with any status line."""
    with _grouped(tmp_path) as (app, _, groups):
        telemetry = backend_of(app).telemetry
        scope = telemetry.enter_request("GET", "one", {})
        scope.status = line
        assert telemetry.groups is not None
        telemetry.groups.add(scope, telemetry.leave(scope))
        telemetry.collect()
        [group] = groups.taken
        assert group.status in (0, 999)


def test_methods_of_a_client_make_no_groups(tmp_path: Path) -> None:
    """Methods that HTTP does not define are one group, so a client cannot make their number grow."""
    with _grouped(tmp_path) as (app, _, groups):
        for number in range(20):
            app.test_client().open("/status/200", method=f"BREW{number}")
        backend_of(app).telemetry.collect()
        assert [(group.method, len(group.timings)) for group in groups.taken] == [("_OTHER", 20)]


def test_a_subscriber_that_fails_breaks_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a subscriber that is woken is logged once, and the requests have their responses."""

    class Failing(_Groups):
        def wake(self) -> None:
            raise RuntimeError("woken")

    with _grouped(tmp_path) as (app, _, groups):
        backend_of(app).telemetry.subscribe(lambda event: None, groups=Failing())
        for _ in range(2):
            assert app.test_client().get("/status/200").status_code == 200
            backend_of(app).telemetry.collect()
        assert sum(len(group.timings) for group in groups.taken) == 2
        assert caplog.text.count("RuntimeError: woken") == 1


def test_no_request_is_lost_between_threads() -> None:
    """Requests that threads add while others are collected are all collected once."""
    telemetry, groups = Telemetry(), _Groups()
    telemetry.subscribe(lambda event: None, groups=groups)

    def add(thread: int) -> None:
        for number in range(3000):
            scope = RequestScope(telemetry, "request", "GET", None, f"{thread}-{number}", 0.0, 0.0)
            scope.status = ("200 OK", "201 CREATED")[number % 2]
            assert telemetry.groups is not None
            telemetry.groups.add(scope, 0.5)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    is_over = False
    while not is_over:
        is_over = not any(thread.is_alive() for thread in threads)
        telemetry.collect()
    found: Counter[Any] = Counter(timing[2] for group in groups.taken for timing in group.timings)
    assert len(found) == 12_000
    assert set(found.values()) == {1}
