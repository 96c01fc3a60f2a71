"""`flask convex dashboard`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http.dashboard.access import Access
from tests.cli.outcomes import Convex
from tests.dashboard.shop import backend_of, opened
from tests.dashboard.visitors import Visitor, text_of


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    """Yield an app with a dashboard."""
    with opened(tmp_path, is_kept=True) as app:
        yield app


def run(app: Flask, *arguments: str) -> tuple[int, str, str]:
    """Run the command, and return its exit status, stdout and stderr."""
    result = app.test_cli_runner().invoke(args=["convex", "dashboard", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_link(app: Flask) -> None:
    """The link alone is on stdout, and logs in once."""
    status, link, note = run(app, "--url", "https://shop.example/", "--name", "anna")
    place, _, code = link.strip().partition("#")
    assert (status, place) == (0, "https://shop.example/_convex/login") and "once" in note
    visitor = Visitor(app, None)
    assert visitor.log_in(code).status_code == 303
    assert "a one-time link (anna)" in text_of(visitor.get("/"))


def test_place_of_the_app(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --url the link begins with the app's URL in the settings, or with that of flask run."""
    assert run(app)[1].startswith("http://127.0.0.1:5000/_convex/login#dashboard_")
    monkeypatch.setenv("FLASK_RUN_HOST", "::")
    monkeypatch.setenv("FLASK_RUN_PORT", "5052")
    assert run(app)[1].startswith("http://[::1]:5052/_convex/login#dashboard_")
    assert run(app, "--url", "shop.example")[0] == 2


def test_end_of_sessions(app: Flask) -> None:
    """--end-sessions logs everybody out."""
    visitor = Visitor(app)
    Access(backend_of(app)).create_link("full")
    assert run(app, "--end-sessions")[2] == "Ended 2 sessions and unused links.\n"
    assert visitor.get("/").status_code == 303
    assert run(app, "--end-sessions", "--json")[1] == '{"ended":0}\n'


def test_without_dashboard(convex: Convex) -> None:
    """An app without a dashboard gets no link, but the line that turns it on."""
    result = convex("dashboard")
    assert result.status == 1 and "dashboard=True" in result.err
