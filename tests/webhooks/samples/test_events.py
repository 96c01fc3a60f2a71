"""Sample events: what the vendors' own libraries take, new each time, and changed as asked."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
import stripe
import stripe.checkout

from flask_convex_http.webhooks.samples import events as samples
from flask_convex_http.webhooks.samples.events import Sample

NOW = 1_760_000_000_000.0
ALL = [(sender, name) for sender in samples.SENDERS for name in samples.names(sender)]
#: The library's class of each object in Stripe's samples.
STRIPE_OBJECTS: dict[str, Any] = {
    "account": stripe.Account,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "customer": stripe.Customer,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "line_item": stripe.InvoiceLineItem,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "price": stripe.Price,
    "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem,
}


def body(sample: Sample) -> Any:
    """What a sample says."""
    return json.loads(sample.body)


def objects(value: Any) -> list[dict[str, Any]]:
    """All of Stripe's objects in a value."""
    if isinstance(value, list):
        return [found for inner in value for found in objects(inner)]
    if not isinstance(value, dict):
        return []
    kind = value.get("object")  # in an event's data this is the object itself
    own = [value] if isinstance(kind, str) and kind in STRIPE_OBJECTS else []
    return own + [found for inner in value.values() for found in objects(inner)]


@pytest.mark.parametrize(("sender", "name"), ALL)
def test_nothing_is_left_to_fill_in(sender: str, name: str) -> None:
    """A sample has no placeholder left, and its id and type are those it was made for."""
    sample = samples.event(sender, name, now=NOW)
    assert not any(mark in sample.body for mark in (b"${", b"$part", b"%24%7B"))
    assert sample.type == name
    assert sample.id


@pytest.mark.parametrize(("sender", "name"), [each for each in ALL if each[1] not in ("app/uninstalled",)])
def test_each_use_is_another_event(sender: str, name: str) -> None:
    """Two samples made at the same instant have different ids and different bodies, or could not be told apart."""
    one, two = (samples.event(sender, name, now=NOW) for _ in range(2))
    assert one.id != two.id
    assert one.body != two.body or samples.SENDERS[sender] in ("svix", "standard")  # whose ids are signed in headers


@pytest.mark.parametrize("name", [name for name in samples.names("stripe") if not name.startswith("v1.")])
def test_stripe_samples_have_fields_that_stripe_has(name: str) -> None:
    """Each object of a Stripe event is one that Stripe's library knows, with no field that it does not know."""
    payload = body(samples.event("stripe", name, now=NOW))
    found = objects(payload)
    assert {each["object"] for each in found} >= {"event", payload["data"]["object"]["object"]}
    for each in found:
        unknown = set(each) - set(STRIPE_OBJECTS[each["object"]].__annotations__)
        assert not unknown, each["object"]


def test_times_are_those_of_the_event() -> None:
    """Whole seconds, milliseconds and ISO 8601 all say the time the sample was made for."""
    moment = datetime.fromtimestamp(NOW / 1000, tz=UTC)
    assert body(samples.event("stripe", "customer.created", now=NOW))["created"] == NOW // 1000
    assert body(samples.event("clerk", "user.created", now=NOW))["timestamp"] == NOW
    assert datetime.fromisoformat(body(samples.event("resend", "email.sent", now=NOW))["created_at"]) == moment
    issue = body(samples.event("github", "issues", now=NOW + 999))["issue"]
    assert issue["created_at"] == moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_connect_event_names_its_account() -> None:
    """`account.updated` comes as events of connected accounts do."""
    payload = body(samples.event("stripe", "account.updated", now=NOW))
    assert payload["account"] == payload["data"]["object"]["id"]


def test_events_made_together_are_about_the_same() -> None:
    """Of several events each is a second after the one before, and they share a session, a payment, an order."""
    created, paid = map(body, samples.events("shopify", ["orders/create", "orders/paid"], now=NOW))
    assert created["id"] == paid["id"]
    assert (created["financial_status"], paid["financial_status"]) == ("pending", "paid")
    assert created["updated_at"] < paid["updated_at"]
    session, payment = map(body, samples.events("stripe", ["checkout.session.completed"] * 2, now=NOW))
    assert session["data"]["object"]["id"] == payment["data"]["object"]["id"]
    assert session["id"] != payment["id"]
    other = body(samples.event("shopify", "orders/create", now=NOW))
    assert other["id"] != created["id"]


def test_people_are_the_same_in_all_samples() -> None:
    """A user who was created is the one who is updated and deleted, also when these are made one at a time."""
    ids = [body(samples.event("clerk", f"user.{what}", now=NOW))["data"]["id"] for what in ("created", "deleted")]
    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    ("sender", "name", "at"),
    [
        ("stripe", "checkout.session.completed", ("data", "object")),
        ("stripe", "v1.billing.meter.error_report_triggered", ()),
        ("clerk", "user.created", ("data",)),
        ("resend", "email.sent", ("data",)),
        ("standard", "contact.created", ("data",)),
        ("slack", "message", ("event",)),
        ("slack", "url_verification", ()),
        ("github", "push", ()),
        ("shopify", "orders/create", ()),
        ("hmac", "order.paid", ()),
    ],
)
def test_data_is_merged_where_it_belongs(sender: str, name: str, at: tuple[str, ...]) -> None:
    """What is given as data is merged deeply into the event's own data, and the rest stays."""
    first = samples.event(sender, name, {"extra": {"a": 1}}, now=NOW)
    payload = body(first)
    for field in at:
        payload = payload[field]
    assert payload["extra"] == {"a": 1}
    assert len(payload) > 1


def test_merging_is_deep() -> None:
    """Objects are merged field by field; lists, texts and null take the place of what was there."""
    assert samples.merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": None}) == {
        "a": {"b": 1, "c": [2]},
        "d": None,
    }


def test_data_is_taken_as_it_is() -> None:
    """What looks like a placeholder in somebody's data is not filled in."""
    sample = samples.event("stripe", "customer.created", {"name": "${seconds}"}, now=NOW)
    assert body(sample)["data"]["object"]["name"] == "${seconds}"


def test_any_type_can_be_made_from_data() -> None:
    """A type there is no sample of is the sender's usual envelope around the data."""
    payload = body(samples.event("stripe", "charge.dispute.created", {"id": "dp_1"}, now=NOW))
    assert (payload["object"], payload["type"]) == ("event", "charge.dispute.created")
    assert payload["data"]["object"] == {"id": "dp_1"}
    thin = body(samples.event("stripe", "v2.core.account.closed", {"context": "acct_1"}, now=NOW))
    assert (thin["object"], thin["type"], thin["context"]) == ("v2.core.event", "v2.core.account.closed", "acct_1")
    assert body(samples.event("github", "star", {"action": "created"}, now=NOW)) == {"action": "created"}
    assert body(samples.event("clerk", "role.created", {"id": "r"}, now=NOW))["data"] == {"id": "r"}


def test_an_unknown_type_names_near_ones() -> None:
    """A misspelt type is refused, with those that are nearly it."""
    with pytest.raises(ValueError, match=r"did you mean checkout\.session\.completed\?.* --data '\{\}'"):
        samples.event("stripe", "checkout.session.complete", now=NOW)
    with pytest.raises(ValueError, match=r"did you mean [a-z.]+subscription\.[a-z]+ or [a-z.]+subscription\.[a-z]+"):
        samples.event("stripe", "customer.subscription", now=NOW)
    with pytest.raises(ValueError, match=r"there are contact\.created"):
        samples.event("standard", "zzz", now=NOW)


def test_svix_has_the_events_of_all_that_send_through_it() -> None:
    """The provider's name finds Clerk's and Resend's events; each sender's name only its own."""
    assert set(samples.names("svix")) > set(samples.names("clerk")) | set(samples.names("resend"))
    assert "email.sent" not in samples.names("clerk")
    assert body(samples.event("svix", "user.deleted", now=NOW))["instance_id"]


def test_a_given_id_is_the_events() -> None:
    """The id asked for is in the sample, and in its body where the sender has it there."""
    assert body(samples.event("stripe", "invoice.paid", now=NOW, event_id="evt_7"))["id"] == "evt_7"
    assert body(samples.event("slack", "message", now=NOW, event_id="Ev7"))["event_id"] == "Ev7"
    assert samples.event("github", "push", now=NOW, event_id="d-7").id == "d-7"
    with pytest.raises(ValueError, match="for one event"):
        samples.events("github", ["push", "push"], now=NOW, event_id="d-7")


def test_slack_sends_forms_too() -> None:
    """A slash command is a form of fields, an interaction a form with JSON in one field."""
    command = samples.event("slack", "slash_command", {"text": "a & b"}, now=NOW)
    assert command.content_type == samples.FORM
    assert parse_qs(command.body.decode())["text"] == ["a & b"]
    interaction = samples.event("slack", "block_actions", now=NOW)
    (payload,) = parse_qs(interaction.body.decode())["payload"]
    assert json.loads(payload)["trigger_id"] == interaction.id


def test_a_whole_payload_is_sent_as_it_is() -> None:
    """A payload of one's own keeps its id and type; without them the id is new and the type empty."""
    own = samples.whole("stripe", {"id": "evt_1", "type": "x", "n": [1]})
    assert (own.id, own.type, json.loads(own.body)) == ("evt_1", "x", {"id": "evt_1", "type": "x", "n": [1]})
    bare = samples.whole("github", {"id": 7}, event_type="push")
    assert (str(uuid.UUID(bare.id)), bare.type) == (bare.id, "push")


def test_a_provider_of_ones_own_has_a_generic_sample() -> None:
    """A name nobody knows gets what a generic sender has."""
    assert samples.names("lamps") == samples.names("hmac") == ["order.paid"]
    assert body(samples.event("lamps", "order.paid", now=time.time() * 1000))["type"] == "order.paid"
