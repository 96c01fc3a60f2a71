"""`flask convex webhooks send`: signed deliveries over real HTTP, judged by what the app answers."""

import json
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
from flask_convex_http.webhooks.samples import events as samples
from tests.cli.conftest import Outcome
from tests.receivers import cleared, done, receiving
from tests.web.apps import backend_of

Send = Callable[..., Outcome]


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The receiver; one for all, because an app and its database take longer than most tests here."""
    with receiving(tmp_path_factory.mktemp("receiver")) as app:
        yield app


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """The receiver, with nothing done yet."""
    return cleared(shared_app)


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Where an app listens."""
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
    """Where the receiver listens."""
    with serving(app) as base:
        yield base


def command(app: Flask) -> Send:
    """`flask convex webhooks send ...` of an app, below a group that says errors as the real one does."""
    group = type(convex_commands)("convex")
    group.add_command(send)

    def run(*arguments: str) -> Outcome:
        result = app.test_cli_runner().invoke(group, ["send", *arguments])
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    return run


@pytest.fixture
def run(app: Flask) -> Send:
    """The command of the receiver."""
    return command(app)


def attempts(outcome: Outcome) -> list[dict[str, Any]]:
    """What was sent, as programs read it."""
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
    """Each kind of sender's delivery is taken; the status, the time and the first line of the answer are shown."""
    outcome = run(name, type, "--url", base)
    assert (outcome.status, outcome.err) == (0, "")
    heading, row = outcome.out.splitlines()
    assert heading.split() == ["TYPE", "ID", "STATUS", "TIME", "ANSWER", "MEANING"]
    assert " 200 " in row
    assert " ms " in row
    assert f"{type} done" in row
    assert "accepted, as it should be: genuine" in row
    assert [kind for _, kind in done(app)] == [type]


def test_copies_come_at_once_and_run_once(run: Send, base: str, app: Flask) -> None:
    """Copies sent at the same instant are all answered alike, and one of them has the effect."""
    outcome = run("stripe", "invoice.paid", "--duplicate", "8", "--url", base, "--json")
    sent = attempts(outcome)
    assert outcome.status == 0
    assert [each["status"] for each in sent] == [200] * 8
    meanings = [each["meaning"] for each in sent]
    assert meanings == ["accepted, as it should be: genuine", *["copy: the same answer"] * 7]
    assert len({(each["id"], each["answer"]) for each in sent}) == 1
    assert len(done(app)) == 1


def test_a_copy_that_is_answered_otherwise_is_a_failure(tmp_path: Path) -> None:
    """An app that answers each copy something else may have run its handler for each."""
    numbers = count()
    with receiving(tmp_path) as careless:
        careless.view_functions["hooks.github"] = lambda: Response(f"order {next(numbers)}")
        with serving(careless) as base:
            outcome = command(careless)("github", "push", "--duplicate", "3", "--url", base)
    assert outcome.status == 1
    assert outcome.out.count("copy: ANOTHER ANSWER") == 2
    assert "2 of 3 answers" in outcome.err


@pytest.mark.parametrize("fault", [["--tamper"], ["--old-secret"], ["--late", "2h"]])
def test_a_refused_forgery_is_as_it_should_be(run: Send, base: str, app: Flask, fault: list[str]) -> None:
    """A forgery that is refused is a success; the reason is said, and nothing has run."""
    outcome = run("clerk", "user.created", *fault, "--url", base)
    assert outcome.status == 0
    assert " 400 " in outcome.out
    assert "refused, as it should be: " in outcome.out
    assert done(app) == []


def test_the_secret_to_be_retired_is_good(run: Send, base: str) -> None:
    """Signed with the last of several secrets a delivery is genuine."""
    (sent,) = attempts(run("stripe", "invoice.paid", "--old-secret", "--url", base, "--json"))
    assert (sent["expected"], sent["status"], sent["as_expected"]) == ("accepted", 200, True)


def test_a_replay_under_another_id_runs_nothing(run: Send, base: str, app: Flask) -> None:
    """The replay comes after the original; where the id is not signed it is answered and runs nothing."""
    first, replay = attempts(run("github", "push", "--fresh-id", "--url", base, "--json"))
    assert first["id"] != replay["id"]
    assert (first["status"], replay["status"], first["answer"]) == (200, 200, replay["answer"])
    assert "content has come before" in replay["meaning"]
    assert len(done(app)) == 1
    assert [each["status"] for each in attempts(run("slack", "message", "--fresh-id", "--url", base, "--json"))] == [
        200,
        400,
    ]


def test_events_come_in_another_order(run: Send, base: str, app: Flask) -> None:
    """Several types are sent in the order given, or shuffled by a seed."""
    types = ["user.created", "user.updated", "user.deleted"]
    assert run("clerk", *types, "--url", base).status == 0
    assert run("clerk", *types, "--reorder", "--seed", "1", "--url", base).status == 0
    arrived = [kind for _, kind in done(app)]
    assert arrived[:3] == types
    assert arrived[3:] != types
    assert sorted(arrived[3:]) == sorted(types)


def test_data_goes_into_the_event(run: Send, base: str, app: Flask) -> None:
    """With data the type may be any, and the data is what the app gets."""
    assert run("hmac", "lamp.lit", "--data", '{"id": "evt_7"}', "--url", base).status == 0
    assert done(app) == [("evt_7", "lamp.lit")]


def test_a_forgery_that_is_accepted_is_a_failure(tmp_path: Path) -> None:
    """If the app takes what was forged, that is said loudly, and the exit code is 1."""
    with receiving(tmp_path) as careless:
        careless.view_functions["hooks.github"] = lambda: Response("OK")
        with serving(careless) as base:
            outcome = command(careless)("github", "push", "--tamper", "--url", base)
    assert outcome.status == 1
    assert "ACCEPTED, and it should have been refused" in outcome.out
    assert "1 of 1 answers" in outcome.err


def test_a_genuine_delivery_that_fails_is_a_failure(run: Send, base: str, app: Flask) -> None:
    """A handler that fails is not what a genuine delivery should get."""
    outcome = run("hmac", "order.paid", "--data", '{"fail": true}', "--url", base)
    assert outcome.status == 1
    assert " 500 " in outcome.out
    assert "the sender would send it again" in outcome.out
    assert done(app) == []


def test_another_secret_than_the_apps_is_found_out(tmp_path: Path, run: Send) -> None:
    """A genuine delivery that the app refuses is a failure, with what may be the cause."""
    with receiving(tmp_path / "other") as other:
        backend_of(other).webhooks.find("github")[0].provider._secrets = ("another one",)
        with serving(other) as base:
            outcome = run("github", "push", "--url", base)
    assert outcome.status == 1
    assert "REFUSED, and it is genuine: has the app the same secret" in outcome.out
    (kept,) = backend_of(other).rejections.recent()
    assert f"(request {kept.request_id})" in outcome.out
    assert f"`flask convex webhooks doctor {kept.request_id}` says why" in outcome.err


def test_an_app_without_a_secret_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer's own words are shown whole, and the command that says more; programs read the request's id."""
    monkeypatch.delenv("SEND_WEBHOOK_SECRET", raising=False)
    with receiving(tmp_path / "app") as app, receiving(tmp_path / "bare") as bare:
        backend_of(bare).webhooks.find("github")[0].provider._secrets = (from_env("SEND_WEBHOOK_SECRET"),)
        with serving(bare) as base:
            outcome = command(app)("github", "push", "--url", base)
            (sent,) = attempts(command(app)("github", "push", "--url", base, "--json"))
        last, first = backend_of(bare).rejections.recent()
    assert " Environment variable SEND_WEBHOOK_SECRET is not set  " in outcome.out
    assert f"webhooks doctor {first.request_id}`" in outcome.err
    assert (sent["status"], sent["request_id"]) == (503, last.request_id)


def test_what_is_refused_for_its_content_is_not_blamed_on_the_secret(run: Send, base: str) -> None:
    """A type that the app's provider does not take says to look at the answer."""
    outcome = run("github", "\u00e9", "--data", "{}", "--url", base)
    assert outcome.status == 1
    assert "X-GitHub-Event header is malformed" in outcome.out
    assert "REFUSED, and not for its secret or time: see the answer" in outcome.out


def test_a_long_type_does_not_fill_the_screen(run: Send, base: str) -> None:
    """Of a type without end people see the beginning, also where there is no sample of it."""
    assert "x" * 100 not in run("hmac", "x" * 5000, "--data", "{}", "--url", base).out
    assert "x" * 100 not in run("stripe", "x" * 5000).err


def test_nobody_there_is_said(run: Send) -> None:
    """With nothing at the URL the command says how to start the app, for each copy and without waiting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = run(
            "stripe", "invoice.paid", "--duplicate", "3", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}"
        )
    assert (outcome.status, outcome.exception) == (1, None)
    assert outcome.out.count("no connection: ") == 3
    assert "Is the app running? `flask run` starts it" in outcome.err


def test_a_wrong_path_is_said(run: Send, base: str) -> None:
    """A base with something behind it that is no webhook is said to be that."""
    outcome = run("stripe", "invoice.paid", "--url", f"{base}/elsewhere")
    assert outcome.status == 1
    assert "there is no such webhook at this URL" in outcome.out
    assert f"{base}/elsewhere/hooks/stripe" in outcome.err


def test_the_url_may_be_the_whole_one(run: Send, base: str) -> None:
    """A URL that ends in the webhook's path is the webhook's, query and all."""
    for url in (f"{base}/", f"{base}/hooks/stripe", f"{base}/hooks/stripe?a=1"):
        assert run("stripe", "invoice.paid", "--url", url).status == 0, url


def test_a_silent_server_is_waited_for_as_long_as_the_sender_would(tmp_path: Path) -> None:
    """Who does not answer in the sender's time has not answered."""
    with receiving(tmp_path) as hasty, socket.create_server(("127.0.0.1", 0)) as silent:
        provider = backend_of(hasty).webhooks.find("hmac")[0].provider
        provider.profile = replace(provider.profile, timeout=timedelta(milliseconds=100))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = command(hasty)("hmac", "order.paid", "--url", url, "--json")
    (sent,) = attempts(outcome)
    assert (outcome.status, sent["status"], sent["connected"]) == (1, None, True)
    assert "would have given up" in sent["answer"]
    assert sent["milliseconds"] >= 90


def test_a_server_that_speaks_no_http_is_said(run: Send) -> None:
    """What is no HTTP answer is no answer, and no traceback."""

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
    assert "no answer: " in outcome.out
    assert "\x1b" not in outcome.out


def test_the_events_there_are_are_listed(run: Send) -> None:
    """`--list` names all senders' events, or one's, and sends nothing."""
    assert run("--list", "--json").json == {sender: samples.names(sender) for sender in samples.SENDERS}
    assert "checkout.session.completed" in run("stripe", "--list").out
    assert "user.created" not in run("stripe", "--list").out
    assert "push" in run("/hooks/github", "--list").out
    assert run("paypal", "--list").status == 2


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "Say which webhook"),
        (("stripe",), 2, "Say which webhook"),
        (("stripe", "invoice.paid", "--seed", "1"), 2, "--seed goes with --reorder"),
        (("stripe", "invoice.paid", "--reorder"), 1, "two events or more"),
        (("stripe", "invoice.payed"), 1, "did you mean invoice.paid"),
        (("stripe", "invoice.paid", "--data", "[1]"), 2, "write a JSON object"),
        (("stripe", "invoice.paid", "--data", "{"), 2, "write a JSON object"),
        (("stripe", "invoice.paid", "--url", "localhost:5000"), 2, "is not a URL such as http://127.0.0.1:5000"),
        (("stripe", "invoice.paid", "--url", "http://a:99999"), 2, "is not a URL"),
        (("stripe", "invoice.paid", "--duplicate", "0"), 2, "--duplicate"),
        (("stripe", "invoice.paid", "--late", "soon"), 2, "is not a length of time"),
        (("stripe", "invoice.paid", "--source", "/hooks/github"), 2, "receives deliveries of github, not of stripe"),
        (("stripe", "invoice.paid", "--source", "/x"), 2, "no webhook with the source '/x'"),
        (("svix", "user.created"), 2, "choose a source, one of /hooks/clerk, /hooks/mail"),
        (("stripe", "\udcff"), 2, "is not text"),
        (("\udcff", "x"), 2, r"no webhook '\udcff'"),
        (("hmac", "x", "--data", '{"a": "\udcff"}'), 2, "It is not text: write a JSON object"),
        (("paypal", "x"), 2, "This app has no webhook 'paypal'"),
    ],
)
def test_what_cannot_be_sent_is_said(run: Send, arguments: tuple[str, ...], status: int, says: str) -> None:
    """Wrong usage, unknown names and faults that do not fit are one sentence and an exit code."""
    outcome = run(*arguments)
    assert (outcome.status, outcome.exception) == (status, None)
    assert says in outcome.err


def test_a_source_chooses_among_several(run: Send, base: str, app: Flask) -> None:
    """With `--source` Clerk's events go to another webhook of the same provider."""
    assert run("clerk", "user.created", "--source", "/hooks/mail", "--url", base).status == 0
    assert [kind for _, kind in done(app)] == ["user.created"]


def test_what_no_header_takes_is_said(run: Send, base: str) -> None:
    """A type that cannot be in a header is a sentence, not a traceback."""
    outcome = run("github", "snow\u2603", "--data", "{}", "--url", base)
    assert (outcome.status, outcome.exception) == (1, None)
    assert "no answer: " in outcome.out


def test_no_secret_is_shown(run: Send, base: str) -> None:
    """Neither secrets nor signatures are in what is printed."""
    for flags in ((), ("--json",), ("--tamper",)):
        outcome = run("stripe", "invoice.paid", "--url", base, *flags)
        shown = outcome.out + outcome.err
        assert not any(part in shown for part in ("whsec_", "v1=", "Stripe-Signature"))
        assert flags != ("--json",) or json.loads(outcome.out)
