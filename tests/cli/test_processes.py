"""Commands as processes on the example app."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.child_processes import ROOT
from tests.lengths import LONG


def convex(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `flask convex ...` with the databases in a folder."""
    own = {"DATABASE": "convex.db", "STORAGE": "files.db"}
    urls = {f"FLASK_CONVEX_{key}_URL": f"sqlite:///{folder / name}" for key, name in own.items()}
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "example_app", "convex", *arguments],
        cwd=ROOT,
        env=os.environ | urls,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@LONG
def test_from_an_empty_folder_to_a_stored_item(tmp_path: Path) -> None:
    """From an empty folder, one process migrates, the next one stores an item, and the third one lists it."""
    refused = convex(tmp_path, "run", "items:list_items")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "flask convex migrate" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert convex(tmp_path, "migrate").returncode == 0
    assert convex(tmp_path, "run", "items:create", "-", stdin='{"name": "Lamp"}').returncode == 0
    listed = convex(tmp_path, "run", "items:list_items", "--json")
    assert json.loads(listed.stdout)[0]["name"] == "Lamp"
    assert listed.stderr == ""


@LONG
def test_long_work_is_silent_without_a_terminal(tmp_path: Path) -> None:
    """Without a terminal there is no progress bar."""
    convex(tmp_path, "migrate")
    copied = convex(tmp_path, "backup", str(tmp_path / "copy.db"), "--json")
    assert copied.returncode == 0
    assert json.loads(copied.stdout)["database"]["bytes"] > 0
    assert copied.stderr == ""


@LONG
def test_a_key_can_be_captured_by_a_script(tmp_path: Path) -> None:
    """Stdout of a new key is the key alone."""
    convex(tmp_path, "migrate")
    created = convex(tmp_path, "keys", "create", "--name", "ci")
    assert created.stdout.startswith("cvx_")
    assert len(created.stdout.split()) == 1


@LONG
def test_wrong_usage_ends_with_status_2(tmp_path: Path) -> None:
    """Wrong usage has exit status 2."""
    assert convex(tmp_path, "data", "--limit", "none").returncode == 2
