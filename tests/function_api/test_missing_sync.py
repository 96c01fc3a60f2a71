"""WebSocket clients of Convex, where the package that serves them is not installed."""

import sys

import pytest
from flask import Flask

from flask_convex_http import ConvexHTTP, Schema


def test_a_client_is_refused_and_the_log_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each client gets 501, whatever its path, and the first one is a line that names the package."""
    monkeypatch.setitem(sys.modules, "websockets", None)
    app = Flask(__name__)
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    ConvexHTTP(app, schema=Schema(), function_api=True)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    for path, headers in (("/api/sync", upgrade), ("/api/1.30.0/sync", upgrade), ("/api/sync", {})):
        response = app.test_client().get(path, headers=headers)
        assert (response.status_code, response.get_json()["code"]) == (501, "LiveQueriesUnavailable")
    [line] = [record.getMessage() for record in caplog.records if record.name == "flask_convex_http.live"]
    assert "pip install 'websockets>=14'" in line
