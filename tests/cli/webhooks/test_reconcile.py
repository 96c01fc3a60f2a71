"""`flask convex webhooks reconcile github`, against a stand-in of GitHub's API in its documented shapes."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import GitHub
from flask_convex_http.testing import deliver
from tests.cli.outcomes import Outcome
from tests.inbox.receiving import Receiver, receiving

SECRET = "the secret of the webhook"
HOOK = 12345678
Reconcile = Callable[..., Outcome]


@dataclass
class Api:
    """GitHub's REST API for one repository, acme/shop, in the documented shapes.

    Attributes:
        url: Its URL.
        recorded: The deliveries, newest first, with their payloads.
        requests: The paths that were requested.
    """

    url: str = ""
    recorded: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    page_size: int = 2

    def record(self, guid: str, event: str = "push", *, age: timedelta = timedelta(hours=1), **payload: Any) -> None:
        """Record a delivery that failed, as the newest."""
        delivery = {
            "id": 1000 + len(self.recorded),
            "guid": guid,
            "delivered_at": (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "redelivery": False,
            "duration": 0.27,
            "status": "Service unavailable",
            "status_code": 503,
            "event": event,
            "action": None,
        }
        self.recorded.insert(0, (delivery, {"ref": "refs/heads/main", **payload}))

    def respond(self, path: str) -> tuple[int, Any, str]:
        """Return the status, the JSON and the Link header for a path."""
        base = "/repos/acme/shop/hooks"
        place, _, query = path.partition("?")
        if place == base:
            return 200, [{"id": HOOK, "config": {"url": "https://shop.example/hook", "content_type": "json"}}], ""
        if place == f"{base}/{HOOK}/deliveries":
            start = int(query.partition("cursor=")[2] or 0)
            more = start + self.page_size
            link = f'<{self.url}{place}?per_page=100&cursor={more}>; rel="next"' if more < len(self.recorded) else ""
            return 200, [delivery for delivery, _ in self.recorded[start:more]], link
        for delivery, payload in self.recorded:
            if place == f"{base}/{HOOK}/deliveries/{delivery['id']}":
                headers = {
                    "X-GitHub-Delivery": delivery["guid"],
                    "X-GitHub-Event": delivery["event"],
                    "X-GitHub-Hook-ID": str(HOOK),
                    "X-Hub-Signature-256": "sha256=" + "0" * 64,
                    "content-type": "application/json",
                }
                return 200, delivery | {"request": {"headers": headers, "payload": payload}, "response": {}}, ""
        return 404, {"message": "Not Found"}, ""


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.requests.append(self.path)
            allowed = self.headers["Authorization"] == "Bearer ghp_token"
            status, content, link = api.respond(self.path) if allowed else (401, {"message": "Bad credentials"}, "")
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if link:
                self.send_header("Link", link)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("GITHUB_API_URL", api.url)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_token")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(name="receiver")
def _receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, provider=GitHub(secret=SECRET)) as receiver:
        yield receiver


@pytest.fixture(name="reconcile")
def _reconcile(receiver: Receiver) -> Reconcile:
    def run(*arguments: str, repository: str = "acme/shop") -> Outcome:
        command = ["convex", "webhooks", "reconcile", "github", "--repo", repository, *arguments]
        result = receiver.app.test_cli_runner().invoke(args=command)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    return run


def test_missing_deliveries_are_imported_in_order(api: Api, receiver: Receiver, reconcile: Reconcile) -> None:
    """Each missing delivery is processed once, oldest first, and those that have arrived are left alone."""
    arrived = deliver(receiver.app.test_client(), "/hook", "push")
    assert [response.status_code for response in arrived] == [200]
    known = receiver.delivery.event_id
    for guid in ("g-1", known, "g-2", "g-3"):
        api.record(guid)
    api.record("g-1", age=timedelta(0))  # a redelivery
    outcome = reconcile()
    assert outcome.status == 0, outcome
    assert receiver.effects == [known, "g-2", "g-3", "g-1"]
    assert {delivery.secret_label for delivery in receiver.deliveries[1:]} == {"GitHub's API"}
    assert "No deliveries are missing." in reconcile().out
    assert len(receiver.effects) == 4


def test_imported_delivery_can_be_replayed(api: Api, receiver: Receiver, reconcile: Reconcile) -> None:
    """An imported delivery verifies with the webhook's secret, so that it is replayed like any other."""
    api.record("g-1", name="Lámpara")
    assert reconcile().status == 0
    [body] = receiver.bodies
    assert json.loads(body)["name"] == "Lámpara"
    result = receiver.app.test_cli_runner().invoke(args=["convex", "webhooks", "replay", "g-1", "--yes"])
    assert result.exit_code == 0, result.output
    assert receiver.effects == ["g-1", "g-1"]


def test_dry_run_changes_nothing(api: Api, receiver: Receiver, reconcile: Reconcile) -> None:
    """With --dry-run the missing deliveries are listed, and no payload is fetched."""
    api.record("g-1")
    outcome = reconcile("--dry-run", "--json")
    [listed] = json.loads(outcome.out)
    assert (listed["id"], listed["outcome"]) == ("g-1", "missing")
    assert receiver.deliveries == []
    assert not any("/deliveries/" in path for path in api.requests)


def test_old_deliveries_are_left_alone(api: Api, receiver: Receiver, reconcile: Reconcile) -> None:
    """Deliveries before --since are not looked at, and no further page is read."""
    for hours in (30, 20, 10, 1):
        api.record(f"g-{hours}", age=timedelta(hours=hours))
    assert reconcile("--since", "2h", "--hook", str(HOOK)).status == 0
    assert receiver.effects == ["g-1"]
    assert len([path for path in api.requests if "deliveries?" in path]) == 1


def test_failed_handler_is_reported(api: Api, tmp_path: Path) -> None:
    """A delivery whose handler fails is recorded as failed, and does not stop the others."""

    def fail(ctx: Any, event: Any) -> None:
        if event.id == "g-1":
            raise ValueError("out of lamps")

    for guid in ("g-1", "g-2"):
        api.record(guid)
    with receiving(tmp_path, fail, GitHub(secret=SECRET)) as receiver:
        command = ["convex", "webhooks", "reconcile", "github", "--repo", "acme/shop"]
        result = receiver.app.test_cli_runner().invoke(args=command)
        assert (result.exit_code, receiver.states) == (1, ["failed", "done"])
    assert "ValueError: out of lamps" in result.stdout


def test_problems_are_named(
    api: Api, receiver: Receiver, reconcile: Reconcile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong repository, a wrong token or a missing one is named, and no token is shown."""
    assert "does not exist, or the token may not read" in reconcile(repository="acme/other").err
    assert "write OWNER/NAME" in reconcile(repository="../etc").err
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_wrong")
    outcome = reconcile()
    assert "GitHub does not accept the token" in outcome.err
    assert "ghp_wrong" not in outcome.err + outcome.out
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("GH_TOKEN", raising=False)
    assert "Set GITHUB_TOKEN" in reconcile().err
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_token")
    monkeypatch.setenv("GITHUB_API_URL", "http://github.example/api/v3")
    assert "must start with https://" in reconcile().err


def test_link_to_another_host_is_not_followed(api: Api, reconcile: Reconcile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a page of another host does not get the token."""
    for number in range(3):
        api.record(f"g-{number}")
    respond = api.respond

    def elsewhere(path: str) -> tuple[int, Any, str]:
        status, content, link = respond(path)
        return status, content, link.replace("127.0.0.1", "localhost")

    monkeypatch.setattr(api, "respond", elsewhere)
    assert "links to a page of another host" in reconcile().err
