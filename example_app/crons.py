"""What runs at certain times: a line each."""

from datetime import time

from flask_convex_http import Crons

from . import reports

crons = Crons()
crons.daily("forget old reports", time(3, 30), reports.forget, days=30)
