"""`flask convex webhooks send`: signed deliveries over HTTP to a running app, and the verdict on its responses."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

from flask_convex_http import from_env
from flask_convex_http.cli import convex_commands
from flask_convex_http.cli.webhooks.send import send
from flask_convex_http.webhooks.samples import SENDERS
from flask_convex_http.webhooks.samples.events import event_types
from tests.cli.conftest import Outcome
from tests.receivers import cleared, done, receiving
from tests.web.apps import backend_of

Send = Callable[..., Outcome]


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The receiving app. Tests share it, because creating an app and its database takes longer than most of them."""
    with receiving(tmp_path_factory.mktemp("receiver")) as app:
        yield app


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """The receiving app without any effects."""
    return cleared(shared_app)


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve an app and yield its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def base(app: Flask) -> Iterator[str]:
    """The URL of the receiving app."""
    with serving(app) as base:
        yield base


def command(app: Flask) -> Send:
    """Return a function that runs `send` for an app, in a group that reports errors as `flask convex` does."""
    group = type(convex_commands)("convex")
    group.add_command(send)

    def run(*arguments: str) -> Outcome:
        result = app.test_cli_runner().invoke(group, ["send", *arguments])
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    return run


@pytest.fixture
def run(app: Flask) -> Send:
    """The command, run with the receiving app."""
    return command(app)


def attempts(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the attempts that the command printed as JSON."""
    found: list[dict[str, Any]] = outcome.json
    return found


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("stripe", "checkout.session.completed"),
        ("clerk", "user.created"),
        ("/hooks/mail", "email.sent"),
        ("github", "push"),
        ("shopify", "orders/paid"),
        ("slack", "block_actions"),
        ("standard", "contact.created"),
        ("hmac", "order.paid"),
    ],
)
def test_a_delivery_is_sent(run: Send, base: str, app: Flask, name: str, type: str) -> None:
    """The app accepts a delivery of every sender. Status, time and the first line of the response are printed."""
    outcome = run(name, type, "--url", base)
    assert (outcome.status, outcome.err) == (0, "")
    heading, row = outcome.out.splitlines()
    assert heading.split() == ["TYPE", "ID", "STATUS", "TIME", "RESPONSE", "MEANING"]
    assert " 200 " in row
    assert " ms " in row
    assert f"{type} done" in row
    assert "accepted, as expected: genuine" in row
    assert [kind for _, kind in done(app)] == [type]


def test_concurrent_duplicates_run_once(run: Send, base: str, app: Flask) -> None:
    """Duplicates sent at the same moment get the same response, and one of them has the effect."""
    outcome = run("stripe", "invoice.paid", "--duplicate", "8", "--url", base, "--json")
    sent = attempts(outcome)
    assert outcome.status == 0
    assert [each["status"] for each in sent] == [200] * 8
    meanings = [each["meaning"] for each in sent]
    assert meanings == ["accepted, as expected: genuine", *["duplicate: the same response"] * 7]
    assert len({(each["id"], each["answer"]) for each in sent}) == 1
    assert len(done(app)) == 1


def test_another_response_to_a_duplicate_is_a_failure(tmp_path: Path) -> None:
    """If duplicates get different responses the exit status is 1, because the handler may have run twice."""
    numbers = count()
    with receiving(tmp_path) as careless:
        careless.view_functions["hooks.github"] = lambda: Response(f"order {next(numbers)}")
        with serving(careless) as base:
            outcome = command(careless)("github", "push", "--duplicate", "3", "--url", base)
    assert outcome.status == 1
    assert outcome.out.count("duplicate: ANOTHER RESPONSE") == 2
    assert "2 of 3 responses" in outcome.err


@pytest.mark.parametrize("fault", [["--tamper"], ["--old-secret"], ["--late", "2h"]])
def test_a_rejected_forgery_is_as_expected(run: Send, base: str, app: Flask, fault: list[str]) -> None:
    """If the app rejects a forgery the exit status is 0, the reason is printed and no handler has run."""
    outcome = run("clerk", "user.created", *fault, "--url", base)
    assert outcome.status == 0
    assert " 400 " in outcome.out
    assert "rejected, as expected: " in outcome.out
    assert done(app) == []


def test_the_last_secret_is_accepted(run: Send, base: str) -> None:
    """A delivery signed with the last of several secrets is genuine."""
    (sent,) = attempts(run("stripe", "invoice.paid", "--old-secret", "--url", base, "--json"))
    assert (sent["expected"], sent["status"], sent["as_expected"]) == ("accepted", 200, True)


def test_a_replay_under_a_fresh_id(run: Send, base: str, app: Flask) -> None:
    """The replay follows the original. Without a signed id it is another delivery, otherwise 400."""
    first, replay = attempts(run("github", "push", "--fresh-id", "--url", base, "--json"))
    assert first["id"] != replay["id"]
    assert (first["status"], replay["status"], first["answer"]) == (200, 200, replay["answer"])
    assert 'only dedupe="content" recognises it' in replay["meaning"]
    assert len(done(app)) == 2
    assert [each["status"] for each in attempts(run("slack", "message", "--fresh-id", "--url", base, "--json"))] == [
        200,
        400,
    ]


def test_events_are_sent_in_another_order(run: Send, base: str, app: Flask) -> None:
    """Several events are sent in the given order, or shuffled with a seed."""
    types = ["user.created", "user.updated", "user.deleted"]
    assert run("clerk", *types, "--url", base).status == 0
    assert run("clerk", *types, "--reorder", "--seed", "1", "--url", base).status == 0
    arrived = [kind for _, kind in done(app)]
    assert arrived[:3] == types
    assert arrived[3:] != types
    assert sorted(arrived[3:]) == sorted(types)


def test_data_changes_the_event(run: Send, base: str, app: Flask) -> None:
    """With --data the type may be any, and the app receives the data."""
    assert run("hmac", "lamp.lit", "--data", '{"id": "evt_7"}', "--url", base).status == 0
    assert done(app) == [("evt_7", "lamp.lit")]


def test_a_forgery_that_is_accepted_is_a_failure(tmp_path: Path) -> None:
    """If the app accepts a forgery the exit status is 1, and the table says so in capitals."""
    with receiving(tmp_path) as careless:
        careless.view_functions["hooks.github"] = lambda: Response("OK")
        with serving(careless) as base:
            outcome = command(careless)("github", "push", "--tamper", "--url", base)
    assert outcome.status == 1
    assert "ACCEPTED, and it should be rejected" in outcome.out
    assert "1 of 1 response from" in outcome.err and "is not as expected" in outcome.err


def test_a_genuine_delivery_that_fails_is_a_failure(run: Send, base: str, app: Flask) -> None:
    """If the handler fails for a genuine delivery the exit status is 1, and a command says where the error is."""
    outcome = run("hmac", "order.paid", "--data", '{"fail": true}', "--url", base)
    assert outcome.status == 1
    [shown] = re.findall(r"`flask convex (webhooks show \S+)` has the error", outcome.err)
    assert "error" in app.test_cli_runner().invoke(args=["convex", *shown.split()]).stdout
    assert " 500 " in outcome.out
    assert "the sender would retry" in outcome.out
    assert done(app) == []


def test_a_rejected_genuine_delivery_is_a_failure(tmp_path: Path, run: Send) -> None:
    """If the app rejects a genuine delivery the error names the `doctor` command that explains why."""
    with receiving(tmp_path / "other") as other:
        backend_of(other).webhooks.find("github")[0].provider._secrets = ("another one",)
        with serving(other) as base:
            outcome = run("github", "push", "--url", base)
    assert outcome.status == 1
    assert "REJECTED, and it is genuine: see the response" in outcome.out
    (rejection,) = backend_of(other).rejections.recent()
    assert f"`flask convex webhooks doctor {rejection.request_id}` explains why" in outcome.err


def test_an_app_without_a_secret_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error in the response is printed, and the JSON output has the request id."""
    monkeypatch.delenv("SEND_WEBHOOK_SECRET", raising=False)
    with receiving(tmp_path / "app") as app, receiving(tmp_path / "bare") as bare:
        backend_of(bare).webhooks.find("github")[0].provider._secrets = (from_env("SEND_WEBHOOK_SECRET"),)
        with serving(bare) as base:
            outcome = command(app)("github", "push", "--url", base)
            (sent,) = attempts(command(app)("github", "push", "--url", base, "--json"))
        last, _ = backend_of(bare).rejections.recent()
    assert " The signing secret is not set  " in outcome.out
    assert "the app cannot accept it now" in outcome.out
    assert (sent["status"], sent["request_id"]) == (503, last.request_id)


def test_the_reason_of_a_rejection_is_printed(run: Send, base: str) -> None:
    """The response to a rejected delivery is printed, such as an error about a malformed header."""
    outcome = run("github", "\u00e9", "--data", "{}", "--url", base)
    assert outcome.status == 1
    assert "X-GitHub-Event header is malformed" in outcome.out
    assert "REJECTED, and it is genuine: see the response" in outcome.out


def test_a_long_type_does_not_fill_the_screen(run: Send, base: str) -> None:
    """Only the beginning of a long type is printed, also in errors."""
    assert "x" * 100 not in run("hmac", "x" * 5000, "--data", "{}", "--url", base).out
    assert "x" * 100 not in run("stripe", "x" * 5000).err


def test_an_app_that_does_not_run_is_reported(run: Send) -> None:
    """If nothing listens at the URL the error says how to start the app."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = run(
            "stripe", "invoice.paid", "--duplicate", "3", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}"
        )
    assert (outcome.status, outcome.exception) == (1, None)
    assert outcome.out.count("no connection: ") == 3
    assert "Is the app running? `flask run` starts it" in outcome.err


def test_an_unknown_path_is_reported(run: Send, base: str) -> None:
    """If the URL has no such webhook the table says so, and the error has the URL."""
    outcome = run("stripe", "invoice.paid", "--url", f"{base}/elsewhere")
    assert outcome.status == 1
    assert "there is no such webhook at this URL" in outcome.out
    assert f"{base}/elsewhere/hooks/stripe" in outcome.err


def test_the_url_may_be_the_webhooks(run: Send, base: str) -> None:
    """A URL that ends in the webhook's path is used as it is, with its query."""
    for url in (f"{base}/", f"{base}/hooks/stripe", f"{base}/hooks/stripe?a=1"):
        assert run("stripe", "invoice.paid", "--url", url).status == 0, url


def test_a_silent_server_times_out_as_for_the_sender(tmp_path: Path) -> None:
    """Without a response within the sender's timeout, the attempt has no status."""
    with receiving(tmp_path) as hasty, socket.create_server(("127.0.0.1", 0)) as silent:
        provider = backend_of(hasty).webhooks.find("hmac")[0].provider
        provider.profile = replace(provider.profile, timeout=timedelta(milliseconds=100))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = command(hasty)("hmac", "order.paid", "--url", url, "--json")
    (sent,) = attempts(outcome)
    assert (outcome.status, sent["status"], sent["connected"]) == (1, None, True)
    assert "within the sender's timeout" in sent["answer"]
    assert sent["milliseconds"] >= 90


def test_a_server_without_http_is_reported(run: Send) -> None:
    """Something other than an HTTP response is reported without a traceback."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"\x1b[31mnonsense\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        outcome = run("stripe", "invoice.paid", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert (outcome.status, outcome.exception) == (1, None)
    assert "no response: " in outcome.out
    assert "\x1b" not in outcome.out


def test_the_sample_events_are_listed(run: Send) -> None:
    """`--list` prints the sample events of all senders or of one, and sends nothing."""
    assert run("--list", "--json").json == {sender: event_types(sender) for sender in SENDERS}
    assert "checkout.session.completed" in run("stripe", "--list").out
    assert "user.created" not in run("stripe", "--list").out
    assert "push" in run("/hooks/github", "--list").out
    assert run("nobody", "--list").status == 2


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "Give a webhook"),
        (("stripe",), 2, "Give a webhook"),
        (("stripe", "invoice.paid", "--seed", "1"), 2, "--seed goes with --reorder"),
        (("stripe", "invoice.paid", "invoice.paid", "--id", "evt_1"), 2, "--id is the id of one event"),
        (("stripe", "invoice.paid", "--id", " "), 2, "--id is the id of one event"),
        (("stripe", "invoice.paid", "--reorder"), 1, "two events or more"),
        (("stripe", "invoice.payed"), 1, "did you mean invoice.paid"),
        (("stripe", "invoice.paid", "--data", "[1]"), 2, "write a JSON object"),
        (("stripe", "invoice.paid", "--data", "{"), 2, "write a JSON object"),
        (("stripe", "invoice.paid", "--url", "localhost:5000"), 2, "is not a URL such as http://127.0.0.1:5000"),
        (("stripe", "invoice.paid", "--url", "http://a:99999"), 2, "is not a URL"),
        (("stripe", "invoice.paid", "--duplicate", "0"), 2, "--duplicate"),
        (("stripe", "invoice.paid", "--late", "soon"), 2, "is not a duration"),
        (("stripe", "invoice.paid", "--source", "/hooks/github"), 2, "receives deliveries of github, not of stripe"),
        (("stripe", "invoice.paid", "--source", "/x"), 2, "no webhook with the source '/x'"),
        (("svix", "user.created"), 2, "choose a source, one of /hooks/clerk, /hooks/mail"),
        (("stripe", "\udcff"), 1, "There is no sample of"),
        (("hmac", "\udcff", "--data", "{}"), 1, "Error: "),
        (("\udcff", "x"), 2, r"no webhook '\udcff'"),
        (("hmac", "x", "--data", '{"a": "\udcff"}'), 2, ": write a JSON object"),
        (("paypal", "x"), 2, "This app has no webhook 'paypal'"),
    ],
)
def test_wrong_usage_is_reported(run: Send, arguments: tuple[str, ...], status: int, says: str) -> None:
    """Wrong options, unknown names and faults that do not fit print one sentence and set the exit status."""
    outcome = run(*arguments)
    assert (outcome.status, outcome.exception) == (status, None)
    assert says in outcome.err


def test_the_port_of_flask_run_is_the_default(
    run: Send, base: str, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --url the delivery goes to where FLASK_RUN_HOST and FLASK_RUN_PORT have `flask run` listen."""
    monkeypatch.setenv("FLASK_RUN_PORT", base.rpartition(":")[2])
    monkeypatch.setenv("FLASK_RUN_HOST", "0.0.0.0")
    assert run("stripe", "checkout.session.completed").status == 0
    assert len(done(app)) == 1
    monkeypatch.setenv("FLASK_RUN_PORT", "x")
    assert run("stripe", "checkout.session.completed").status == 2


def test_an_id_is_sent(run: Send, base: str, app: Flask) -> None:
    """--id sets the id of the event, so that the same command again sends a duplicate."""
    for _ in range(2):
        sent = run("stripe", "checkout.session.completed", "--id", "evt_mine", "--url", base)
        assert (sent.status, "evt_mine" in sent.out) == (0, True)
    assert len(done(app)) == 1


def test_a_source_selects_one_of_several_webhooks(run: Send, base: str, app: Flask) -> None:
    """`--source` sends Clerk's events to another webhook of the same provider."""
    assert run("clerk", "user.created", "--source", "/hooks/mail", "--url", base).status == 0
    assert [kind for _, kind in done(app)] == ["user.created"]


def test_an_invalid_header_value_is_reported(run: Send, base: str) -> None:
    """A type that a header cannot contain is reported without a traceback."""
    outcome = run("github", "snow\u2603", "--data", "{}", "--url", base)
    assert (outcome.status, outcome.exception) == (1, None)
    assert "no response: " in outcome.out


def test_no_secret_is_shown(run: Send, base: str) -> None:
    """The output contains no secret and no signature."""
    for flags in ((), ("--json",), ("--tamper",)):
        outcome = run("stripe", "invoice.paid", "--url", base, *flags)
        shown = outcome.out + outcome.err
        assert not any(part in shown for part in ("whsec_", "v1=", "Stripe-Signature"))
        assert flags != ("--json",) or json.loads(outcome.out)
