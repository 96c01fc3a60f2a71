"""Operations on jobs while another write holds the database."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.ids import Id
from flask_convex_http.scheduling import job_control
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker import MutationRunner
from tests.databases import EACH_ENGINE
from tests.sqlite.crews import wait_until
from tests.worker.workers import get_job, open_backend, running_worker, wait_until_ended, write_note, written_notes

pytestmark = EACH_ENGINE

Job = Id[ScheduledFunction]


@pytest.fixture(autouse=True)
def _wait_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let operations wait a moment for other writes, not seconds."""
    monkeypatch.setattr(job_control, "_TIMEOUT", 0.05)


def schedule(backend: Backend, text: str, delay: float = 0) -> Job:
    """Schedule a note."""
    return backend.ctx().scheduler.run_after(delay, write_note, text=text)


def run_due(backend: Backend) -> None:
    """Run due mutations as a worker does, until none is left."""
    runner = MutationRunner(backend, nullcontext, backend.job_control)
    if backend.engine.mailbox is None:  # the worker honors such requests before it calls the runner
        control = backend.job_control
        with backend.engine.snapshot() as snapshot:
            requests = control.requests.read(snapshot)
        control.requests.remove(backend.engine.write(lambda transaction: control.honor(transaction, requests)))
    while runner.run():
        pass


@contextmanager
def busy(backend: Backend, *job_ids: Job) -> Iterator[None]:
    """Hold the write lock, or on PostgreSQL locks on jobs, as a mutation that loops does."""
    holds, end = threading.Event(), threading.Event()

    def hold(transaction: Transaction) -> None:
        for job_id in job_ids:
            transaction.update(backend.jobs.table, job_id, {"worker": "a worker"})
        holds.set()
        assert end.wait(30)

    thread = threading.Thread(target=backend.engine.write, args=(hold,))
    thread.start()
    try:
        assert holds.wait(30)
        yield
    finally:
        end.set()
        thread.join()


def test_a_job_is_canceled_while_the_database_is_busy(tmp_path: Path) -> None:
    """A job that cannot be canceled at once is canceled before it starts."""
    with open_backend(tmp_path) as backend:
        unwanted, wanted = schedule(backend, "unwanted"), schedule(backend, "wanted")
        with busy(backend, unwanted):
            [result] = backend.job_control.cancel([unwanted])
            assert result.outcome == "requested"
            assert get_job(backend, unwanted).state == "pending"
        run_due(backend)
        assert [get_job(backend, job).state for job in (unwanted, wanted)] == ["canceled", "success"]
        assert written_notes(backend) == ["wanted"]
        with backend.engine.snapshot() as snapshot:
            assert backend.job_control.requests.read(snapshot) == {}


def test_all_jobs_are_canceled_while_the_database_is_busy(tmp_path: Path) -> None:
    """All pending jobs are canceled before the next one starts, and jobs that are scheduled later run."""
    with open_backend(tmp_path) as backend:
        jobs = [schedule(backend, str(number)) for number in range(3)]
        with busy(backend, *jobs):
            result = backend.job_control.cancel_pending()
            assert (result.canceled, result.pending, result.is_requested) == (0, 3, True)
        time.sleep(0.002)
        schedule(backend, "later")
        run_due(backend)
        assert {get_job(backend, job).state for job in jobs} == {"canceled"}
        assert written_notes(backend) == ["later"]


def test_a_job_is_paused_and_resumed_while_the_database_is_busy(tmp_path: Path) -> None:
    """A job that cannot be paused or resumed at once is paused or resumed by a worker."""
    with open_backend(tmp_path) as backend:
        job = schedule(backend, "note")
        with busy(backend, job):
            assert [result.outcome for result in backend.job_control.pause([job])] == ["requested"]
        run_due(backend)
        assert get_job(backend, job).state == "paused"
        with busy(backend, job):
            assert [result.outcome for result in backend.job_control.resume([job])] == ["requested"]
        run_due(backend)
        run_due(backend)
        assert written_notes(backend) == ["note"]


def test_all_jobs_are_paused_while_the_database_is_busy(tmp_path: Path) -> None:
    """A running worker starts no job while all jobs are paused, which works at once, and starts them after it."""
    with open_backend(tmp_path) as backend, open_backend(tmp_path) as operator:
        with busy(backend):
            assert operator.job_control.pause_all() == 0
            assert operator.job_control.is_paused()
        with running_worker(backend):
            job = schedule(operator, "note")
            time.sleep(0.3)
            assert get_job(operator, job).state == "pending"
            assert operator.job_control.resume_all()
            wait_until_ended(operator)
        assert written_notes(backend) == ["note"]
        assert not operator.job_control.resume_all()


def test_a_worker_honors_a_request_for_a_job_that_is_not_due(tmp_path: Path) -> None:
    """A request is honored at once by a worker that sleeps."""
    with open_backend(tmp_path) as backend, open_backend(tmp_path) as operator:
        job = schedule(backend, "note", delay=3600)
        with running_worker(backend):
            with busy(operator, job):
                operator.job_control.cancel([job])
            wait_until(lambda: get_job(operator, job).state == "canceled")
