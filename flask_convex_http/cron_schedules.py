"""The former place of `scheduling.cron_expressions`, for code that imports it from here."""

from flask_convex_http.scheduling.cron_expressions import CronExpression as CronExpression
from flask_convex_http.scheduling.cron_expressions import Interval as Interval
