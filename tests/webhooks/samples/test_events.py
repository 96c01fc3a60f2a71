"""Sample events: their shape, their ids and times, and changes of their data."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
import stripe
import stripe.checkout

from flask_convex_http.webhooks.samples.events import (
    FORM,
    SENDERS,
    SampleEvent,
    event_types,
    merged,
    sample_events,
    whole_event,
)

NOW = 1_760_000_000_000.0
ALL = [(sender, name) for sender in SENDERS for name in event_types(sender)]
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


def sample_event(sender: str, type: str, data: Any = None, **options: Any) -> SampleEvent:
    """Return one sample event."""
    return sample_events(sender, [type], data, **options)[0]


def body(sample: SampleEvent) -> Any:
    """Return the payload of a sample event."""
    return json.loads(sample.body)


def objects(value: Any) -> list[dict[str, Any]]:
    """Return all of Stripe's objects in a value."""
    if isinstance(value, list):
        return [found for inner in value for found in objects(inner)]
    if not isinstance(value, dict):
        return []
    kind = value.get("object")  # in an event's data this is the object itself
    own = [value] if isinstance(kind, str) and kind in STRIPE_OBJECTS else []
    return own + [found for inner in value.values() for found in objects(inner)]


@pytest.mark.parametrize(("sender", "name"), ALL)
def test_no_placeholder_is_left(sender: str, name: str) -> None:
    """A sample event has an id, the requested type and no placeholder."""
    sample = sample_event(sender, name, now=NOW)
    assert not any(mark in sample.body for mark in (b"${", b"$part", b"%24%7B"))
    assert sample.type == name
    assert sample.id


@pytest.mark.parametrize(("sender", "name"), [each for each in ALL if each[1] not in ("app/uninstalled",)])
def test_each_sample_event_is_new(sender: str, name: str) -> None:
    """Two sample events made at the same time differ in their ids, and in their bodies unless the id is signed."""
    one, two = (sample_event(sender, name, now=NOW) for _ in range(2))
    assert one.id != two.id
    assert one.body != two.body or SENDERS[sender] in ("svix", "standard", "polar")  # whose ids are signed in headers


@pytest.mark.parametrize("name", [name for name in event_types("stripe") if not name.startswith("v1.")])
def test_stripe_events_have_the_fields_of_stripes_library(name: str) -> None:
    """Each object in a Stripe event has only fields that Stripe's library declares for it."""
    payload = body(sample_event("stripe", name, now=NOW))
    found = objects(payload)
    assert {each["object"] for each in found} >= {"event", payload["data"]["object"]["object"]}
    for each in found:
        unknown = set(each) - set(STRIPE_OBJECTS[each["object"]].__annotations__)
        assert not unknown, each["object"]


def test_times_are_the_events_own() -> None:
    """Seconds, milliseconds and ISO 8601 all have the time for which the event was made."""
    moment = datetime.fromtimestamp(NOW / 1000, tz=UTC)
    assert body(sample_event("stripe", "customer.created", now=NOW))["created"] == NOW // 1000
    assert body(sample_event("clerk", "user.created", now=NOW))["timestamp"] == NOW
    assert datetime.fromisoformat(body(sample_event("resend", "email.sent", now=NOW))["created_at"]) == moment
    issue = body(sample_event("github", "issues", now=NOW + 999))["issue"]
    assert issue["created_at"] == moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_connect_event_names_its_account() -> None:
    """`account.updated` has the field `account`, as events of connected accounts do."""
    payload = body(sample_event("stripe", "account.updated", now=NOW))
    assert payload["account"] == payload["data"]["object"]["id"]


def test_events_made_together_belong_together() -> None:
    """Events made together are a second apart and share a session, a payment or an order."""
    created, paid = map(body, sample_events("shopify", ["orders/create", "orders/paid"], now=NOW))
    assert created["id"] == paid["id"]
    assert (created["financial_status"], paid["financial_status"]) == ("pending", "paid")
    assert created["updated_at"] < paid["updated_at"]
    session, payment = map(body, sample_events("stripe", ["checkout.session.completed"] * 2, now=NOW))
    assert session["data"]["object"]["id"] == payment["data"]["object"]["id"]
    assert session["id"] != payment["id"]
    other = body(sample_event("shopify", "orders/create", now=NOW))
    assert other["id"] != created["id"]


def test_people_are_the_same_in_all_events() -> None:
    """The user who is created is also the one who is deleted, even in events made separately."""
    ids = [body(sample_event("clerk", f"user.{what}", now=NOW))["data"]["id"] for what in ("created", "deleted")]
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
def test_data_is_merged_into_the_events_data(sender: str, name: str, at: tuple[str, ...]) -> None:
    """Given data is merged deeply where the sender has the event's data, and the rest stays."""
    first = sample_event(sender, name, {"extra": {"a": 1}}, now=NOW)
    payload = body(first)
    for field in at:
        payload = payload[field]
    assert payload["extra"] == {"a": 1}
    assert len(payload) > 1


def test_merging_is_deep() -> None:
    """Objects are merged field by field. Lists, texts and null replace the previous value."""
    assert merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": None}) == {
        "a": {"b": 1, "c": [2]},
        "d": None,
    }


def test_placeholders_in_data_are_not_replaced() -> None:
    """Text in given data, or in an id, that looks like a placeholder is left as it is."""
    sample = sample_event("stripe", "customer.created", {"name": "${seconds}"}, now=NOW)
    assert body(sample)["data"]["object"]["name"] == "${seconds}"
    quoted = sample_event("stripe", "customer.created", now=NOW, event_id='"${uuid}\\')
    assert body(quoted)["id"] == '"${uuid}\\'


def test_with_data_an_event_may_have_any_type() -> None:
    """An event of a type without a sample is the sender's usual envelope around the data."""
    payload = body(sample_event("stripe", "charge.dispute.created", {"id": "dp_1"}, now=NOW))
    assert (payload["object"], payload["type"]) == ("event", "charge.dispute.created")
    assert payload["data"]["object"] == {"id": "dp_1"}
    thin = body(sample_event("stripe", "v2.core.account.closed", {"context": "acct_1"}, now=NOW))
    assert (thin["object"], thin["type"], thin["context"]) == ("v2.core.event", "v2.core.account.closed", "acct_1")
    assert body(sample_event("github", "star", {"action": "created"}, now=NOW)) == {"action": "created"}
    assert body(sample_event("clerk", "role.created", {"id": "r"}, now=NOW))["data"] == {"id": "r"}


def test_an_unknown_type_suggests_similar_ones() -> None:
    """A type without a sample is an error that suggests similar types."""
    with pytest.raises(ValueError, match=r"did you mean checkout\.session\.completed.*\? .* --data '\{\}'"):
        sample_event("stripe", "checkout.session.complete", now=NOW)
    with pytest.raises(ValueError, match=r"did you mean [a-z.]+subscription\.[a-z]+ or [a-z.]+subscription\.[a-z]+"):
        sample_event("stripe", "customer.subscription", now=NOW)
    with pytest.raises(ValueError, match=r"there are contact\.created"):
        sample_event("standard", "zzz", now=NOW)


def test_svix_has_the_events_of_all_its_senders() -> None:
    """The provider's name finds the events of Clerk and Resend, a sender's name only its own."""
    assert set(event_types("svix")) > set(event_types("clerk")) | set(event_types("resend"))
    assert "email.sent" not in event_types("clerk")
    assert body(sample_event("svix", "user.deleted", now=NOW))["instance_id"]


def test_an_event_has_the_given_id() -> None:
    """A given id is the event's id, and is in the body where the sender has it."""
    assert body(sample_event("stripe", "invoice.paid", now=NOW, event_id="evt_7"))["id"] == "evt_7"
    assert body(sample_event("slack", "message", now=NOW, event_id="Ev7"))["event_id"] == "Ev7"
    assert sample_event("github", "push", now=NOW, event_id="d-7").id == "d-7"
    with pytest.raises(ValueError, match="for one event"):
        sample_events("github", ["push", "push"], now=NOW, event_id="d-7")


def test_slack_commands_and_interactions_are_forms() -> None:
    """A slash command is a form with several fields, an interaction a form with JSON in one field."""
    command = sample_event("slack", "slash_command", {"text": "a & b"}, now=NOW)
    assert command.content_type == FORM
    assert parse_qs(command.body.decode())["text"] == ["a & b"]
    interaction = sample_event("slack", "block_actions", now=NOW)
    (payload,) = parse_qs(interaction.body.decode())["payload"]
    assert json.loads(payload)["trigger_id"] == interaction.id


def test_a_whole_payload_is_not_changed() -> None:
    """A given payload keeps its id and type. Without them the id is new and the type empty."""
    own = whole_event({"id": "evt_1", "type": "x", "n": [1]})
    assert (own.id, own.type, json.loads(own.body)) == ("evt_1", "x", {"id": "evt_1", "type": "x", "n": [1]})
    bare = whole_event({"id": 7}, event_type="push")
    assert (str(uuid.UUID(bare.id)), bare.type) == (bare.id, "push")


def test_an_unknown_sender_has_the_generic_event() -> None:
    """A sender without a file of samples has the generic events of hmac."""
    assert event_types("lamps") == event_types("hmac") == ["order.paid"]
    assert body(sample_event("lamps", "order.paid", now=time.time() * 1000))["type"] == "order.paid"
