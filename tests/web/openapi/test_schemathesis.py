"""The example app behaves as its document says, in tests that schemathesis generates."""

import subprocess
from pathlib import Path

import pytest

from tests.databases import EACH_ENGINE
from tests.environments import commands_of
from tests.lengths import LONG
from tests.processes.servers import Deployment, serving

pytestmark = EACH_ENGINE

_PACKAGE = "schemathesis==4.32.5"


def credentials(deployment: Deployment) -> dict[str, str]:
    """Create an API key and a token, and return the headers with them."""
    key = deployment.command_json("keys", "create", "--name", "schemathesis")["key"]
    token = deployment.command_json("tokens", "create", "--subject", "user_1")["token"]
    return {"X-API-Key": key, "Authorization": f"Bearer {token}"}


@LONG
@pytest.mark.timeout(600)  # the first run installs schemathesis
@pytest.mark.parametrize("has_credentials", [False, True])
def test_all_checks(pytestconfig: pytest.Config, tmp_path: Path, has_credentials: bool) -> None:
    """All checks of schemathesis pass, for clients with and without credentials."""
    commands = commands_of(pytestconfig, _PACKAGE)
    deployment = Deployment(tmp_path)
    deployment.migrate()
    headers = credentials(deployment) if has_credentials else {}
    sent = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    with serving("gunicorn", deployment) as server:
        statuses = {server.request("GET", path, headers=headers).status for path in ("/api/protected", "/api/user")}
        assert statuses == {200 if has_credentials else 401}
        done = subprocess.run(
            [
                *(str(commands / "st"), "run", f"{server.url}/openapi.json", "--checks", "all", *sent),
                *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "15", "--no-color"),
            ],
            cwd=tmp_path,  # it writes a folder
            env=deployment.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
