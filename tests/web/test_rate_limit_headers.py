"""The headers of rate limits: RateLimit-Policy, RateLimit and what CORS says of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http import Cors, HttpRouter, rate_limit
from flask_convex_http.testing import Clock
from flask_convex_http.web.guards.rate_limit_headers import _string
from tests.idempotency.shop import app_of, handler, post, router
from tests.web.apps import deployed, send
from tests.web.limits import limited_app, new_handler


def test_accepted_and_rejected_responses_have_the_headers(tmp_path: Path) -> None:
    """Each response says how many calls are left, and a rejected one when the next is allowed."""
    clock = Clock()
    with limited_app(tmp_path, clock, rate=2) as app:
        seen = [send(app, "GET", "/x").headers for _ in range(3)]
        assert {headers["RateLimit-Policy"] for headers in seen} == {'"default";q=2;w=60'}
        assert [headers["RateLimit"].removeprefix('"default";') for headers in seen] == [
            "r=1;t=30",
            "r=0;t=60",
            "r=0;t=30",
        ]
        assert seen[2]["Retry-After"] == "30"


def test_several_limits_are_listed(tmp_path: Path) -> None:
    """Several limits have one item each, with the names that the application gave them."""
    http = HttpRouter("http", __name__)
    hourly = rate_limit(rate=10, period=timedelta(hours=1), capacity=3, name='per "hour" é')
    http.get("/x")(rate_limit(rate=5, period=1)(hourly(new_handler())))
    with deployed(tmp_path, http, clock=Clock()) as app:
        headers = send(app, "GET", "/x").headers
        assert headers["RateLimit-Policy"] == '"default";q=5;w=1, "per \\"hour\\" \\\\xe9";q=3;w=1080'
        assert headers["RateLimit"] == '"default";r=4;t=1, "per \\"hour\\" \\\\xe9";r=2;t=360'


def test_route_without_a_limit_has_no_headers(tmp_path: Path) -> None:
    """A request that no limit applies to has none of the headers."""
    http = HttpRouter("http", __name__)
    http.get("/x")(rate_limit(rate=5, period=1, key=lambda request: None)(lambda ctx, request: {}))
    with deployed(tmp_path, http) as app:
        assert not [name for name, _ in send(app, "GET", "/x").headers if name.startswith("RateLimit")]


@given(st.text())
def test_names_are_strings_of_structured_fields(text: str) -> None:
    """Any name becomes a string of printable ASCII whose quotation marks are escaped."""
    made = _string(text)
    assert made.isascii()
    assert '"' not in made[1:-1].replace("\\\\", "").replace('\\"', "")


@pytest.mark.parametrize(
    ("policy", "allowed"), [("*", "idempotency-key, x-other"), (Cors(allow_headers=["X-A"]), "Idempotency-Key")]
)
def test_cors_allows_and_exposes_the_headers(tmp_path: Path, policy: Any, allowed: str) -> None:
    """With cors= a script of another origin may send Idempotency-Key, and read what the route adds to responses."""
    run = rate_limit(rate=5, period=1)(handler())
    with app_of(tmp_path, router(run, cors=policy)) as app:
        preflight = app.test_client().options(
            "/orders",
            headers={
                "Origin": "https://a.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "idempotency-key" + (", x-other" if policy == "*" else ""),
            },
        )
        assert allowed.lower() in preflight.headers["Access-Control-Allow-Headers"].lower()
        exposed = post(app, Origin="https://a.example").headers["Access-Control-Expose-Headers"]
        names = {"Idempotency-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After"}
        assert {name.strip() for name in exposed.split(",")} == names
