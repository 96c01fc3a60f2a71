"""What the tests of the command line share: an app in a folder of its own, and a way to command it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.outcomes import Convex as Convex
from tests.cli.outcomes import Outcome as Outcome
from tests.cli.shop import make_app
from tests.orders import SECRET, VARIABLE, Shop, shop


@pytest.fixture
def unmigrated(tmp_path: Path) -> Iterator[Convex]:
    """`flask convex ...` of an app whose database is not there yet."""
    app = make_app(str(tmp_path))

    def convex(*arguments: str, stdin: str = "") -> Outcome:
        result = app.test_cli_runner().invoke(args=["convex", *arguments], input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    yield convex
    app.extensions["convex_http"].close()


@pytest.fixture
def convex(unmigrated: Convex) -> Convex:
    """`flask convex ...` of an app whose database is ready."""
    assert unmigrated("migrate").status == 0
    return unmigrated


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop whose command line is used."""
    monkeypatch.setenv(VARIABLE, SECRET)
    with shop(tmp_path) as made:
        yield made
