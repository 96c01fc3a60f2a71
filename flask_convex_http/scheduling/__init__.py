"""Jobs and crons: functions that run later, as rows of `_scheduled_functions`.

A function, its arguments and a time enter through `ctx.scheduler` or a cron. Due jobs leave to a worker.

The path of a job, from `ctx.scheduler.run_after` to its end:

1. `scheduling/scheduler.py` computes the time and finds the function.
2. `scheduling/submission.py` checks the function and its arguments.
3. `scheduling/job_writer.py` counts the job against the limits of its transaction.
4. `scheduling/jobs.py` inserts the row. After the commit, `runtime/commit_hooks.py` announces it to the workers.
5. `worker/worker.py` wakes up when the job is due. `worker/__init__.py` has the rest of the path.

A cron enters at step 2: `crons.py` holds the declarations of the application, `cron_expressions.py` computes the times,
and `cron_ticks.py` schedules a job at each tick.

Operators look at jobs and crons through `job_control.py` and `cron_status.py`.
"""
