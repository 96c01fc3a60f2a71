"""`/_convex/metrics`: responds to the scrapes of Prometheus, before Flask.

So the app's `before_request` functions, logins and rate limits do not apply to them. A scrape needs the token of
CONVEX_METRICS_TOKEN, or an admin key. The token works without the database, so that a scrape sees that it is down.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.log import logger_of
from flask_convex_http.metrics.exposition import FOLDER_VARIABLE, Collector, exposition
from flask_convex_http.metrics.gauges import CONNECTIONS, PROCESSES, QUERIES, WORKERS, Reading, readings
from flask_convex_http.metrics.meter import Meter
from flask_convex_http.metrics.recorder import Recorder
from flask_convex_http.metrics.totals import Totals
from flask_convex_http.sync.service import SERVICE, SyncService
from flask_convex_http.web.observed import note_route
from flask_convex_http.web.responses.challenges import BEARER
from flask_convex_http.worker import BackgroundWorker

logger = logger_of()

#: The path of the metrics.
PATH = "/_convex/metrics"
_SCHEMES = ("bearer", "convex")
Headers = list[tuple[str, str]]


class Metrics:
    """The metrics of an app: a WSGI application that responds to scrapes, and passes every other request on.

    Args:
        app: The Flask app.
        backend: The deployment.
        background: The worker of the process.
    """

    def __init__(self, app: Flask, backend: Backend, background: BackgroundWorker) -> None:
        self._app = app
        self._wsgi_app = app.wsgi_app
        self._backend = backend
        self._background = background
        self.meter = Meter(_folder(app, backend), self._of_process, backend.telemetry.collect)
        backend.before_close.append(self.meter.stop)
        recorder = Recorder(self.meter, backend.webhooks)
        backend.telemetry.subscribe(recorder.note, groups=recorder)
        self._exposition = exposition(Collector(self._collect))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        if environ.get("PATH_INFO") != PATH or environ["REQUEST_METHOD"] != "GET":
            return self._wsgi_app(environ, start_response)
        note_route(environ, PATH)
        try:
            refusal = self._refusal(environ)
        except ConvexHTTPError as error:  # the database that has the admin keys does not respond
            logger.warning("An admin key cannot be checked for the metrics: %s", error)
            refusal = 503, "The database cannot be used at the moment; use CONVEX_METRICS_TOKEN", []
        if refusal is not None:
            return _respond(start_response, *refusal)
        return list(self._exposition(environ, start_response))

    def _refusal(self, environ: dict[str, Any]) -> tuple[int, str, Headers] | None:
        """Return the status, the error and the headers of the response to a request without a valid credential."""
        scheme, _, credential = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() not in _SCHEMES or not credential:
            return 401, BEARER.missing, list(BEARER.headers().items())
        if self._is_valid(credential):
            return None
        status = self._backend.settings.invalid_credential_status
        return status, BEARER.invalid, list(BEARER.headers("invalid_token").items())

    def _is_valid(self, credential: str) -> bool:
        token = self._backend.settings.metrics_token
        if token is not None and hmac.compare_digest(credential.encode(), token.encode()):
            return True
        return self._backend.admin_keys.is_valid(credential)

    # --- the numbers -------------------------------------------------------------------------------------------------

    def _collect(self) -> tuple[Totals, Iterator[Reading]]:
        totals, gauges, processes = self.meter.collect()
        return totals, self._readings(gauges, processes)

    def _readings(self, gauges: dict[str, float], processes: int) -> Iterator[Reading]:
        yield from readings(self._backend)
        for gauge in (CONNECTIONS, QUERIES, WORKERS):
            yield gauge, {(): gauges.get(gauge.name, 0.0)}
        yield PROCESSES, {(): processes}

    def _of_process(self) -> dict[str, float]:
        """Return the gauges of this process."""
        live: SyncService | None = self._app.extensions.get(SERVICE)
        age = self._background.heartbeat_age()
        return {
            CONNECTIONS.name: 0 if live is None else live.loop.connections,
            QUERIES.name: 0 if live is None or live.queries is None else len(live.queries),
            WORKERS.name: int(age is not None and age < self._backend.settings.worker_lease),
        }


def _folder(app: Flask, backend: Backend) -> Path | None:
    """Return the folder that the processes of a deployment share: beside the database file, or in the instance folder.

    PROMETHEUS_MULTIPROC_DIR names another place. A temporary database has one process.
    """
    location = backend.location
    if location.is_temporary:
        return None
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen, "convex")
    path = Path(app.instance_path, "convex") if location.path is None else location.path
    return path.with_name(f"{path.name}.metrics")


def _respond(start_response: Callable[..., Any], status: int, error: str, headers: Headers) -> Iterable[bytes]:
    body = json.dumps({"error": error}).encode()
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(f"{status} {_REASONS[status]}", own + headers)
    return (body,)


_REASONS = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 503: "SERVICE UNAVAILABLE"}
