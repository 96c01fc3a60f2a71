"""What the tests of the command line share: an app in a folder of its own, and a way to command it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shop import make_app


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str
    exception: BaseException | None

    @property
    def json(self) -> Any:
        """What a program reads."""
        return json.loads(self.out)


Convex = Callable[..., Outcome]


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
