"""The document of the example app is valid, and generators of clients accept it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from example_app import create_app
from tests.environments import commands_of, node_commands_of
from tests.lengths import LONG


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The document of the example app."""
    monkeypatch.setenv("FLASK_CONVEX_DATABASE_URL", f"sqlite:///{tmp_path}/app.db")
    app = create_app()
    app.testing = True
    found: dict[str, Any] | None = app.test_client().get("/openapi.json").json
    assert found is not None
    return found


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    """Each reference in the document leads to a component, and each operation has an id of its own."""
    for reference in {value for key, value in pairs(document) if key == "$ref"}:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    ids = [value for key, value in pairs(document) if key == "operationId"]
    assert len(ids) == len(set(ids)) > 10


def pairs(value: Any) -> list[tuple[str, Any]]:
    """Return the keys and values of an object and of all objects in it."""
    if isinstance(value, list):
        return [pair for part in value for pair in pairs(part)]
    if not isinstance(value, dict):
        return []
    return [*value.items(), *(pair for part in value.values() for pair in pairs(part))]


@LONG
def test_schema_of_openapi(document: dict[str, Any]) -> None:
    """The document is valid against the schema of OpenAPI 3.1."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(document).validate()


@LONG
@pytest.mark.timeout(600)  # the first run installs the packages
def test_typescript(pytestconfig: pytest.Config, tmp_path: Path, document: dict[str, Any]) -> None:
    """openapi-typescript makes types of the document that TypeScript accepts."""
    commands = node_commands_of(pytestconfig, "openapi-typescript@7.10.1", "typescript@5.9.3")
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    run(str(commands / "openapi-typescript"), "openapi.json", "-o", "client.d.ts", folder=tmp_path)
    run(str(commands / "tsc"), "--noEmit", "--strict", "client.d.ts", folder=tmp_path)
    assert "create_item" in (tmp_path / "client.d.ts").read_text()


@LONG
@pytest.mark.timeout(600)  # the first run installs the package
def test_pydantic(pytestconfig: pytest.Config, tmp_path: Path, document: dict[str, Any]) -> None:
    """datamodel-code-generator makes models of the document that Python can import."""
    commands = commands_of(pytestconfig, "datamodel-code-generator==0.89.0")
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    run(
        *(str(commands / "datamodel-codegen"), "--input", "openapi.json", "--input-file-type", "openapi"),
        *("--output-model-type", "pydantic_v2.BaseModel", "--output", "models.py"),
        folder=tmp_path,
    )
    run(str(commands / "python"), "-c", "import models; models.NewItem(name='Lamp')", folder=tmp_path)


def run(*command: str, folder: Path) -> None:
    """Run a program that must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
