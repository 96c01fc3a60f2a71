"""`flask convex openapi`: the document on stdout, in a file, and compared with a file."""

import json
from pathlib import Path

from click.testing import Result
from flask import Flask

from flask_convex_http import ConvexHTTP, HttpRouter, OpenAPI


def app_of(folder: Path, path: str = "/lamps", *, openapi: bool | OpenAPI = False) -> Flask:
    """Return an app with one route."""
    app = Flask("test_app", instance_path=str(folder))
    app.config["TESTING"] = True
    ConvexHTTP(app, openapi=openapi)
    router = HttpRouter("shop", __name__)

    @router.get(path)
    def lamps() -> dict[str, int]:
        return {}

    app.register_blueprint(router)
    return app


def run(app: Flask, *arguments: str) -> Result:
    """Run the command."""
    return app.test_cli_runner().invoke(args=["convex", "openapi", *arguments])


def test_print(tmp_path: Path) -> None:
    """The document is printed with the options of the app, and also without them."""
    plain = run(app_of(tmp_path))
    assert (plain.exit_code, list(json.loads(plain.stdout)["paths"])) == (0, ["/lamps"])
    titled = run(app_of(tmp_path, openapi=OpenAPI(title="Shop")))
    assert json.loads(titled.stdout)["info"]["title"] == "Shop"


def test_write_and_check(tmp_path: Path) -> None:
    """A written file matches until a route changes. Then the difference is printed, and the status is 1."""
    file = tmp_path / "openapi.json"
    assert run(app_of(tmp_path), "--out", str(file)).exit_code == 0
    assert run(app_of(tmp_path), "--check", str(file)).exit_code == 0
    file.write_text(json.dumps(json.loads(file.read_text())))
    assert run(app_of(tmp_path), "--check", str(file)).exit_code == 0
    changed = run(app_of(tmp_path, "/desks"), "--check", str(file))
    assert changed.exit_code == 1
    assert '-    "/lamps": {' in changed.stdout
    assert '+    "/desks": {' in changed.stdout
    assert "--out" in changed.stderr
    as_json = run(app_of(tmp_path, "/desks"), "--check", str(file), "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, {"file": str(file), "matches": False})


def test_wrong_files(tmp_path: Path) -> None:
    """A file that is no JSON, that does not exist, or in a folder that does not exist is an error in one line."""
    file = tmp_path / "wrong.json"
    file.write_text("{")
    app = app_of(tmp_path)
    assert "not JSON" in run(app, "--check", str(file)).stderr
    assert run(app, "--check", str(tmp_path / "none")).exit_code == 1
    assert run(app, "--out", str(tmp_path / "none" / "x.json")).exit_code == 1
    assert run(app, "--out", "a", "--check", str(file)).exit_code == 2
