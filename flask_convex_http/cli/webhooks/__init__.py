"""`flask convex webhooks`: inspect, rerun, send and diagnose deliveries.

Each command reads its arguments, asks the backend and prints. The commands share `filters` and `rejections`.
"""

from __future__ import annotations

from flask.cli import AppGroup

from flask_convex_http.cli.webhooks.doctor import doctor
from flask_convex_http.cli.webhooks.inspect import list_deliveries, show
from flask_convex_http.cli.webhooks.reconcile import reconcile
from flask_convex_http.cli.webhooks.rerun import purge, replay, retry
from flask_convex_http.cli.webhooks.send import send

webhooks = AppGroup("webhooks", help="Inspect, rerun, send and diagnose webhook deliveries.")

for command in (list_deliveries, show, send, doctor, reconcile, replay, retry, purge):
    webhooks.add_command(command)
