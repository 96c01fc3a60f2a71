"""mypy and pyright report the wrong lines of `user_code`, and no others."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.child_processes import ROOT
from tests.lengths import LONG

USER_CODE = Path(__file__).with_name("user_code")
#: The name of a file and the number of a line.
Place = tuple[str, int]
#: Messages by place.
Found = dict[Place, list[str]]


def expected(checker: str) -> dict[Place, str]:
    """Return the expected message of a checker by place, which follows its name or `E:`."""
    marks: dict[Place, str] = {}
    for path in USER_CODE.glob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            for name, text in re.findall(r"# (E|mypy|pyright): (.*?)(?= # |$)", line):
                if name in ("E", checker):
                    marks[path.name, number] = text
    return marks


def compare(checker: str, found: Found) -> None:
    """Check that every marked line has its message, and that no other line has one."""
    marks = expected(checker)
    problems = [f"{place}: not found: {text}" for place, text in marks.items() if place not in found]
    for place, messages in found.items():
        if marks.get(place) is None:
            problems.append(f"{place}: not expected: {messages}")
        elif not any(marks[place] in message for message in messages):
            problems.append(f"{place}: got {messages} instead of: {marks[place]}")
    assert not problems, "\n".join(sorted(problems))


@pytest.fixture
def user_code(tmp_path: Path) -> Path:
    """Return a copy of the code without the comments that exclude it from type checks."""
    folder = tmp_path / "user_code"
    folder.mkdir()
    for path in USER_CODE.glob("*.py"):
        first, rest = path.read_text().split("\n", 1)
        assert path.name == "__init__.py" or first.startswith("# type: ignore")
        (folder / path.name).write_text("\n" + rest if path.name != "__init__.py" else "")
    return folder


@LONG
def test_mypy(user_code: Path) -> None:
    """`mypy --strict` reports each wrong line and no right one."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--no-pretty"]
    command += ["--follow-imports=silent", f"--cache-dir={user_code.parent / 'cache'}", user_code.name]
    output = _run(command, user_code.parent, MYPYPATH=str(ROOT))
    found: Found = {}
    for name, number, message in re.findall(r"^user_code/(\w+\.py):(\d+): error: (.*)$", output, re.MULTILINE):
        found.setdefault((name, int(number)), []).append(message)
    assert found, output
    compare("mypy", found)


def test_pyright(user_code: Path) -> None:
    """`pyright` reports each wrong line and no right one."""
    settings = {"extraPaths": [str(ROOT)], "pythonVersion": "3.11", "typeCheckingMode": "standard"}
    (user_code.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(user_code)]
    output = _run(command, user_code.parent, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    if not output.lstrip().startswith("{"):
        pytest.skip(f"pyright does not run here, it may lack Node.js: {output[-300:]}")
    found: Found = {}
    for diagnostic in json.loads(output)["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            place = Path(diagnostic["file"]).name, diagnostic["range"]["start"]["line"] + 1
            found.setdefault(place, []).append(diagnostic["message"])
    compare("pyright", found)


def _run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=250
    )
    return done.stdout or done.stderr
