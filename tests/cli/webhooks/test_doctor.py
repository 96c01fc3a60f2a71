"""`flask convex webhooks doctor`, on deliveries that an app has rejected."""

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
from tests.inbox.rejected import rejection
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

    def reject(self, path: str, headers: dict[str, str], body: bytes = BODY, status: int = 400) -> str:
        """Send a delivery that is rejected, and return the request id."""
        response = self.client.post(path, data=body, headers=headers)
        assert response.status_code == status
        return response.headers["X-Request-Id"]

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


def test_an_empty_list_is_a_sentence(shop: Shop) -> None:
    """If nothing was rejected a sentence is printed, or empty lists as JSON."""
    assert shop.doctor().out == "No webhook delivery was rejected recently.\n"
    assert shop.doctor("--json").json == {"refusals": [], "counts": []}


def test_the_list_has_reasons_and_counts(shop: Shop) -> None:
    """Each rejected delivery has a line, newest first, and each reason of a webhook has a count."""
    first = shop.reject("/stripe", shop.signed("whsec_unknown"))
    shop.reject("/stripe", shop.signed("whsec_unknown"))
    last = shop.reject("/github", {})
    listed = shop.doctor("--json").json
    assert [rejection["request_id"] for rejection in listed["refusals"]][::2] == [last, first]
    assert {(row["source"], row["reason"]): row["count"] for row in listed["counts"]} == {
        ("stripe", "no-match"): 2,
        ("/github", "missing-header"): 1,
    }
    out = shop.doctor().out
    assert first in out and last in out and "Missing X-Hub-Signature-256 header" in out


def test_json_has_the_claimed_event_and_no_content(shop: Shop) -> None:
    """As JSON a rejected delivery has the id and type that it claims, the names of its headers and no body."""
    shop.reject("/stripe", shop.signed("whsec_unknown"))
    [rejection] = shop.doctor("--json").json["refusals"]
    assert (rejection["event_id"], rejection["event_type"]) == ("evt_1", "order.paid")
    assert "Stripe-Signature" in rejection["headers"]
    assert rejection.keys() == {
        *("request_id", "received_at", "source", "path", "reason", "message"),
        *("event_id", "event_type", "size", "others", "headers"),
    }


# --- one delivery ----------------------------------------------------------------------------------------------------


def test_a_delivery_is_found_by_its_request_id(shop: Shop) -> None:
    """The report has the time, the reason and the findings: here it was signed for another webhook."""
    request_id = shop.reject("/stripe", shop.signed(OTHER_SECRET) | {"X-Hush": "hush"})
    shown = shop.doctor(request_id)
    assert shown.status == 0
    assert "no-match: Webhook signature does not match" in shown.out
    assert "other-secret: It was signed with secret 1 of /connect, not with secret 1 of this webhook" in shown.out
    assert "X-Hush" in shown.out and "order.paid evt_1" in shown.out
    report = shop.doctor(request_id, "--json").json
    assert (report["refusal"]["source"], report["refusal"]["size"]) == ("stripe", len(BODY))
    assert report["findings"][0]["word"] == "other-secret"
    assert "body" not in report["refusal"]


def test_a_delivery_is_found_by_the_event_id_it_claims(shop: Shop) -> None:
    """The event id in the unverified body or header finds the delivery too."""
    shop.reject("/stripe", shop.signed(), BODY + b" ")
    assert shop.doctor("evt_1", "--json").json["findings"][0]["word"] == "altered-body"
    headers = sign_github(SECRET, BODY, 0) | {"X-GitHub-Delivery": "d-7"}
    shop.reject("/github", headers, BODY + b"\n")
    assert shop.doctor("d-7", "--json").json["refusal"]["source"] == "/github"


def test_a_late_delivery_shows_the_clock(shop: Shop) -> None:
    """A delivery is diagnosed as of the time it was received, however long ago that is."""
    at = int(shop.clock() // 1000) - 900
    request_id = shop.reject("/stripe", sign_stripe(SECRET, BODY, at))
    shop.clock.advance_to(shop.clock() + 10_000_000)
    assert re.search(r"clock: It was signed 90[01] s before", shop.doctor(request_id).out)


def test_an_unset_secret_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that was not set where the app ran is named, even if it is set for the command."""
    request_id = shop.reject("/clerk", sign_svix(SECRET, BODY, 0), status=503)
    assert f"missing-secret: Environment variable {VARIABLE} is not set" in shop.doctor(request_id).out
    monkeypatch.setenv(VARIABLE, SECRET)
    assert f"missing-secret: Environment variable {VARIABLE} is not set" in shop.doctor(request_id).out


def test_a_secret_in_quotes_is_recognised(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and its value is not shown."""
    monkeypatch.setenv(VARIABLE, f'"{SECRET}"')
    headers = sign_svix(SECRET, BODY, int(shop.clock() // 1000))
    request_id = shop.reject("/clerk", headers, status=503)
    assert f"pasted-secret: {VARIABLE} has quotes around it" in shop.doctor(request_id).out


def test_a_shell_without_the_secret_does_not_blame_the_app(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app had a secret if it checked the signature, so a missing one is the command's."""
    monkeypatch.setenv(VARIABLE, SECRET)
    request_id = shop.reject("/clerk", sign_svix("whsec_" + "bm9ib2R5" * 4, BODY, int(shop.clock() // 1000)))
    monkeypatch.delenv(VARIABLE)
    report = shop.doctor(request_id, "--json").json
    assert [finding["word"] for finding in report["findings"]] == ["unseen-secret"]
    assert f"This command does not see the app's secret (Environment variable {VARIABLE}" in shop.doctor(request_id).out


def test_a_body_that_is_too_large_names_the_limit(shop: Shop) -> None:
    """The body is not read, so the finding is about the limit and not about the signature."""
    request_id = shop.reject("/github", sign_github(SECRET, BODY, 0), b"x" * 200_001, status=413)
    report = shop.doctor(request_id, "--json").json
    assert [finding["word"] for finding in report["findings"]] == ["too-large"]
    assert "Body:     not read" in shop.doctor(request_id).out


def test_the_signature_of_a_cut_body_is_not_checked(shop: Shop) -> None:
    """Of a long body only the beginning is kept, and the finding says how to give the whole delivery."""
    body = b"x" * (LONGEST_BODY + 1)
    request_id = shop.reject("/github", sign_github("another", body, 0), body)
    report = shop.doctor(request_id, "--json").json
    assert [finding["word"] for finding in report["findings"]] == ["cut-body"]


def test_a_webhook_that_was_renamed_is_unknown(shop: Shop) -> None:
    """A delivery that a former version of the app rejected is shown, but its signature is not checked."""
    shop.backend.rejections.add(rejection("r1", source="old"))
    assert "unknown-webhook" in shop.doctor("r1").out


def test_a_rejected_delivery_cannot_control_the_terminal(shop: Shop) -> None:
    """Control characters in names and ids are printed escaped."""
    shop.backend.rejections.add(rejection("r1", message="m\x1b[2J", headers={"X-\x1b[1m": ""}))
    for outcome in (shop.doctor("r1"), shop.doctor()):
        assert "\x1b" not in outcome.out


# --- accepted deliveries ---------------------------------------------------------------------------------------------


def test_an_accepted_delivery_is_reported_as_accepted(shop: Shop) -> None:
    """A delivery in the inbox is found by its event id and by its request id."""
    response = shop.client.post("/stripe", data=BODY, headers=shop.signed())
    assert response.status_code == 200
    for id in ("evt_1", response.headers["X-Request-Id"]):
        shown = shop.doctor(id).out
        assert "It was not rejected: stripe received it at " in shown and "it is done" in shown
        delivery = shop.doctor(id, "--json").json["delivery"]
        assert (delivery["source"], delivery["event_id"], delivery["state"]) == ("stripe", "evt_1", "done")


@pytest.mark.parametrize("id", ["evt_9", "", "\x1b[2J", "\udcff", "%", "_webhooks_" + "0" * 32])
def test_an_unknown_id_fails(shop: Shop, id: str) -> None:
    """An id that was neither rejected nor received ends with status 1, whatever it contains."""
    shop.reject("/stripe", {}, b"no event")
    shop.backend.rejections.add(rejection("r1", source="old"))
    outcome = shop.doctor(id)
    assert (outcome.status, outcome.exception) == (1, None)
    assert "was rejected recently or received" in outcome.err and "\x1b" not in outcome.err


# --- a delivery from the sender's page -------------------------------------------------------------------------------


def copied(folder: Path, headers: str | dict[str, Any], body: bytes = BODY) -> list[str]:
    """Return the options that give a delivery in two files."""
    text = headers if isinstance(headers, str) else json.dumps(headers)
    (folder / "headers").write_text(text)
    (folder / "body").write_bytes(body)
    return ["--headers", str(folder / "headers"), "--body", str(folder / "body")]


def test_a_copied_delivery_is_diagnosed_as_of_its_own_time(shop: Shop, tmp_path: Path) -> None:
    """An old genuine delivery verifies, with its headers as JSON, as lines, or as `curl -v` prints them."""
    headers = sign_stripe(SECRET, BODY, 1_700_000_000)
    lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
    curl = "> POST /stripe HTTP/1.1\r\n" + "".join(f"> {name}: {value}\r\n" for name, value in headers.items())
    for written in (headers, {name: [value] for name, value in headers.items()}, lines, curl):
        outcome = shop.doctor("--source", "stripe", *copied(tmp_path, written))
        assert outcome.status == 0
        assert outcome.out.startswith("verifies: The signature matches secret 1")
        assert "2023-11-14 22:13:20Z" in outcome.err


def test_the_body_of_a_copied_delivery_may_come_from_stdin(shop: Shop, tmp_path: Path) -> None:
    """With `--body -` the body is read from stdin, byte for byte."""
    headers = copied(tmp_path, sign_github(SECRET, BODY, 0))[:2]
    outcome = shop.doctor("--source", "github", *headers, "--body", "-", "--json", stdin=BODY + b"\n")
    assert outcome.json["source"] == "/github"
    assert outcome.json["findings"][0]["word"] == "altered-body"


@pytest.mark.parametrize("headers", ["", "{", "[]", "no colon", '{"a": {"b": 1}', "{" * 10_000])
def test_a_file_without_headers_is_a_usage_error(shop: Shop, tmp_path: Path, headers: str) -> None:
    """If --headers holds something else, the error says what it must hold."""
    outcome = shop.doctor("--source", "stripe", *copied(tmp_path, headers))
    assert (outcome.status, "--headers" in outcome.err) == (2, True)


@pytest.mark.parametrize("arguments", [["r1", "--source", "stripe"], ["--source", "stripe"], ["--source", ""]])
def test_incomplete_options_are_a_usage_error(shop: Shop, arguments: list[str]) -> None:
    """An ID excludes the other options, and those only work together."""
    assert shop.doctor(*arguments).status == 2


def test_an_unknown_source_lists_the_known_ones(shop: Shop, tmp_path: Path) -> None:
    """A name that no webhook has is an error that lists the webhooks."""
    files = copied(tmp_path, {})
    assert [shop.doctor("--source", name, *files).status for name in ("svix", "stripe", "/stripe", "clerk")] == [0] * 4
    unknown = shop.doctor("--source", "x", *files)
    assert unknown.status == 2
    assert "/clerk (svix), /connect (stripe), /github (github), stripe (stripe)" in unknown.err
