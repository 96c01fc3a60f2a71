"""`flask convex codegen`: clients are written, and compared with the app."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flask_convex_http import ConvexHTTP, FunctionApi
from tests.codegen import library

FILES = ["api.d.ts", "api.js", "dataModel.d.ts"]


def app_of(folder: Path, *, function_api: bool | FunctionApi = True) -> Flask:
    """Return an app with the functions of the library."""
    app = Flask("test_app", instance_path=str(folder))
    app.config["TESTING"] = True
    ConvexHTTP(app, schema=library.schema, functions=library.functions, function_api=function_api)
    return app


def run(app: Flask, *arguments: str) -> Result:
    """Run the command."""
    return app.test_cli_runner().invoke(args=["convex", "codegen", *arguments])


def test_typescript(tmp_path: Path) -> None:
    """The files are written into a folder, and match until one of them changes or is missing."""
    app, folder = app_of(tmp_path), tmp_path / "convex" / "_generated"
    command = ("--lang", "typescript", str(folder))
    missing = run(app, *command, "--check")
    assert (missing.exit_code, f"{folder}/api.js does not exist" in missing.stdout) == (1, True)
    assert run(app, *command).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert run(app, *command, "--check").exit_code == 0
    with (folder / "api.d.ts").open("a") as file:
        file.write("// more\n")
    changed = run(app, *command, "--check")
    assert (changed.exit_code, "-// more" in changed.stdout) == (1, True)
    assert "1 file differs from the app. Run: flask convex codegen --lang typescript" in changed.stderr
    as_json = run(app, *command, "--check", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["differ"]) == (1, [str(folder / "api.d.ts")])


@pytest.mark.parametrize(("out", "file"), [("shop.py", "shop.py"), ("shop", "shop/__init__.py")])
def test_python(tmp_path: Path, out: str, file: str) -> None:
    """A client in Python is a module, or a package."""
    written = run(app_of(tmp_path), "--lang", "python", str(tmp_path / out), "--json")
    assert json.loads(written.stdout) == {"files": [str(tmp_path / file)]}
    compile((tmp_path / file).read_text(), file, "exec")
    assert run(app_of(tmp_path), "--lang", "python", str(tmp_path / out), "--check").exit_code == 0


def test_casing_of_the_app(tmp_path: Path) -> None:
    """Names are those of the app's function API."""
    app = app_of(tmp_path, function_api=FunctionApi(casing=None))
    assert run(app, "--lang", "typescript", str(tmp_path / "out")).exit_code == 0
    assert "list_books: FunctionReference" in (tmp_path / "out" / "api.d.ts").read_text()


def test_errors(tmp_path: Path) -> None:
    """An app without a function API, and files that cannot be written or read, are errors in one line."""
    without = run(app_of(tmp_path, function_api=False), "--lang", "typescript", str(tmp_path))
    assert (without.exit_code, "function_api=True" in without.stderr) == (1, True)
    (tmp_path / "file").write_text("")
    app = app_of(tmp_path)
    assert "cannot be written" in run(app, "--lang", "typescript", str(tmp_path / "file" / "out")).stderr
    (tmp_path / "latin.py").write_bytes(b"\xe9")
    assert "cannot be read" in run(app, "--lang", "python", str(tmp_path / "latin.py"), "--check").stderr
    assert run(app, "--lang", "cobol", str(tmp_path)).exit_code == 2
