"""`deliver`: signed deliveries in tests of applications, with each fault and what it does to the app."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_convex_http import GitHub, MissingSecretError, Stripe, from_env
from flask_convex_http.testing import Clock, deliver
from flask_convex_http.webhooks.samples import events as samples
from tests.receivers import SECRET, cleared, done, receiving, whsec


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The receiver; one for all, because an app and its database take longer than most tests here."""
    with receiving(tmp_path_factory.mktemp("receiver")) as app:
        yield app


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """The receiver, with nothing done yet."""
    return cleared(shared_app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of it."""
    return app.test_client()


def types(app: Flask) -> list[str]:
    """The types of what had an effect, in order."""
    return [type for _, type in done(app)]


@pytest.mark.parametrize(
    ("provider", "type"),
    [
        ("stripe", "checkout.session.completed"),
        ("clerk", "user.created"),
        ("/hooks/mail", "email.bounced"),
        ("github", "push"),
        ("shopify", "orders/create"),
        ("slack", "app_mention"),
        ("standard", "contact.created"),
        ("hmac", "order.paid"),
        ("/hooks/lamps", "order.paid"),
    ],
)
def test_a_delivery_reaches_its_webhook(client: FlaskClient, app: Flask, provider: str, type: str) -> None:
    """A provider's, a sender's or a source's name is enough: the app takes the sample and its handler runs."""
    answers = deliver(client, provider, type)
    assert (len(answers), answers.status_code) == (1, 200)
    assert answers.text.startswith(f"{type} done")
    assert answers.json is None
    assert types(app) == [type]


def test_slack_is_shaken_hands_with(client: FlaskClient, app: Flask) -> None:
    """The challenge of a new URL is answered, and no handler runs."""
    answers = deliver(client, "slack", "url_verification", data={"challenge": "abc"})
    assert "abc" in answers.text
    assert done(app) == []


def test_copies_run_once(client: FlaskClient, app: Flask) -> None:
    """Each copy of a delivery is answered alike, and one of them has the effect."""
    answers = deliver(client, "stripe", "invoice.paid", duplicate=4)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1
    assert len(done(app)) == 1


def test_each_delivery_is_a_new_event(client: FlaskClient, app: Flask) -> None:
    """Two deliveries of one type are two events; under one id they are one."""
    for _ in range(2):
        assert deliver(client, "github", "issues").status_code == 200
    assert len(done(app)) == 2
    for _ in range(2):
        assert deliver(client, "stripe", "invoice.paid", event_id="evt_1").status_code == 200
    assert len(done(app)) == 3


def test_events_come_in_order_or_not(client: FlaskClient, app: Flask) -> None:
    """Several events come in the order given, and in another one when that is asked for."""
    happened = ["user.created", "user.updated", "user.deleted"]
    assert len(deliver(client, "clerk", happened)) == 3
    assert types(app) == happened
    deliver(client, "clerk", happened, reorder=True, seed=3)
    assert types(app)[3:] != happened
    assert sorted(types(app)[3:]) == sorted(happened)


def test_forgeries_have_no_effect(client: FlaskClient, app: Flask) -> None:
    """What was altered, signed with a wrong secret or signed long ago is answered 400 and runs nothing."""
    faults: list[dict[str, Any]] = [{"tamper": True}, {"old_secret": True}, {"late": timedelta(hours=2)}]
    for fault in faults:
        answers = deliver(client, "clerk", "user.created", **fault)
        assert answers.status_code == 400
        assert answers.json["error"]
    assert done(app) == []


def test_the_secret_to_be_retired_is_good(client: FlaskClient, app: Flask) -> None:
    """Where there are several secrets the old one is taken until it is gone."""
    assert deliver(client, "stripe", "invoice.paid", old_secret=True).status_code == 200
    assert types(app) == ["invoice.paid"]


@pytest.mark.parametrize("provider", ["github", "shopify"])
def test_a_replay_under_another_id_runs_nothing(client: FlaskClient, app: Flask, provider: str) -> None:
    """Where ids are not signed the content is remembered: the replay is answered like the first and runs nothing."""
    answers = deliver(client, provider, samples.names(provider)[0], fresh_id=True)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text
    assert len(done(app)) == 1


def test_a_replay_under_another_signed_id_is_refused(client: FlaskClient, app: Flask) -> None:
    """Where ids are signed nobody can change one."""
    answers = deliver(client, "stripe", "invoice.paid", fresh_id=True)
    assert [answer.status_code for answer in answers[:]] == [200, 400]
    assert len(done(app)) == 1


def test_a_whole_payload_is_sent(client: FlaskClient, app: Flask) -> None:
    """A payload of one's own is signed as it is; where the id or type is in a header it is given beside it."""
    assert deliver(client, "hmac", {"id": "evt_9", "type": "lamp.lit"}).status_code == 200
    assert deliver(client, "github", {"n": 1}, event_id="d-9", event_type="star").status_code == 200
    assert done(app) == [("evt_9", "lamp.lit"), ("d-9", "star")]


def test_a_handler_that_fails_has_no_effect(client: FlaskClient, app: Flask) -> None:
    """A failing handler is a 5xx each time a copy comes, and what it wrote is undone."""
    answers = deliver(client, "hmac", "order.paid", data={"fail": True}, duplicate=2)
    assert [answer.status_code for answer in answers] == [500, 500]
    assert done(app) == []


def test_the_apps_clock_is_the_present(tmp_path: Path) -> None:
    """With a clock that stands still the delivery is made and verified at its time."""
    with receiving(tmp_path, clock=Clock(datetime(2031, 5, 1, tzinfo=UTC))) as app:
        client = app.test_client()
        assert deliver(client, "stripe", "invoice.paid").status_code == 200
        assert deliver(client, "stripe", "invoice.paid", late=timedelta(minutes=6)).status_code == 400


def test_a_provider_of_ones_own_signs(client: FlaskClient, app: Flask) -> None:
    """A provider object signs with its own secret, for a webhook at any path; a wrong secret is refused there."""
    assert deliver(client, GitHub(secret=SECRET), "push", path="/hooks/github").status_code == 200
    stranger = Stripe(secret=whsec("of somebody else entirely"))
    assert deliver(client, stranger, "invoice.paid", path="/hooks/stripe").status_code == 400
    registered = app.extensions["convex_http"].webhooks.get("/hooks/github").provider
    assert deliver(client, registered, "ping").status_code == 200
    assert types(app) == ["push", "ping"]


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("paypal", "x"), {}, r"no webhook 'paypal'\. It has .*/hooks/stripe \(stripe\)"),
        (("svix", "user.created"), {}, "several webhooks 'svix': choose a source, one of /hooks/clerk, /hooks/mail"),
        (("stripe", "invoice.payed"), {}, "did you mean invoice.paid"),
        (("stripe", "invoice.paid"), {"reorder": True}, "two events or more"),
        (("stripe", "invoice.paid"), {"duplicate": 0}, "duplicate=0"),
        (("stripe", "invoice.paid"), {"event_type": "x"}, "whole payload"),
        (("stripe", {"id": "x"}), {"data": {}}, "put it into the payload"),
        ((GitHub(secret=SECRET), "push"), {}, "say path="),
    ],
)
def test_what_cannot_be_sent_is_said(
    client: FlaskClient, app: Flask, arguments: tuple[Any, ...], options: dict[str, Any], says: str
) -> None:
    """A name that fits nothing or too much, and faults that do not fit, are refused before anything is sent."""
    with pytest.raises(ValueError, match=says):
        deliver(client, *arguments, **options)
    assert done(app) == []


def test_a_webhook_without_a_secret_is_said(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a secret there is nothing to sign with, and the variable is named."""
    monkeypatch.delenv("UNSET_HOOK_SECRET", raising=False)
    with pytest.raises(MissingSecretError, match="UNSET_HOOK_SECRET"):
        deliver(client, GitHub(secret=from_env("UNSET_HOOK_SECRET")), "push", path="/hooks/github")


def test_answers_are_a_sequence(client: FlaskClient) -> None:
    """The answers can be counted, sliced and looked through, and show their statuses."""
    answers = deliver(client, "stripe", "invoice.paid", duplicate=2)
    assert repr(answers) == "<Answers 200 OK, 200 OK>"
    assert answers[-1] in answers
    assert json.dumps(answers[0].text)
