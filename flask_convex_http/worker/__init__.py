"""Runs due jobs and fires crons, on any number of threads, processes and machines.

Due jobs and ticks of crons enter, as rows that `scheduling` has written. The functions are called through `runtime`.
The outcome of each job leaves as a change of its row.

The path of a mutation, continued from `scheduling/__init__.py`:

6. `worker/worker.py` finds that a mutation is due.
7. `worker/mutation_runner.py` claims a batch of due mutations in one transaction, and `worker/resolve.py` finds the
   function of each.
8. `runtime/calls.py` runs the function as a part of that transaction, at a savepoint.
9. `scheduling/jobs.py` records success or failure in the same transaction. After a failure, the function's `on_failure`
   is called.

The path of an action:

6. `worker/worker.py` finds that an action is due.
7. `worker/action_runner.py` claims it, and `worker/resolve.py` finds the function. The commit of the claim marks the
   job as in progress, with a lease.
8. `worker/action_runner.py` runs the function on a thread, with an `ActionCtx` of `runtime/context.py`. The heartbeat
   of `worker/worker.py` renews the lease.
9. `scheduling/jobs.py` records success, failure or a retry in a transaction of its own.
10. If the worker died instead, `worker/lost_actions.py` of another worker finds the expired lease.

`background.py` runs a worker on a thread of a serving process, and `waiter.py` lets it sleep. `rejected_jobs.py` keeps
one job from blocking the others. `cleanup.py` deletes expired rows.
"""

from flask_convex_http.worker.action_runner import ActionRunner as ActionRunner
from flask_convex_http.worker.background import BackgroundWorker as BackgroundWorker
from flask_convex_http.worker.mutation_runner import MutationRunner as MutationRunner
from flask_convex_http.worker.results import AttemptResult as AttemptResult
from flask_convex_http.worker.worker import Worker as Worker
