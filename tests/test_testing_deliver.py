"""`testing.deliver`: signed deliveries to an app under test, and the effect of each fault."""

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
from flask_convex_http.webhooks.samples.events import event_types
from tests.receivers import SECRET, cleared, done, receiving, whsec


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Yield the receiving app, which tests share because creating its database takes longer than most of them."""
    with receiving(tmp_path_factory.mktemp("receiver")) as app:
        yield app


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """Return the receiving app without any effects."""
    return cleared(shared_app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a test client of the receiving app."""
    return app.test_client()


def types(app: Flask) -> list[str]:
    """Return the types of the events that had an effect, in order."""
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
    """A provider, a sender or a source names the webhook. The app accepts the sample event and runs the handler."""
    responses = deliver(client, provider, type)
    assert (len(responses), responses.status_code) == (1, 200)
    assert responses.text.startswith(f"{type} done")
    assert responses.json is None
    assert types(app) == [type]


def test_slacks_challenge_is_returned(client: FlaskClient, app: Flask) -> None:
    """The app returns the challenge for a new URL, and no handler runs."""
    responses = deliver(client, "slack", "url_verification", data={"challenge": "abc"})
    assert "abc" in responses.text
    assert done(app) == []


def test_duplicates_run_once(client: FlaskClient, app: Flask) -> None:
    """Every duplicate gets the same response, and one delivery has the effect."""
    responses = deliver(client, "stripe", "invoice.paid", duplicate=4)
    assert [response.status_code for response in responses] == [200] * 4
    assert len({response.text for response in responses}) == 1
    assert len(done(app)) == 1


def test_each_delivery_is_a_new_event(client: FlaskClient, app: Flask) -> None:
    """Two deliveries of one type are two events, unless both have the same id."""
    for _ in range(2):
        assert deliver(client, "github", "issues").status_code == 200
    assert len(done(app)) == 2
    for _ in range(2):
        assert deliver(client, "stripe", "invoice.paid", event_id="evt_1").status_code == 200
    assert len(done(app)) == 3


def test_events_are_sent_in_order_or_reordered(client: FlaskClient, app: Flask) -> None:
    """Several events are sent in the given order, or in another one with `reorder`."""
    sent = ["user.created", "user.updated", "user.deleted"]
    assert len(deliver(client, "clerk", sent)) == 3
    assert types(app) == sent
    deliver(client, "clerk", sent, reorder=True, seed=3)
    assert types(app)[3:] != sent
    assert sorted(types(app)[3:]) == sorted(sent)


def test_forgeries_have_no_effect(client: FlaskClient, app: Flask) -> None:
    """A tampered, wrongly signed or late delivery gets 400 and does not run the handler."""
    faults: list[dict[str, Any]] = [{"tamper": True}, {"old_secret": True}, {"late": timedelta(hours=2)}]
    for fault in faults:
        responses = deliver(client, "clerk", "user.created", **fault)
        assert responses.status_code == 400
        assert responses.json["error"]
    assert done(app) == []


def test_the_last_secret_is_accepted(client: FlaskClient, app: Flask) -> None:
    """A delivery signed with the last of several secrets is accepted."""
    assert deliver(client, "stripe", "invoice.paid", old_secret=True).status_code == 200
    assert types(app) == ["invoice.paid"]


@pytest.mark.parametrize("provider", ["github", "shopify"])
def test_a_replay_under_an_unsigned_id_is_accepted(client: FlaskClient, app: Flask, provider: str) -> None:
    """If the id is not signed, a replay under a fresh id is another delivery."""
    responses = deliver(client, provider, event_types(provider)[0], fresh_id=True)
    assert [response.status_code for response in responses] == [200, 200]
    assert responses[0].text == responses[1].text
    assert len(done(app)) == 2


def test_a_replay_under_a_signed_id_is_rejected(client: FlaskClient, app: Flask) -> None:
    """If the id is signed, a replay under a fresh id gets 400."""
    responses = deliver(client, "stripe", "invoice.paid", fresh_id=True)
    assert [response.status_code for response in responses[:]] == [200, 400]
    assert len(done(app)) == 1


def test_a_whole_payload_is_sent(client: FlaskClient, app: Flask) -> None:
    """A given payload is signed as it is. An id or type that belongs into a header is given beside it."""
    assert deliver(client, "hmac", {"id": "evt_9", "type": "lamp.lit"}).status_code == 200
    assert deliver(client, "github", {"n": 1}, event_id="d-9", event_type="star").status_code == 200
    assert done(app) == [("evt_9", "lamp.lit"), ("d-9", "star")]


def test_a_handler_that_fails_has_no_effect(client: FlaskClient, app: Flask) -> None:
    """If the handler fails, every duplicate gets a 5xx and nothing is committed."""
    responses = deliver(client, "hmac", "order.paid", data={"fail": True}, duplicate=2)
    assert [response.status_code for response in responses] == [500, 500]
    assert done(app) == []


def test_the_apps_clock_is_used(tmp_path: Path) -> None:
    """A delivery is signed and verified at the time of the app's clock."""
    with receiving(tmp_path, clock=Clock(datetime(2031, 5, 1, tzinfo=UTC))) as app:
        client = app.test_client()
        assert deliver(client, "stripe", "invoice.paid").status_code == 200
        assert deliver(client, "stripe", "invoice.paid", late=timedelta(minutes=6)).status_code == 400


def test_a_provider_object_signs(client: FlaskClient, app: Flask) -> None:
    """A provider object signs with its own secret and sends to any path. Another secret is rejected."""
    assert deliver(client, GitHub(secret=SECRET), "push", path="/hooks/github").status_code == 200
    other = Stripe(secret=whsec("of another endpoint"))
    assert deliver(client, other, "invoice.paid", path="/hooks/stripe").status_code == 400
    registered = app.extensions["convex_http"].webhooks.get("/hooks/github").provider
    assert deliver(client, registered, "ping").status_code == 200
    assert types(app) == ["push", "ping"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("paypal", "x"), {}, r"no webhook 'paypal'\. It has .*/hooks/stripe \(stripe\)"),
        (("svix", "user.created"), {}, "several webhooks 'svix': choose a source, one of /hooks/clerk, /hooks/mail"),
        (("stripe", "invoice.payed"), {}, "did you mean invoice.paid"),
        (("stripe", "invoice.paid"), {"reorder": True}, "two events or more"),
        (("stripe", "invoice.paid"), {"duplicate": 0}, "duplicate=0"),
        (("stripe", "invoice.paid"), {"event_type": "x"}, "whole payload"),
        (("stripe", {"id": "x"}), {"data": {}}, "put it into the payload"),
        ((GitHub(secret=SECRET), "push"), {}, "give path="),
    ],
)
def test_wrong_arguments_raise_before_sending(
    client: FlaskClient, app: Flask, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """An unknown or ambiguous name, and arguments that do not fit, raise ValueError before anything is sent."""
    with pytest.raises(ValueError, match=message):
        deliver(client, *arguments, **options)
    assert done(app) == []


def test_a_missing_secret_is_named(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a secret `deliver` raises MissingSecretError with the variable's name."""
    monkeypatch.delenv("UNSET_HOOK_SECRET", raising=False)
    with pytest.raises(MissingSecretError, match="UNSET_HOOK_SECRET"):
        deliver(client, GitHub(secret=from_env("UNSET_HOOK_SECRET")), "push", path="/hooks/github")


def test_responses_are_a_sequence(client: FlaskClient) -> None:
    """The responses can be counted and indexed, and their repr has the statuses."""
    responses = deliver(client, "stripe", "invoice.paid", duplicate=2)
    assert repr(responses) == "<Responses 200 OK, 200 OK>"
    assert responses[-1] in responses
    assert json.dumps(responses[0].text)
