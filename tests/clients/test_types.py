"""Type checkers find the wrong lines in code of clients, and no others."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.app import create_app
from tests.clients.deployments import NODE, Node
from tests.lengths import LONG

pytestmark = [LONG, pytest.mark.timeout(600)]  # the first run installs the packages

#: The line of an error, and its message, which may have several lines.
_ERRORS = re.compile(r"^client_code\.ts\((\d+),\d+\): error (TS\d+: .*(?:\n .*)*)", re.MULTILINE)
_MARK = re.compile(r"// @ts-expect-error: (.*)")


@pytest.fixture(name="app_client")
def _app_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with clients of the app in both languages."""
    monkeypatch.setenv("FLASK_CONVEX_DATABASE_URL", f"sqlite:///{tmp_path}/app.db")
    runner = create_app().test_cli_runner()
    for language, out in (("typescript", "client/_generated"), ("python", "client/app_client.py")):
        done = runner.invoke(args=["convex", "codegen", "--lang", language, str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    return tmp_path / "client"


def test_typescript(pytestconfig: pytest.Config, app_client: Path) -> None:
    """`tsc --strict` reports each line that is marked as wrong, with the message of its mark, and no other line."""
    node = Node(pytestconfig, app_client)
    source = (NODE / "client_code.ts").read_text()
    marks = {
        number + 1: found[1] for number, line in enumerate(source.splitlines(), 1) if (found := _MARK.search(line))
    }
    (app_client / "client_code.ts").write_text(source.replace("@ts-expect-error", "expected"))
    output = node.command("tsc", "-p", ".", fails=True)
    errors = {int(number): text for number, text in _ERRORS.findall(output)}
    unmarked = [f"client_code.ts:{number}: {errors[number]}" for number in errors.keys() - marks.keys()]
    missing = [
        f"client_code.ts:{number}: {mark}, not {errors.get(number)}"
        for number, mark in marks.items()
        if mark not in errors.get(number, "")
    ]
    assert not unmarked + missing, "\n".join(sorted(unmarked + missing))
    assert "_generated" not in output, output


USER_CODE = """
from app_client import UNSET, ChannelId, Client, Message, Page, Task, Text

client = Client("https://chat.example", token="abc")
channels = client.chat.list_channels()
found: Page[Message] = client.chat.list_messages(channel_id=channels[0].id, num_items=5)
task: Task | None = client.tasks.get(task_id=client.tasks.create(title="Write", estimated_hours=1))
client.chat.send(channel_id=ChannelId("channels_1"), content=Text(body="Hello"))
client.tasks.list_tasks(state=UNSET, limit=3)
client.chat.list_messages(channel_id="channels_1")  # E: incompatible type "str"; expected "ChannelId"
client.tasks.get(task_id=channels[0].id)  # E: incompatible type "ChannelId"; expected "TaskId"
client.tasks.list_tasks(state="later")  # E: incompatible type "Literal['later']"
client.tasks.create(titel="Write")  # E: Unexpected keyword argument "titel"
client.tasks.create()  # E: Missing named argument "title"
client.chat.announce  # E: has no attribute "announce"
task.title  # E: Item "None" of "Task | None" has no attribute "title"
channels[0].id = ChannelId("")  # E: is read-only
"""


def test_python(app_client: Path) -> None:
    """`mypy --strict` accepts a client in Python, and reports each wrong line of code that uses it."""
    (app_client / "user_code.py").write_text(USER_CODE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--no-pretty"]
    command += ["--python-version=3.11", "--cache-dir=cache", "user_code.py", "app_client.py"]
    done = subprocess.run(command, cwd=app_client, capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^(\S+\.py:\d+): error: (.*)$", done.stdout, re.MULTILINE))
    for number, line in enumerate(USER_CODE.splitlines(), 1):
        message = found.pop(f"user_code.py:{number}", "")
        expected = line.partition("# E: ")[2]
        assert bool(message) == bool(expected) and expected in message, f"line {number}: {message}\n{done.stdout}"
    assert not found, done.stdout
