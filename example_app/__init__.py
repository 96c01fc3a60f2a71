"""An example application with every kind of endpoint.

Tables are in `schema`, routes in `http` and `webhooks`, scheduled work in `crons`. Every other module has functions.
With `EXAMPLE_DASHBOARD` in the environment, as `make run` sets it, the app has a dashboard at `/_convex`.
"""

import os

from flask import Flask

from flask_convex_http import ConvexHTTP, OpenAPI, json_errors

from .crons import crons
from .http import http
from .schema import schema
from .webhooks import webhooks

convex = ConvexHTTP(
    schema=schema,
    functions=[
        "example_app.files",
        "example_app.items",
        "example_app.payments",
        "example_app.process",
        "example_app.reports",
        "example_app.users",
        "example_app.webhook_events",
    ],
    crons=crons,
    openapi=OpenAPI(title="Example", version="1"),
    dashboard="EXAMPLE_DASHBOARD" in os.environ,
)


def create_app() -> Flask:
    """Return the application; `flask --app example_app run` and gunicorn call this."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    convex.init_app(app)
    app.register_blueprint(http)
    app.register_blueprint(webhooks)
    json_errors(app)
    return app
