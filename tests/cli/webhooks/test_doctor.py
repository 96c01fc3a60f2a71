"""`flask convex webhooks doctor`, on deliveries that an app has really refused."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_convex_http import ConvexHTTP, GitHub, HttpRouter, MutationCtx, Stripe, Svix, WebhookEvent, from_env
from flask_convex_http.backend import Backend
from flask_convex_http.cli.webhooks.doctor import doctor
from flask_convex_http.inbox.rejections import LONGEST_BODY
from flask_convex_http.testing import Clock
from tests.cli.conftest import Outcome
from tests.webhooks.senders import OTHER_SECRET, SECRET, sign_github, sign_stripe, sign_svix

VARIABLE = "DOCTOR_WEBHOOK_SECRET"
BODY = b'{"id": "evt_1", "type": "order.paid", "data": {"object": {"name": "hush"}}}'


def make_router() -> HttpRouter:
    """Webhooks of three providers, with handlers that do nothing."""
    router = HttpRouter("hooks", __name__)

    @router.webhook("/stripe", Stripe(secret=SECRET), source="stripe")
    def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
        pass

    @router.webhook("/connect", Stripe(secret=OTHER_SECRET))
    def on_connect(ctx: MutationCtx, event: WebhookEvent) -> None:
        pass

    @router.webhook("/clerk", Svix(secret=from_env(VARIABLE)))
    def on_clerk(ctx: MutationCtx, event: WebhookEvent) -> None:
        pass

    @router.webhook("/github", GitHub(secret=SECRET), max_body_bytes=200_000)
    def on_github(ctx: MutationCtx, event: WebhookEvent) -> None:
        pass

    return router


@dataclass(frozen=True)
class Shop:
    """The app, a client of it, and its doctor."""

    app: Flask
    clock: Clock

    @property
    def backend(self) -> Backend:
        backend: Backend = self.app.extensions["convex_http"]
        return backend

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def doctor(self, *arguments: str, stdin: bytes = b"") -> Outcome:
        """Run the command."""
        result = self.app.test_cli_runner().invoke(doctor, list(arguments), input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        for secret in (SECRET, OTHER_SECRET, "hush"):
            assert secret not in result.output
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    def refuse(self, path: str, headers: dict[str, str], body: bytes = BODY, status: int = 400) -> str:
        """Deliver what is refused; answers the request's id."""
        answer = self.client.post(path, data=body, headers=headers)
        assert answer.status_code == status
        return answer.headers["X-Request-Id"]

    def signed(self, secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
        """The headers of a delivery that Stripe makes now."""
        return sign_stripe(secret, body, int(self.clock() // 1000))


@pytest.fixture(name="shop")
def _shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.delenv(VARIABLE, raising=False)
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["TESTING"] = True
    clock = Clock()
    convex = ConvexHTTP(app, clock=clock)
    app.register_blueprint(make_router())
    with app.app_context():
        convex.migrate()
    yield Shop(app, clock)
    app.extensions["convex_http"].close()


# --- the list --------------------------------------------------------------------------------------------------------


def test_without_refusals_the_list_says_so(shop: Shop) -> None:
    """Where nothing was refused people read a sentence and programs empty lists."""
    assert "No webhook delivery was refused" in shop.doctor().out
    assert shop.doctor("--json").json == {"refusals": [], "counts": []}


def test_the_list_has_reasons_and_counts(shop: Shop) -> None:
    """Each refused delivery has its line, newest first, and each reason of a webhook its count."""
    first = shop.refuse("/stripe", shop.signed("whsec_unknown"))
    shop.refuse("/stripe", shop.signed("whsec_unknown"))
    last = shop.refuse("/github", {})
    listed = shop.doctor("--json").json
    assert [refusal["request_id"] for refusal in listed["refusals"]][::2] == [last, first]
    assert {(row["source"], row["reason"]): row["count"] for row in listed["counts"]} == {
        ("stripe", "no-match"): 2,
        ("/github", "missing-header"): 1,
    }
    out = shop.doctor().out
    assert first in out and last in out and "Missing X-Hub-Signature-256 header" in out


# --- one delivery ----------------------------------------------------------------------------------------------------


def test_a_delivery_is_found_by_its_request(shop: Shop) -> None:
    """What was refused, when, why, and what is wrong with it: here it was signed for another webhook."""
    request = shop.refuse("/stripe", shop.signed(OTHER_SECRET) | {"X-Hush": "hush"})
    shown = shop.doctor(request)
    assert shown.status == 0
    assert "no-match: Webhook signature does not match" in shown.out
    assert "other-secret: It was signed with secret 1 of /connect, not with this webhook's secret 1" in shown.out
    assert "X-Hush" in shown.out
    told = shop.doctor(request, "--json").json
    assert (told["refusal"]["source"], told["refusal"]["size"]) == ("stripe", len(BODY))
    assert told["findings"][0]["word"] == "other-secret"
    assert "body" not in told["refusal"]


def test_a_delivery_is_found_by_the_event_it_claims(shop: Shop) -> None:
    """The id in a body or a header that nobody has verified finds it, too."""
    shop.refuse("/stripe", shop.signed(), BODY + b" ")
    told = shop.doctor("evt_1", "--json").json
    assert told["findings"][0]["word"] == "altered-body"
    headers = sign_github(SECRET, BODY, 0) | {"X-GitHub-Delivery": "d-7"}
    shop.refuse("/github", headers, BODY + b"\n")
    assert shop.doctor("d-7", "--json").json["refusal"]["source"] == "/github"


def test_a_late_delivery_shows_the_clock(shop: Shop) -> None:
    """It is judged as of when it came, however long ago that is."""
    at = int(shop.clock() // 1000) - 900
    request = shop.refuse("/stripe", sign_stripe(SECRET, BODY, at))
    shop.clock.advance_to(shop.clock() + 10_000_000)
    shown = shop.doctor(request).out
    assert re.search(r"clock: Its signature matches secret 1\. It was signed 90[01] s before", shown)


def test_a_secret_that_was_not_set_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable to set; and where it is set here, that it was not where the app ran."""
    request = shop.refuse("/clerk", sign_svix(SECRET, BODY, 0), status=503)
    assert f"missing-secret: Environment variable {VARIABLE} is not set" in shop.doctor(request).out
    monkeypatch.setenv(VARIABLE, SECRET)
    assert "and here one is" in shop.doctor(request).out


def test_a_secret_that_was_pasted_with_a_line_break_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named and its value is not."""
    monkeypatch.setenv(VARIABLE, SECRET + "\n")
    headers = sign_svix(SECRET, BODY, int(shop.clock() // 1000))
    request = shop.refuse("/clerk", headers, status=503)
    assert f"pasted-secret: {VARIABLE} has spaces or a line break around it" in shop.doctor(request).out


def test_a_shell_without_the_secret_does_not_blame_the_app(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an app has refused for its signature it had a secret for: then it is this command that sees none."""
    monkeypatch.setenv(VARIABLE, SECRET)
    request = shop.refuse("/clerk", sign_svix("whsec_" + "bm9ib2R5" * 4, BODY, int(shop.clock() // 1000)))
    monkeypatch.delenv(VARIABLE)
    told = shop.doctor(request, "--json").json
    assert [finding["word"] for finding in told["findings"]] == ["unseen-secret"]
    assert f"This command does not see the secret that the app had (Environment variable {VARIABLE}" in (
        shop.doctor(request).out
    )


def test_a_delivery_that_is_too_large_says_where_the_limit_is(shop: Shop) -> None:
    """Its body is not read at all, so nothing is said of its signature."""
    request = shop.refuse("/github", sign_github(SECRET, BODY, 0), b"x" * 200_001, status=413)
    told = shop.doctor(request, "--json").json
    assert [finding["word"] for finding in told["findings"]] == ["too-large"]
    assert "Body:     not read" in shop.doctor(request).out


def test_of_a_long_body_only_the_beginning_is_there(shop: Shop) -> None:
    """That is said, with what to do, and no signature is guessed at."""
    body = b"x" * (LONGEST_BODY + 1)
    request = shop.refuse("/github", sign_github("another", body, 0), body)
    told = shop.doctor(request, "--json").json
    assert [finding["word"] for finding in told["findings"]] == ["cut-body"]


def test_a_webhook_that_was_renamed_is_not_known_any_more(shop: Shop) -> None:
    """What a former version of the app has refused is shown, without its secrets to try."""
    shop.backend.refusals.add(
        source="old", path="/old", reason="no-match", message="m", headers={}, body=b"", request_id="r1"
    )
    assert "unknown-webhook" in shop.doctor("r1").out


def test_a_refused_delivery_controls_no_terminal(shop: Shop) -> None:
    """What a sender has put into names and ids is shown, not obeyed."""
    shop.backend.refusals.add(
        source="stripe", path="/", reason="no-match", message="m\x1b[2J", headers={"X-\x1b[1m": ""}, body=b"",
        request_id="r1", event_id="a\nb\x1b[0m",
    )  # fmt: skip
    for outcome in (shop.doctor("r1"), shop.doctor()):
        assert "\x1b" not in outcome.out


# --- what was not refused --------------------------------------------------------------------------------------------


def test_a_delivery_that_was_received_says_so(shop: Shop) -> None:
    """An event in the inbox has its state, by its own id and by that of its request."""
    answer = shop.client.post("/stripe", data=BODY, headers=shop.signed())
    assert answer.status_code == 200
    for id in ("evt_1", answer.headers["X-Request-Id"]):
        assert "State:    done" in shop.doctor(id).out
        told = shop.doctor(id, "--json").json["delivery"]
        assert (told["source"], told["event_id"], told["state"]) == ("stripe", "evt_1", "done")


@pytest.mark.parametrize("id", ["evt_9", "", "\x1b[2J", "\udcff", "%", "_webhooks_" + "0" * 32])
def test_an_unknown_id_fails(shop: Shop, id: str) -> None:
    """What is neither refused nor received ends with status 1, whatever the id looks like."""
    shop.refuse("/stripe", {}, b"no event")
    shop.backend.refusals.add(
        source="old", path="/", reason="no-match", message="m", headers={}, body=b"", request_id="r1"
    )
    outcome = shop.doctor(id)
    assert (outcome.status, outcome.exception) == (1, None)
    assert "refused lately or received" in outcome.err and "\x1b" not in outcome.err


# --- a delivery from the sender's page -------------------------------------------------------------------------------


def copied(folder: Path, headers: str | dict[str, Any], body: bytes = BODY) -> list[str]:
    """The options that give a delivery in two files."""
    text = headers if isinstance(headers, str) else json.dumps(headers)
    (folder / "headers").write_text(text)
    (folder / "body").write_bytes(body)
    return ["--headers", str(folder / "headers"), "--body", str(folder / "body")]


def test_a_copied_delivery_is_looked_at_as_of_its_own_time(shop: Shop, tmp_path: Path) -> None:
    """An old one that is genuine verifies, given as JSON, as lines, or as curl shows them."""
    headers = sign_stripe(SECRET, BODY, 1_700_000_000)
    lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
    curl = "> POST /stripe HTTP/1.1\r\n" + "".join(f"> {name}: {value}\r\n" for name, value in headers.items())
    for written in (headers, {name: [value] for name, value in headers.items()}, lines, curl):
        outcome = shop.doctor("--source", "stripe", *copied(tmp_path, written))
        assert outcome.status == 0
        assert outcome.out.startswith("verifies: It verifies here and now, with secret 1")
        assert "2023-11-14 22:13:20Z" in outcome.err


def test_a_copied_delivery_is_diagnosed(shop: Shop, tmp_path: Path) -> None:
    """What is wrong with it is what is printed; a body may come from stdin."""
    headers = copied(tmp_path, sign_github(SECRET, BODY, 0))[:2]
    outcome = shop.doctor("--source", "github", *headers, "--body", "-", "--json", stdin=BODY + b"\n")
    assert outcome.json["source"] == "/github"
    assert outcome.json["findings"][0]["word"] == "altered-body"


@pytest.mark.parametrize("headers", ["", "{", "[]", "no colon", '{"a": {"b": 1}', "{" * 10_000])
def test_headers_that_are_none_are_wrong_usage(shop: Shop, tmp_path: Path, headers: str) -> None:
    """A file with something else says what it must hold."""
    outcome = shop.doctor("--source", "stripe", *copied(tmp_path, headers))
    assert (outcome.status, "--headers" in outcome.err) == (2, True)


@pytest.mark.parametrize("arguments", [["r1", "--source", "stripe"], ["--source", "stripe"], ["--source", ""]])
def test_options_that_do_not_go_together_are_wrong_usage(shop: Shop, arguments: list[str]) -> None:
    """An ID and a copied delivery are two things, and the latter has three parts."""
    assert shop.doctor(*arguments).status == 2


def test_the_webhook_must_be_one(shop: Shop, tmp_path: Path) -> None:
    """A name that two have, or none, lists those there are."""
    files = copied(tmp_path, {})
    for name in ("stripe-2", "svix", "stripe"):
        outcome = shop.doctor("--source", name, *files)
        assert outcome.status == (2 if name == "stripe-2" else 0)
    assert "/clerk, /connect, /github, stripe" in shop.doctor("--source", "x", *files).err
