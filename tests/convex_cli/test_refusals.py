"""The operations of Convex's command line that a Flask app does not have."""

from pathlib import Path

import pytest

from flask_convex_http import HttpRouter
from tests.convex_cli.command_line import ask, refused
from tests.function_api.shop import admin_key, post, shop

ENDPOINTS = {
    "get_config_hashes": "cannot push",
    "deploy2/start_push": "cannot push",
    "v1/get_canonical_urls": "cannot push",
    "update_environment_variables": "server processes",
    "export/request/zip": "flask convex backup",
    "import/start_upload": "flask convex restore",
    "run_test_function": "runs no JavaScript",
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_refused_endpoints(tmp_path: Path, endpoint: str) -> None:
    """An endpoint responds with 403 and what to do instead, and with 401 to a caller without an admin key."""
    with shop(tmp_path) as app:
        key = f"Convex {admin_key(app)}"
        for client in (app.test_client().get, app.test_client().post):
            response = client(f"/api/{endpoint}", headers={"Authorization": key})
            assert response.status_code == 403
            assert response.get_json()["code"] == "NotSupported"
            assert ENDPOINTS[endpoint] in response.get_json()["message"]
            assert client(f"/api/{endpoint}").status_code == 401


def test_refused_queries(tmp_path: Path) -> None:
    """A query fails with the sentence that the command line looks for, and what to do instead in the same line."""
    with shop(tmp_path) as app:
        for name, text in {
            "queryEnvironmentVariables": "server processes",
            "queryEnvironmentVariables:get": "server processes",
            "exports:getLatest": "flask convex backup",
            "queryImport": "flask convex restore",
            "other:name": "This deployment has no _system/cli/other:name.",
        }.items():
            error = refused(app, name)
            assert error.startswith("You do not have permission to perform this operation")
            assert text in error and "\n" not in error
        assert ask(app, "queryImport:list") == []


def test_routes_of_the_app_win(tmp_path: Path) -> None:
    """A route of the application at the same path is served."""
    http = HttpRouter("http", __name__)

    @http.post("/api/export/request/zip")
    def export() -> str:
        return "mine"

    with shop(tmp_path, http) as app:
        assert post(app, "/api/export/request/zip", {}).text == "mine"
