"""Metrics for Prometheus: counts the work of the deployment, and responds to scrapes at `/_convex/metrics`.

Events of `telemetry` enter (`recorder`), scrapes enter (`serving`), and the formats of Prometheus leave (`exposition`).
In between `meter` adds up the numbers of one process (`totals`) and of all processes (`shared_totals`). `definitions`
and `gauges` name every metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_convex_http.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask

    from flask_convex_http.backend import Backend
    from flask_convex_http.worker import BackgroundWorker


def serve(app: Flask, backend: Backend, background: BackgroundWorker) -> None:
    """Count the work of an app, and respond to the scrapes of Prometheus.

    Args:
        app: The Flask app.
        backend: Its backend.
        background: The worker of its process.

    Raises:
        ConfigurationError: The package prometheus-client is missing.
    """
    try:
        from flask_convex_http.metrics.serving import Metrics
    except ImportError as error:
        raise ConfigurationError(
            f"metrics=True needs prometheus-client, which cannot be imported ({error}); run "
            "pip install 'prometheus-client>=0.22'"
        ) from error
    app.wsgi_app = Metrics(app, backend, background)  # type: ignore[method-assign]  # as Flask's docs have it
