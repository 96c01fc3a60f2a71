"""The handlers of the guides to webhooks work as documented, with real bodies of the senders."""

import hashlib
import hmac
import http.server
import importlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_convex_http import ConvexHTTP, Document, QueryCtx, Schema, internal_query
from flask_convex_http.testing import deliver, run_scheduled
from tests.docs.markdown import page

SENDERS = ("svix", "standard-webhooks", "github", "shopify", "slack", "hmac")
PAGES = (*(f"how-to/senders/{name}" for name in SENDERS), "how-to/webhook-secrets", "how-to/webhook-inbox")
_FILE = re.compile(r"# (\w+)\.py\n")
_SVIX = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Return the modules of the pages on senders, secrets and the inbox."""
    sources: dict[str, str] = {}
    name = ""
    for block in (block for name in PAGES for block in page(name).folders()[0] if block.language == "python"):
        found = _FILE.match(block.code)
        name = found[1] if found else name
        sources[name] = sources.get(name, "") + block.code
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        for variable in re.findall(r'from_env\("(\w+)"\)|environ\["(\w+)"\]', source):
            monkeypatch.setenv("".join(variable), _SVIX)
    for shop in ("BERLIN", "PARIS"):
        monkeypatch.setenv(f"SHOPIFY_{shop}_SECRET", f"the secret of {shop}")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        yield {name: importlib.import_module(name) for name in sources}
    finally:
        for name in sources:
            sys.modules.pop(name, None)


class Inbox:
    """An app with every sender of the pages.

    Attributes:
        client: Its test client.
    """

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._documents = _of_type(modules, lambda value: isinstance(value, type) and issubclass(value, Document))
        documents = {document.__convex_table__.name: document for document in self._documents}

        @internal_query
        def rows(ctx: QueryCtx, *, table: str) -> list[dict[str, Any]]:
            found = [msgspec.to_builtins(row) for row in ctx.db.query(documents[table])]
            return [{name: value for name, value in row.items() if not name.startswith("_")} for row in found]

        self._rows = rows
        self._convex = ConvexHTTP(schema=Schema(*self._documents), functions=[rows, *modules.values()])
        self._app = Flask(__name__)
        self._app.config.update(CONVEX_DATABASE_URL="sqlite:///:memory:", TESTING=True)
        self._convex.init_app(self._app)
        for router in _of_type(modules, lambda value: type(value).__name__ == "HttpRouter"):
            self._app.register_blueprint(router)
        self.client: FlaskClient = self._app.test_client()

    def rows(self, table: str) -> Any:
        """Return the rows of a table without their ids and times."""
        return self._convex.ctx().run_query(self._rows, table=table)

    def work(self) -> list[tuple[str, str]]:
        """Run the scheduled functions, and return their names and states."""
        return [(job.name, job.state) for job in run_scheduled(self._app)]

    def send(self, *arguments: Any, **options: Any) -> list[int]:
        """Send deliveries and return the statuses."""
        return [response.status_code for response in deliver(self.client, *arguments, **options)]


def _of_type(modules: dict[str, ModuleType], test: Any) -> list[Any]:
    """Return the values that the modules define themselves and that pass a test."""
    own = {
        id(value): value
        for module in modules.values()
        for value in vars(module).values()
        if test(value) and getattr(value, "__module__", getattr(value, "import_name", "")) != "flask_convex_http"
    }
    return [value for value in own.values() if getattr(value, "__convex_table__", True)]


@pytest.fixture
def inbox(modules: dict[str, ModuleType]) -> Iterator[Inbox]:
    """Yield an app with every sender of the pages."""
    made = Inbox(modules)
    with made.client.application.app_context():
        backend = made.client.application.extensions["convex_http"]
        backend.migrate()
        yield made
        backend.close()


def test_only_addresses_that_bounce_for_good_are_blocked(inbox: Inbox) -> None:
    """A transient bounce, and every other type of Resend, changes nothing."""
    for event in ("email.sent", "email.delivered", "email.bounced"):
        assert inbox.send("resend", event, duplicate=2) == [200, 200]
    full = {"to": ["full@example.com"], "bounce": {"type": "Transient"}}
    assert inbox.send("resend", "email.bounced", data=full) == [200]
    assert inbox.send("resend", "email.complained", data={"to": ["annoyed@example.com"]}) == [200]
    assert inbox.send("resend", "domain.created", data={"id": "d"}) == [200]
    assert [row["address"] for row in inbox.rows("blocked")] == ["nobody@example.com", "annoyed@example.com"]


def test_a_contact_may_have_no_address(inbox: Inbox) -> None:
    """A null address is stored, and other types are ignored."""
    assert inbox.send("contacts", "contact.created", data={"id": "c1", "email": None}) == [200]
    assert inbox.send("contacts", "contact.deleted", data={"id": "c1"}) == [200]
    assert inbox.rows("contacts") == [{"contact_id": "c1", "email": None}]


def test_github_sends_more_than_pushes_of_commits(inbox: Inbox) -> None:
    """A ping, other events, and the deletion of a branch leave no push; a push leaves one."""
    for event in ("ping", "issues", "pull_request", "release", "workflow_run", "issue_comment"):
        assert inbox.send("github", event) == [200]
    gone = {"deleted": True, "head_commit": None, "after": "0" * 40}
    assert inbox.send("github", "push", data=gone) == [200]
    assert inbox.send("github", "push", duplicate=2) == [200, 200]
    assert len(inbox.rows("pushes")) == 1


def test_an_order_is_paid_whichever_topic_comes_first(inbox: Inbox) -> None:
    """The topics of one order end in one row, and a late topic does not overwrite the payment."""
    same = {"id": 7, "email": None}
    assert inbox.send("shopify", "orders/paid", data={**same, "financial_status": "paid"}) == [200]
    assert inbox.send("shopify", "orders/create", data={**same, "financial_status": "pending"}) == [200]
    for topic in ("app/uninstalled", "customers/redact", "products/update"):
        assert inbox.send("shopify", topic) == [200]
    for topic, body in (("orders/delete", {"id": 7}), ("orders/edited", {"order_edit": {"id": 1, "order_id": 7}})):
        assert inbox.send("shopify", body, event_type=topic) == [200]
    assert [(row["order_id"], row["email"], row["paid"]) for row in inbox.rows("orders")] == [(7, None, True)]


def test_slack_gets_its_replies(inbox: Inbox) -> None:
    """A command gets a reply at once, a button through an action, and only messages of people are stored."""
    said = deliver(inbox.client, "slack", "slash_command", data={"text": ""})
    assert said.json == {"response_type": "ephemeral", "text": "The mill received: status"}
    for message in ({}, {"bot_id": "B1"}, {"subtype": "message_changed", "text": None}, {"user": None}):
        assert inbox.send("slack", "message", data=message) == [200]
    assert inbox.send("slack", "app_mention") == [200]
    assert inbox.send("slack", "reaction_added", data={"user": "U"}) == [200]
    assert inbox.send("slack", "message", data={"text": None}) == [200]
    assert len(inbox.rows("messages")) == 3
    assert inbox.send("slack", "block_actions", data={"response_url": None}) == [200]
    assert inbox.work() == []
    with replies() as (url, received):
        assert deliver(inbox.client, "slack", "block_actions", data={"response_url": url}).text == ""
        assert inbox.work() == [("slack_hooks:reply", "success")]
    assert received == [{"text": "Pressed: stop"}]


@contextmanager
def replies() -> Iterator[tuple[str, list[Any]]]:
    """Yield the URL of a server that stores the posted JSON, and the list of bodies."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Stay silent."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/reply", received
        server.shutdown()


def test_forms_without_answers_are_kept(inbox: Inbox) -> None:
    """A form of Typeform may be empty, and its duplicate has no effect."""
    sent = {"event_id": "e1", "event_type": "form_response", "form_response": {"form_id": "f", "answers": [1]}}
    assert inbox.send("typeform", sent, duplicate=2) == [200, 200]
    for number, form in enumerate(({"form_id": "f"}, {"form_id": "f", "answers": None})):
        empty = {"event_id": f"empty-{number}", "event_type": "form_response", "form_response": form}
        assert inbox.send("typeform", empty) == [200]
    assert [row["answers"] for row in inbox.rows("form_answers")] == [[1], [], []]


def test_zoom_validates_the_url(inbox: Inbox) -> None:
    """The response to a validation has the token and its HMAC."""
    said = deliver(inbox.client, "zoom", {"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}})
    expected = hmac.new(_SVIX.encode(), b"abc", hashlib.sha256).hexdigest()
    assert said.json == {"plainToken": "abc", "encryptedToken": expected}
    assert inbox.send("zoom", {"event": "meeting.started", "payload": {}}) == [200]


def test_time_and_signature_in_one_header(inbox: Inbox) -> None:
    """A genuine entry of the ledger is stored once, and a forgery is rejected."""
    entry = {"event_id": "1", "event_type": "entry.created", "amount": 5}
    assert inbox.send("ledger", entry, duplicate=2) == [200, 200]
    assert inbox.send("ledger", entry | {"event_id": "2"}, tamper=True) == [400]
    assert [row["amount"] for row in inbox.rows("ledger_events")] == [5]


def test_each_store_has_a_url_of_its_own(inbox: Inbox) -> None:
    """Two stores have one webhook each, with its own secret."""
    assert inbox.send("/stores/berlin/webhooks", "orders/create") == [200]
    assert inbox.send("shopify-paris", "orders/create") == [200]


def test_clerk_events_in_any_order_end_in_a_deletion(inbox: Inbox) -> None:
    """Other types insert no account, names may be null, and a late update does not restore a deleted account."""
    assert inbox.send("clerk", ["user.created", "user.updated", "user.deleted"], reorder=True) == [202, 202, 202]
    assert inbox.send("clerk", "session.created") == [202]
    assert inbox.send("clerk", "organization.created") == [202]
    membership = {"type": "organizationMembership.created", "object": "event", "data": {"id": "orgmem_1"}}
    gone = {"type": "user.deleted", "object": "event", "data": {"object": "user", "deleted": True}}
    assert inbox.send("clerk", membership, event_id="msg_m") + inbox.send("clerk", gone, event_id="msg_g") == [202] * 2
    unnamed: dict[str, Any] = {"id": "u2", "first_name": None, "last_name": None, "email_addresses": []}
    assert inbox.send("clerk", "user.created", data={**unnamed, "primary_email_address_id": None}) == [202]
    assert {state for _, state in inbox.work()} == {"success"}
    assert [(row["name"], row["email"], row["deleted"]) for row in inbox.rows("accounts")] == [
        ("", None, True),
        ("", None, False),
    ]
