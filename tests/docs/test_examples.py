"""The README's examples run: its files as files, its requests as requests."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.docs.readme import ROOT, blocks, files, prose, sections
from tests.docs.shell import occurs

RUN = ("A first app", "Ten-minute tour", "Webhooks", "Deployment")
#: The sections with an app and its tests, and the app's module.
APPS = [("Ten-minute tour", "shop"), ("Webhooks", "hooks")]


def write(section: str, folder: Path) -> list[str]:
    """Put the files of a section into a folder."""
    found = files(section)
    for name, code in found.items():
        (folder / name).write_text(code, encoding="utf-8")
    return list(found)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m ...` in a folder, with the checkout's package and no settings from outside."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "PYTEST_"))}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-W", "error", "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def shell_lines(section: str) -> Iterator[str]:
    """The lines of a section's shell blocks."""
    for block in blocks(sections()[section]):
        if block.language == "sh":
            yield from block.code.splitlines()


def send(app: Flask, line: str) -> None:
    """Do what a line with curl does, and compare with what its comment says."""
    command, _, expected = line.partition(" # ")
    words = shlex.split(command)
    body = words[words.index("--json") + 1] if "--json" in words else None
    client = app.test_client()
    path = "/" + words[-1].partition("/")[2]
    answer = client.get(path) if body is None else client.post(path, data=body, content_type="application/json")
    status, _, text = (expected.strip() or str(answer.status_code)).partition(" ")
    assert answer.status_code == int(status), line
    assert bool(expected) or answer.status_code < 300, line
    assert occurs(text, answer.get_data(as_text=True))


def test_every_python_block_belongs_to_a_file_that_is_run() -> None:
    """No Python block stands in a section whose files these tests do not run."""
    shown = [block for block in blocks() if block.language == "python"]
    run = [block for section in RUN for block in blocks(sections()[section]) if block.language == "python"]
    assert shown == run
    assert {block.language for block in blocks()} == {"python", "sh"}


def test_the_first_app_answers_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved as app.py and migrated with the command beside it, the app answers the requests as their comments say."""
    assert write("A first app", tmp_path) == ["app.py"]
    lines = list(shell_lines("A first app"))
    assert "flask --app app run" in lines
    migrate = next(line for line in lines if line.endswith("convex migrate"))
    done = python(tmp_path, *shlex.split(migrate))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "instance" / "convex.db").exists()
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        module = importlib.import_module("app")
        requests = [line for line in lines if line.startswith("curl")]
        assert len(requests) == 3
        for line in requests:
            send(module.app, line)
        with module.app.app_context():
            module.convex.backend.close()
    finally:
        sys.modules.pop("app", None)


def test_the_first_app_is_about_twenty_statements() -> None:
    """The first example stays short enough to type."""
    tree = ast.parse(files("A first app")["app.py"])
    lines = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    assert len(lines) <= 30


@pytest.mark.parametrize(("section", "name"), APPS)
def test_type_checkers_take_the_examples(section: str, name: str, tmp_path: Path) -> None:
    """mypy --strict has nothing to say of the apps of the tour and of the section on webhooks."""
    write(section, tmp_path)
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "--follow-imports=silent"]
    result = python(tmp_path, "mypy", *options, f"{name}.py")
    assert (result.returncode, result.stdout) == (0, "Success: no issues found in 1 source file\n"), result.stdout


@pytest.mark.parametrize(("section", "name"), APPS)
def test_the_examples_and_their_tests_pass(section: str, name: str, tmp_path: Path) -> None:
    """Saved as shop.py and test_shop.py, or hooks.py and test_hooks.py, the tests pass, with warnings as errors."""
    tests = f"test_{name}.py"
    assert write(section, tmp_path) == [f"{name}.py", tests]
    done = python(tmp_path, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{(tmp_path / tests).read_text().count('def test_')} passed" in done.stdout


def test_the_wsgi_file_makes_an_app() -> None:
    """The deployment example with the proxy is a module that has an app."""
    namespace: dict[str, object] = {"__name__": "wsgi"}
    exec(files("Deployment")["wsgi.py"], namespace)
    assert isinstance(namespace["app"], Flask)


def test_links_lead_somewhere() -> None:
    """Each link within the README has its heading, each relative one its file."""
    anchors = {re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-") for title in sections()}
    for target in re.findall(r"\]\(([^)\s]+)\)", prose()):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("http"):
            assert (ROOT / target).exists(), target
