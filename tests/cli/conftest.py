"""Fixtures of the command line: an app in a folder of its own, and a function that runs its commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.outcomes import Convex as Convex
from tests.cli.outcomes import Outcome as Outcome
from tests.cli.shop import make_app
from tests.orders import SECRET, VARIABLE, Shop, shop


@pytest.fixture
def unmigrated(tmp_path: Path) -> Iterator[Convex]:
    """Runs `flask convex ...` of an app without a database."""
    app = make_app(str(tmp_path))

    def convex(*arguments: str, stdin: str = "") -> Outcome:
        result = app.test_cli_runner().invoke(args=["convex", *arguments], input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    yield convex
    app.extensions["convex_http"].close()


@pytest.fixture
def convex(unmigrated: Convex) -> Convex:
    """Runs `flask convex ...` of an app with a migrated database."""
    assert unmigrated("migrate").status == 0
    return unmigrated


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop of webhooks whose command line is used."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as created:
        yield created
