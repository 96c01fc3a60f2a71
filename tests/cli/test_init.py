"""`flask convex init`: the app that it writes works, and nothing is overwritten."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flask_convex_http.cli import convex_commands
from tests.child_processes import ROOT
from tests.lengths import LONG

WEBHOOKS = ("stripe", "github", "none")


def init(*arguments: str) -> Result:
    """Run `flask convex init`."""
    return CliRunner().invoke(convex_commands, ["init", *arguments])


def run(folder: Path, *command: str) -> str:
    """Run a module of Python in a folder, and return its output."""
    paths = {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | paths,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("webhook", ["stripe", *(pytest.param(name, marks=LONG) for name in WEBHOOKS[1:])])
def test_the_tests_of_the_app_pass(tmp_path: Path, webhook: str) -> None:
    """The tests that `init` writes pass, with warnings as errors."""
    assert init(str(tmp_path / "shop"), "--webhook", webhook).exit_code == 0
    passed = run(tmp_path / "shop", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert f"{2 if webhook == 'none' else 4} passed" in passed


@LONG
@pytest.mark.parametrize("webhook", WEBHOOKS)
def test_type_checkers_accept_the_app(tmp_path: Path, webhook: str) -> None:
    """mypy with the app's own strict settings, pyright and ruff accept what `init` writes."""
    assert init(str(tmp_path / "shop"), "--webhook", webhook).exit_code == 0
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'init'}"
    assert "Success" in run(tmp_path / "shop", "mypy", cache, "--follow-imports=silent", ".")
    run(tmp_path / "shop", "ruff", "check", "--isolated", "--no-cache", "--line-length", "120", ".")
    (tmp_path / "shop" / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    run(tmp_path / "shop", "pyright", "--pythonpath", sys.executable, ".")


@pytest.mark.parametrize("webhook", WEBHOOKS)
def test_each_file_is_complete(tmp_path: Path, webhook: str) -> None:
    """Each file is listed and written, templates leave nothing behind, and git ignores the file with the secret."""
    written = json.loads(init(str(tmp_path), "--webhook", webhook, "--json").stdout)
    assert written["folder"] == str(tmp_path)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(written["files"]) == sorted(str(path.relative_to(tmp_path)) for path in paths)
    assert not [path for path in paths if {"{%", "{{ ", "{#"} & set(path.read_text().split())]
    assert ".env" in (tmp_path / ".gitignore").read_text().splitlines()
    assert (".env" in written["files"]) == (webhook != "none")


def test_each_app_has_a_secret_of_its_own(tmp_path: Path) -> None:
    """Two apps have different secrets, and the example of the file has none."""
    init(str(tmp_path / "one"))
    init(str(tmp_path / "two"))
    assert (tmp_path / "one" / ".env").read_text() != (tmp_path / "two" / ".env").read_text()
    assert (tmp_path / "one" / ".env.example").read_text().endswith("STRIPE_WEBHOOK_SECRET=\n")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that has one of the files is refused with its name, and nothing is written."""
    (tmp_path / "app.py").write_text("mine")
    refused = init(str(tmp_path))
    assert refused.exit_code == 1
    assert f"{tmp_path} has app.py" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]
    assert (tmp_path / "app.py").read_text() == "mine"


def test_other_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with other files, such as an environment, is accepted, and is the current one by default."""
    (tmp_path / ".venv").mkdir()
    monkeypatch.chdir(tmp_path)
    written = init()
    assert written.exit_code == 0
    assert (tmp_path / "app.py").is_file()
    assert "cd " not in written.stderr


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A folder below a file is refused in one line."""
    (tmp_path / "file").touch()
    refused = init(str(tmp_path / "file" / "shop"))
    assert refused.exit_code == 1
    assert str(tmp_path / "file") in refused.stderr
    assert "Traceback" not in refused.stderr
