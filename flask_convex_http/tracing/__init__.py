"""Traces: a span of OpenTelemetry for each request, function, transaction, delivery and job.

Scopes and events of `telemetry` enter (`spans`), and spans leave through OpenTelemetry's API. Exporting them is the
application's choice of an SDK. Nothing is imported without `ConvexHTTP(tracing=True)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_convex_http.errors import ConfigurationError

if TYPE_CHECKING:
    from flask_convex_http.backend import Backend


def trace(backend: Backend) -> None:
    """Make spans of what a deployment does.

    Args:
        backend: The deployment.

    Raises:
        ConfigurationError: OpenTelemetry's API is missing.
    """
    try:
        from flask_convex_http.tracing.spans import Spans, current_traceparent
    except ImportError as error:
        raise ConfigurationError(
            f"tracing=True needs OpenTelemetry's API, which cannot be imported ({error}); run "
            "pip install 'opentelemetry-api>=1.26'"
        ) from error
    spans = Spans("sqlite" if backend.location.is_sqlite else "postgresql")
    backend.telemetry.subscribe(spans.end, spans.start, spans.leave)
    backend.jobs.trace = current_traceparent
