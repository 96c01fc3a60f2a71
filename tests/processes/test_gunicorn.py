"""The settings for gunicorn that come with the package."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from flask_convex_http import gunicorn
from tests.processes.servers import Deployment, serving

needs_processors = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")


@needs_processors
def test_each_worker_has_a_processor_of_its_own(tmp_path: Path) -> None:
    """Two workers keep to two processors, all their threads included; the process above them keeps to none."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("gunicorn", deployment) as server:
        server.wait(lambda: len(server.workers) == 2, "start two workers")
        processors = [os.sched_getaffinity(worker) for worker in server.workers]
        above = os.sched_getaffinity(os.getpid())
        assert [len(own) for own in processors] == [1, 1]
        assert processors[0] != processors[1]
        assert set.union(*processors) <= above


@needs_processors
def test_a_new_worker_takes_the_processor_that_is_free() -> None:
    """A worker that comes for one that has died gets that one's processor, not the next in line."""
    workers = [SimpleNamespace() for _ in range(3)]
    arbiter = SimpleNamespace(WORKERS={})
    for worker in workers[:2]:
        gunicorn.pre_fork(arbiter, worker)
        arbiter.WORKERS[id(worker)] = worker
    del arbiter.WORKERS[id(workers[1])]
    gunicorn.pre_fork(arbiter, workers[2])
    assert workers[2].convex_processor == workers[1].convex_processor != workers[0].convex_processor
