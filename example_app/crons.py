"""Functions that run at fixed times."""

from datetime import time

from flask_convex_http import Crons

from . import reports

crons = Crons()
crons.daily("purge old reports", time(3, 30), reports.purge, days=30)
