"""Jobs of the tests of `flask convex scheduled`: their starts, failures, ids and states."""

from flask_convex_http.schema.system_tables import ScheduledFunction
from tests.cli.errands import Errands

UNKNOWN = "_scheduled_functions_" + "0" * 32


def start(shop: Errands, job_id: str) -> ScheduledFunction:
    """Start an action as a worker does."""
    backend = shop.backend
    job = shop.row(job_id)
    now = backend.clock()
    return backend.engine.write(lambda transaction: backend.jobs.start(transaction, job, now, "a worker", now + 30_000))


def fail(shop: Errands, job_id: str, error: str) -> None:
    """End a job as a worker does after a failure."""
    backend, job = shop.backend, shop.row(job_id)
    backend.engine.write(lambda transaction: backend.jobs.fail(transaction, job, backend.clock(), error))


def ids(shop: Errands, *options: str) -> list[str]:
    """Return the ids of a list, in its order."""
    return [job["_id"] for job in shop.convex("scheduled", "list", *options, "--json").json]


def states(shop: Errands, *job_ids: str) -> list[str]:
    """Return the states of jobs."""
    return [shop.row(job_id).state for job_id in job_ids]
