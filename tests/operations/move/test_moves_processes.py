"""Moves as processes: killed at any point and continued, and run while an app serves requests."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from example_app.schema import Item, Payment
from flask_convex_http import MutationCtx, StoredFile
from flask_convex_http.errors import ConvexHTTPError
from tests import s3
from tests.databases import PostgresServer
from tests.example.deliveries import Delivery, checkout_completed, from_stripe
from tests.killing import seeded_random
from tests.lengths import LONG, repetitions
from tests.processes.servers import Deployment, Server, serving

#: Rows and files that take many transactions to copy.
ITEMS, FILES, LARGE = 2500, 8, 12 * 2**20
KILLS = repetitions("MOVE_KILLS", sample=1, whole=5)


@pytest.fixture(name="target", params=["sqlite", pytest.param("postgres and s3", marks=LONG)])
def _target(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of the target."""
    if request.param == "sqlite":
        names = {"DATABASE": "there.db", "STORAGE": "there-files.db"}
        return {f"CONVEX_{key}_URL": f"sqlite:///{tmp_path / name}" for key, name in names.items()}
    server: PostgresServer = request.getfixturevalue("postgres")
    return {"CONVEX_DATABASE_URL": server.make(), "CONVEX_STORAGE_URL": s3.url(tmp_path)}


def arguments(target: dict[str, str]) -> list[str]:
    """Return the command's options for a target."""
    return ["--to", target["CONVEX_DATABASE_URL"], "--storage", target["CONVEX_STORAGE_URL"]]


def at(target: dict[str, str], folder: Path) -> Deployment:
    """Return the deployment after the cut-over."""
    there = Deployment(folder)
    there.settings.update(target)
    return there


def filled(folder: Path) -> Deployment:
    """Return a deployment with many rows and large files."""
    deployment = Deployment(folder)
    deployment.migrate()
    with deployment.backend() as backend:

        def insert(ctx: MutationCtx) -> None:
            for number in range(ITEMS):
                ctx.db.insert(Item(name=f"Lamp {number}"))

        backend.runtime.transact(insert, backend.caller())
        for number in range(FILES):
            backend.files.store(bytes([number]) * (LARGE if number % 4 == 0 else 100), None)
    return deployment


def kill_when(deployment: Deployment, there: Deployment, target: dict[str, str], done: float) -> bool:
    """Move until a share of rows and files is copied, kill the process, and return whether it was still running."""
    command = [sys.executable, "-m", "flask", "--app", "example_app", "convex", "move", *arguments(target), "--yes"]
    process = subprocess.Popen(
        command, cwd=there.folder, env=deployment.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with there.backend() as backend:
        while process.poll() is None:
            try:
                with backend.engine.snapshot() as snapshot:
                    rows = snapshot.count(backend.schema.table_for(Item))
                files = backend.blobs.total()[0]
            except ConvexHTTPError:  # the tables do not exist yet
                rows = files = 0
            if rows / ITEMS + files / FILES > done:
                break
            time.sleep(0.002)
    process.kill()
    return process.wait() != 0


@LONG
def test_a_killed_run_is_continued(target: dict[str, str], tmp_path: Path) -> None:
    """Wherever runs are killed, the next one continues, and at the end each row and each byte is in the target once."""
    here, there, random = filled(tmp_path), at(target, tmp_path), seeded_random()
    killed = [kill_when(here, there, target, done) for done in sorted(random.uniform(0, 1.9) for _ in range(KILLS))]
    assert any(killed)
    done = here.command("move", *arguments(target), "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same"]
    assert there.rows(Item) == here.rows(Item)
    assert len(there.rows(Item)) == ITEMS
    with here.backend() as one, there.backend() as other:
        for file in here.rows(StoredFile):
            assert b"".join(other.blobs.read(file.id)) == b"".join(one.blobs.read(file.id))
        assert other.blobs.total() == one.blobs.total()


class Sender:
    """Sends webhooks one after another, and repeats each until it is accepted, as Stripe does."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.accepted: list[Delivery] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send during a `with` statement."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()

    def wait_for_more(self, count: int) -> None:
        """Wait until more deliveries are accepted."""
        end = len(self.accepted) + count
        while len(self.accepted) < end:
            assert self._thread.is_alive(), "The sender has ended"
            time.sleep(0.01)

    def _send(self) -> None:
        while not self._is_over.is_set():
            number = len(self.accepted)
            delivery = from_stripe(checkout_completed(f"evt_{number}", id=f"cs_{number}"))
            while not self._is_accepted(delivery) and not self._is_over.wait(0.01):
                pass
            self.accepted.append(delivery)

    def _is_accepted(self, delivery: Delivery) -> bool:
        try:
            return self.server is not None and self.server.deliver(delivery).status == 200
        except (OSError, HTTPException):  # no server, or a broken connection
            return False


@LONG
@pytest.mark.parametrize("target", ["postgres and s3"], indirect=True)
def test_a_cut_over_loses_no_delivery(target: dict[str, str], tmp_path: Path) -> None:
    """A run while the app serves, a run while it is stopped, then the app on the target: each delivery has its effects
    once, and a duplicate of an old one is recognized."""
    here, there, sender = Deployment(tmp_path), at(target, tmp_path), Sender()
    here.migrate()
    with sender.sending():
        with serving("flask", here) as sender.server:
            sender.wait_for_more(5)
            assert here.command("move", *arguments(target), "--yes").returncode in (0, 1)
            sender.wait_for_more(5)
        final = here.command("move", *arguments(target), "--yes", "--json")
        assert final.returncode == 0, final.stderr
        with serving("flask", there) as sender.server:
            sender.wait_for_more(5)
            old = sender.accepted[:10]
            statuses = [sender.server.deliver(delivery).status for delivery in old]
    assert statuses == [200] * len(old)
    accepted = [f"cs_{number}" for number in range(len(sender.accepted))]
    paid = [payment.session_id for payment in there.rows(Payment)]
    assert sorted(paid) in (sorted(accepted), sorted(accepted[:-1]))  # the last one may not have been sent
