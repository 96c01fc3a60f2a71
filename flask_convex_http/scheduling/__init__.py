"""Jobs and crons: functions that run later, as rows of `_scheduled_functions`.

A function, its arguments and a time enter through `ctx.scheduler` or a cron. Due jobs leave to a worker.

The path of a job, from `ctx.scheduler.run_after` to its end:

1. `scheduling/scheduler.py` computes the time and finds the function.
2. `scheduling/submission.py` checks the function and its arguments.
3. `scheduling/job_writer.py` counts the job against the limits of its transaction.
4. `scheduling/jobs.py` inserts the row. After the commit, `runtime/commit_hooks.py` announces it to the workers.
5. `worker/worker.py` wakes up when the job is due. `worker/__init__.py` has the rest of the path.

A cron enters at step 4. `crons.py` holds the declarations of the application. `cron_registration.py` checks them as in
step 2 and stores them when a worker starts. `cron_expressions.py` computes the times, and `cron_ticks.py` adds a job at
each tick. `deployed_crons.py` has all of them behind one object.

Operators list, cancel, pause and retry jobs through `job_control.py`. While the database is busy, `job_requests.py`
keeps their requests for a worker. Crons are listed through `cron_status.py`.
"""

from flask_convex_http.scheduling.cron_status import CronStatus as CronStatus
from flask_convex_http.scheduling.cron_status import LastRun as LastRun
from flask_convex_http.scheduling.crons import Crons as Crons
from flask_convex_http.scheduling.deployed_crons import DeployedCrons as DeployedCrons
from flask_convex_http.scheduling.job_control import JobControl as JobControl
from flask_convex_http.scheduling.job_control import JobOutcome as JobOutcome
from flask_convex_http.scheduling.job_control import JobResult as JobResult
from flask_convex_http.scheduling.job_control import JobState as JobState
from flask_convex_http.scheduling.job_requests import JobRequest as JobRequest
from flask_convex_http.scheduling.job_requests import JobRequests as JobRequests
from flask_convex_http.scheduling.job_requests import is_paused as is_paused
from flask_convex_http.scheduling.jobs import KINDS as KINDS
from flask_convex_http.scheduling.jobs import POLL_SECONDS as POLL_SECONDS
from flask_convex_http.scheduling.jobs import Jobs as Jobs
from flask_convex_http.scheduling.scheduler import Scheduler as Scheduler
from flask_convex_http.scheduling.submission import Submission as Submission
