"""Convex's clients for Node call three backends: a chat, a task list and a file sharing app."""

from pathlib import Path

import pytest

from tests.clients.deployments import Node, deployed, serving
from tests.databases import EACH_ENGINE
from tests.lengths import LONG

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(600)]  # the first run installs the packages


@pytest.mark.parametrize("kind", ["gunicorn", "flask"])
def test_http_client(pytestconfig: pytest.Config, tmp_path: Path, kind: str) -> None:
    """`ConvexHttpClient` of npm calls each backend as its own: results, errors, identities, pages, values and files."""
    node = Node(pytestconfig, tmp_path / "node")
    (tmp_path / "server").mkdir()
    with deployed(tmp_path / "server") as (deployment, issuer), serving(kind, deployment) as server:
        written = deployment.command("codegen", "--lang", "typescript", str(node.folder / "_generated"))
        assert written.returncode == 0, written.stderr
        tokens = {"TOKEN": issuer.token(name="Ada"), "OTHER_TOKEN": issuer.token(sub="user_2", name="Bob")}
        tokens["WRONG_TOKEN"] = issuer.token(number=1)
        for program in ("chat.mjs", "tasks.mjs", "sharing.mjs"):
            assert node.run(program, URL=server.url, **tokens) == "done\n", program
