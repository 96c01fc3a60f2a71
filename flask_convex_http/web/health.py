"""`/healthz` and `/readyz`: whether the process is alive, and whether it can serve requests.

They respond before Flask, so that the app's `before_request` functions, logins and rate limits do not apply to them.
Nothing is written, and no response names a file, a host or an error's text. The database is looked at by a thread of
its own, so that a server that does not respond cannot keep the probe waiting. Simultaneous probes share one look.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.errors import MigrationRequiredError, RegistrationError
from flask_convex_http.inbox.silence import SilenceWatch
from flask_convex_http.log import logger_of
from flask_convex_http.schema.system_tables import Setting
from flask_convex_http.web.observed import note_route
from flask_convex_http.worker import BackgroundWorker

logger = logger_of()

#: Seconds that a look at the database may take.
TIMEOUT = 2.0
#: The part of CONVEX_WRITE_TIMEOUT after which a waiting write makes the process unready.
_WRITE_SHARE = 0.5
#: The number of leases without a heartbeat after which the worker counts as dead. A mutation may delay one.
_LEASES = 2.0

Check = dict[str, Any]
_OK: Check = {"status": "ok"}
_FAILED: Check = {"status": "failed"}
#: The checks of the database until they are made. They come first in the response.
_UNKNOWN: dict[str, Check] = {"database": _FAILED, "migration": {"status": "unknown"}}


@dataclass(frozen=True, slots=True)
class Health:
    """The paths of the health checks. A route of the app with exactly such a path wins.

    Args:
        live: The path that responds with 200 while the process can respond.
        ready: The path that responds with 200 while all checks pass, and with 503 otherwise.

    Raises:
        RegistrationError: A path does not start with a slash, or both are equal.
    """

    live: str = "/healthz"
    ready: str = "/readyz"

    def __post_init__(self) -> None:
        for path in (self.live, self.ready):
            if not isinstance(path, str) or not path.startswith("/"):
                raise RegistrationError(f'Health: a path starts with a /, such as "/healthz", not {path!r}')
        if self.live == self.ready:
            raise RegistrationError(f"Health: live and ready are both {self.live!r}; give each a path of its own")


class HealthChecks:
    """A WSGI application that responds to health checks, and passes every other request on.

    Args:
        app: The Flask app.
        backend: The deployment.
        background: The worker of the process.
        paths: The paths.
    """

    def __init__(self, app: Flask, backend: Backend, background: BackgroundWorker, paths: Health) -> None:
        self._app = app
        self._wsgi_app = app.wsgi_app
        self._backend = backend
        self._background = background
        self._database = _DatabaseCheck(backend)
        self._checks = {paths.live: self._live, paths.ready: self._ready}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        check = self._checks.get(path)
        if check is None or method not in ("GET", "HEAD") or self._is_route(path):
            return self._wsgi_app(environ, start_response)
        note_route(environ, path, is_health_check=True)
        status, content = check()
        body = json.dumps(content).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response(status, headers)
        return () if method == "HEAD" else (body,)

    def _is_route(self, path: str) -> bool:
        """Return whether the app has a route with exactly this path."""
        return any(rule.rule == path for rule in self._app.url_map.iter_rules())

    def _live(self) -> tuple[str, Check]:
        return "200 OK", _OK

    def _ready(self) -> tuple[str, Check]:
        checks = {"writes": self._writes(), "worker": self._worker()}
        checks = {**_UNKNOWN, **checks, **self._database.run()}  # a database that takes no writes has the last word
        # A silent webhook does not make the process unready: without it, deliveries could not arrive again.
        is_ready = all(check["status"] in ("ok", "off", "silent") for check in checks.values())
        status = "200 OK" if is_ready else "503 SERVICE UNAVAILABLE"
        return status, {"status": "ok" if is_ready else "failed", "checks": checks}

    def _writes(self) -> Check:
        seconds = self._backend.engine.oldest_wait()
        if seconds is None:
            return _OK
        is_late = seconds > self._backend.settings.write_timeout * _WRITE_SHARE
        return {"status": "failed" if is_late else "ok", "oldest_seconds": round(seconds, 3)}

    def _worker(self) -> Check:
        age = self._background.heartbeat_age()
        if age is None:
            return {"status": "off"}
        if math.isinf(age):
            return _FAILED
        is_late = age > self._backend.settings.worker_lease * _LEASES
        return {"status": "failed" if is_late else "ok", "heartbeat_seconds": round(age, 3)}


class _DatabaseCheck:
    """Looks whether the database can be read and has the tables, in a thread with a deadline.

    Args:
        backend: The deployment.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._silence = SilenceWatch(backend.inbox, backend.clock)
        self._mutex = threading.Lock()
        self._running: tuple[int, _Look] | None = None

    def run(self) -> dict[str, Check]:
        """Return the checks `database` and `migration`, and `webhooks` if deliveries are expected."""
        try:
            look = self._start()
        except RuntimeError:  # the system has no more threads
            return dict(_UNKNOWN)
        if not look.done.wait(TIMEOUT):
            logger.warning("The database did not respond to a health check within %g s", TIMEOUT)
            return {**_UNKNOWN, "database": {"status": "failed", "reason": "timeout"}}
        return look.result

    def _start(self) -> _Look:
        """Start a look at the database, or return the one that runs."""
        with self._mutex:
            pid, look = self._running or (None, None)
            if look is not None and pid == os.getpid() and not look.done.is_set():
                return look
            look = _Look(self._backend, self._silence)
            threading.Thread(target=look.run, name="convex-health", daemon=True).start()
            self._running = os.getpid(), look
            return look


class _Look:
    """One look at the database.

    Args:
        backend: The deployment.
        silence: Finds silent webhooks.

    Attributes:
        done: Is set at the end.
        result: The checks, once it is done.
    """

    def __init__(self, backend: Backend, silence: SilenceWatch) -> None:
        self._backend = backend
        self._silence = silence
        self.done = threading.Event()
        self.result: dict[str, Check] = dict(_UNKNOWN)

    def run(self) -> None:
        """Read one row; the thread's main function."""
        backend = self._backend
        try:
            backend.engine.lookup(backend.schema.table_for(Setting), {"key": "health"}, timeout=TIMEOUT)
            self.result = {"database": _OK, "migration": _OK} | self._writes() | self._webhooks()
        except MigrationRequiredError as error:
            logger.warning("A health check failed: %s", error)
            self.result = {"database": _OK, "migration": _FAILED}
        except Exception as error:  # the response must not have its text, which may name a host
            detail = getattr(error, "detail", "")
            logger.warning("A health check failed: %s%s", error, f": {detail}" if detail else "")
        finally:
            self.done.set()

    def _writes(self) -> dict[str, Check]:
        """Return the check of writes if the database takes none."""
        if not self._backend.engine.is_read_only(timeout=TIMEOUT):
            return {}
        logger.warning("A health check failed: the database takes no writes")
        return {"writes": {"status": "failed", "reason": "read-only"}}

    def _webhooks(self) -> dict[str, Check]:
        """Return the check of silent webhooks, if any webhook has `expect_every`."""
        if not self._silence.is_on:
            return {}
        silent = self._silence.silent()
        for one in silent:
            logger.warning("Webhook %s: no delivery for longer than expected", one.webhook.source)
        return {"webhooks": {"status": "silent", "count": len(silent)} if silent else _OK}
