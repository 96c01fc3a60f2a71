"""The gunicorn settings of the package."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from flask_convex_http import gunicorn
from tests.lengths import LONG
from tests.processes.servers import Deployment, serving

needs_processors = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")


@LONG
@needs_processors
def test_each_worker_is_pinned_to_its_own_processor(tmp_path: Path) -> None:
    """Each of two workers is pinned to its own processor, with all its threads, and the master is not pinned."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("gunicorn", deployment) as server:
        server.wait(lambda: len(server.workers) == 2, "start two workers")

        def are_pinned() -> bool:  # which a worker is a moment after it has logged its id
            return all(len(os.sched_getaffinity(worker)) == 1 for worker in server.workers)

        server.wait(are_pinned, "pin both workers")
        processors = [os.sched_getaffinity(worker) for worker in server.workers]
        process_cpus = os.sched_getaffinity(os.getpid())
        assert processors[0] != processors[1]
        assert set.union(*processors) <= process_cpus


@needs_processors
def test_new_worker_takes_the_free_processor() -> None:
    """A worker that replaces a dead one takes over its processor."""
    workers = [SimpleNamespace() for _ in range(3)]
    arbiter = SimpleNamespace(WORKERS={})
    for worker in workers[:2]:
        gunicorn.pre_fork(arbiter, worker)
        arbiter.WORKERS[id(worker)] = worker
    del arbiter.WORKERS[id(workers[1])]
    gunicorn.pre_fork(arbiter, workers[2])
    assert workers[2].convex_processor == workers[1].convex_processor != workers[0].convex_processor
