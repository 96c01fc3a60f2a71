"""Kill -9 of processes that store files in mutations.

FILE_KILLS is the number of kills. CRASH_SEED repeats the random choices, but not their timing.
"""

import base64
import hashlib
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from flask_convex_http.backend import Backend
from tests import databases, stores
from tests.databases import EACH_ENGINE
from tests.killing import seeded_random
from tests.lengths import LONG, repetitions
from tests.storage.keeper import app_of
from tests.web.apps import backend_of

pytestmark = [stores.EACH_STORE, EACH_ENGINE, LONG]

KILLS = repetitions("FILE_KILLS", sample=1, whole=6)


def store_until_killed(folder: Path, store: str, random: Random) -> set[str]:
    """Run the program, kill it at a random time after its first commits, and return the ids that it has printed."""
    command = [sys.executable, "-u", "-m", "tests.storage.keeper", str(folder), store]
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(5)]
        time.sleep(random.random() * 0.3)
        process.kill()
        printed += process.stdout.readlines()
    assert all(printed), (folder / "log").read_text()
    return {line.decode().strip() for line in printed if line.endswith(b"\n")}


def check(folder: Path, backend: Backend, acknowledged: set[str]) -> None:
    """Check that acknowledged files are there, and that each file is there as a whole."""
    kept = dict(databases.rows(folder, "SELECT _id, file FROM kept"))
    rows = {row.id: row for row in backend.files.list_files()}
    assert acknowledged <= kept.keys()
    assert sorted(kept.values()) == sorted(rows)
    for row in rows.values():
        data = b"".join(backend.blobs.read(row.id))
        assert (len(data), base64.b64encode(hashlib.sha256(data).digest()).decode()) == (row.size, row.sha256)


def test_kills_leave_whole_files_or_none(tmp_path: Path, each_store: str) -> None:
    """An acknowledged file survives a kill. No document or row is without its bytes, and the sweep removes the rest."""
    random, acknowledged = seeded_random(), set[str]()
    with app_of(tmp_path, each_store):  # creates the database
        pass
    for _ in range(KILLS):
        acknowledged |= store_until_killed(tmp_path, each_store, random)
        with app_of(tmp_path, each_store) as app:
            check(tmp_path, backend_of(app), acknowledged)
    with app_of(tmp_path, each_store) as app:
        backend = backend_of(app)
        orphans = backend.files.sweep(older_than=0).orphans
        print(f"{KILLS} kills, {len(acknowledged)} acknowledged files, {len(orphans)} orphans")
        check(tmp_path, backend, acknowledged)
        assert dict(backend.blobs.keys()).keys() == {row.id for row in backend.files.list_files()}
