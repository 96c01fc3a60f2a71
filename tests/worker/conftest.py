"""Fixtures of the worker's tests."""

import pytest

#: Seconds. Longer than any test waits.
_NEVER = 36_000.0


@pytest.fixture(name="no_polling")
def _no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the workers of this process sleep until they are woken or a job that they know is due.

    A test that waits for a job then shows that something woke the worker, however slow the machine is.
    """
    monkeypatch.setattr("flask_convex_http.worker.worker.POLL_SECONDS", _NEVER)
    monkeypatch.setattr("flask_convex_http.worker.worker.heartbeat_interval", lambda backend: _NEVER)
    monkeypatch.setattr("flask_convex_http.worker.worker._CLEANUP_INTERVAL", _NEVER)
