"""Programs that tests need and that no package of Python brings."""

import os
import shutil
from typing import NoReturn

import pytest


def tool(program: str, package: str) -> str:
    """Return the path of a program; without it skip the test, or fail it where everything must be tested.

    Args:
        program: The program.
        package: The packages of Debian that have it.
    """
    return shutil.which(program) or missing(f"{program} is needed: apt-get install {package}")


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where everything must be tested."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
