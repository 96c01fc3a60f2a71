"""The mark of the job that runs, which survives its process."""

import os
from pathlib import Path

from flask_convex_http.sqlite.start_marker import StartMarker

JOB = "_scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d"


def database(folder: Path) -> Path:
    """Return the path of a database, which exists."""
    path = folder / "convex.db"
    path.touch()
    return path


def test_a_mark_is_found_by_another_process(tmp_path: Path) -> None:
    """A mark that was not cleared is read by others, and a cleared one is not."""
    path = database(tmp_path)
    dead, other = StartMarker(path), StartMarker(path)
    assert other.read() is None
    dead.write(JOB)
    dead.close()
    assert other.read() == JOB
    other.clear()
    assert StartMarker(path).read() is None


def test_a_short_id_replaces_a_long_one(tmp_path: Path) -> None:
    """A mark replaces the former one as a whole."""
    marker = StartMarker(database(tmp_path))
    marker.write(JOB)
    marker.write("short")
    assert marker.read() == "short"


def test_a_child_of_the_job_does_not_clear_the_mark(tmp_path: Path) -> None:
    """A child that the job forks does not clear the mark of its parent, which still runs the job."""
    marker = StartMarker(database(tmp_path))
    marker.write(JOB)
    child = os.fork()
    if child == 0:
        marker.clear()
        os._exit(0)
    os.waitpid(child, 0)
    assert marker.read() == JOB


def test_without_a_file_nothing_is_marked(tmp_path: Path) -> None:
    """Where the file cannot be created, jobs run unmarked."""
    marker = StartMarker(tmp_path / "missing" / "convex.db")
    marker.write(JOB)
    assert marker.read() is None
    marker.clear()
    marker.close()
