"""The example's webhooks: the effects of each event, once per event, and events that cannot be applied."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from example_app.schema import DeletedUser, Payment, Subscription, User, WebhookRecord
from flask_convex_http.schema.system_tables import WebhookDelivery
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.application import example
from tests.example.deliveries import (
    GITHUB_PUSH,
    VALID_DELIVERIES,
    Delivery,
    checkout_completed,
    clerk_user,
    clerk_user_deleted,
    from_clerk,
    from_github,
    from_stripe,
    stripe_event,
    subscription_updated,
)

pytestmark = EACH_ENGINE

CLERK_ID = "user_29w83sxmDNGwOuEthce5gg56FcC"
HUGE = 2**70


# --- effects of events -----------------------------------------------------------------------------------------------


def test_completed_checkout_becomes_a_payment() -> None:
    """A completed checkout inserts one payment, and its event is recorded whole."""
    with example() as app:
        before = app.backend.clock()
        app.accept(from_stripe(checkout_completed()))
        (payment,) = app.rows(Payment)
        assert (payment.session_id, payment.customer) == ("cs_test_a1Yz6bZ3vSfIYw0wFQ9WmD5sA7", "cus_NffrFeUfNV2Hib")
        assert (payment.amount_total, payment.currency, payment.status) == (2198, "usd", "completed")
        (record,) = app.rows(WebhookRecord)
        assert (record.source, record.event_type) == ("stripe", "checkout.session.completed")
        assert (record.status, record.error) == ("processed", None)
        assert record.payload == checkout_completed()
        assert before <= record.processed_at <= app.backend.clock()


def test_checkout_of_a_guest_becomes_a_payment() -> None:
    """A checkout without customer, amount and currency, such as a set-up session, inserts a payment too."""
    with example() as app:
        app.accept(from_stripe(checkout_completed(customer=None, amount_total=None, currency=None, mode="setup")))
        (payment,) = app.rows(Payment)
        assert (payment.customer, payment.amount_total, payment.currency) == (None, None, None)


def test_subscription_has_its_latest_state() -> None:
    """Each update of a subscription replaces its stored state."""
    with example() as app:
        app.accept(
            from_stripe(subscription_updated("evt_1")),
            from_stripe(subscription_updated("evt_2", created=1764000001, status="past_due", customer="cus_2")),
            from_stripe(subscription_updated("evt_3", id="sub_other", status="trialing")),
        )
        first, second = app.rows(Subscription)
        assert (first.stripe_id, first.status, first.customer) == ("sub_1MowQVLkdIwHu7ixeRlqHVzs", "past_due", "cus_2")
        assert (second.stripe_id, second.status) == ("sub_other", "trialing")
        assert len(app.rows(WebhookRecord)) == 3


def test_optional_fields_may_be_null_or_missing() -> None:
    """Subscriptions without items, users without names and addresses, and deletions of unknown users are applied."""
    with example() as app:
        app.accept(
            from_stripe(subscription_updated("evt_1", id="sub_1", items=None, customer=None)),
            from_stripe(subscription_updated("evt_2", id="sub_2", items={"data": None})),
            from_clerk(clerk_event("user.created", id="user_1"), delivery_id="msg_1"),
            from_clerk(
                clerk_event("user.updated", id="user_2", first_name=None, email_addresses=None), delivery_id="msg_2"
            ),
            from_clerk(clerk_event("user.deleted", id="user_3", deleted=True), delivery_id="msg_3"),
        )
        assert [row.current_period_end for row in app.rows(Subscription)] == [None, None]
        assert [(user.name, user.email) for user in app.rows(User)] == [("", None), ("", None)]
        assert [user.clerk_id for user in app.rows(DeletedUser)] == ["user_3"]


def test_other_events_at_the_same_endpoint_are_recorded() -> None:
    """Events of other families, whose objects have other fields, are only recorded."""
    with example() as app:
        app.accept(
            from_clerk(
                clerk_event("organizationMembership.created", id="orgmem_1", role="org:admin"), delivery_id="msg_1"
            ),
            from_clerk(clerk_event("email.created", id="ema_1", user_id=None), delivery_id="msg_2"),
            from_stripe({"id": "evt_1", "type": "v2.core.event_destination.ping", "object": "v2.core.event"}),
            from_github({"action": "member_added", "organization": {"login": "o"}}, kind="organization"),
        )
        assert len(app.rows(WebhookRecord)) == 4
        assert app.rows(User) == []


def clerk_event(kind: str, **data: Any) -> dict[str, Any]:
    """Return an event of Clerk with this data."""
    return {"type": kind, "object": "event", "timestamp": 1764000000000, "data": data}


def test_end_of_the_period_is_found_in_both_versions_of_the_api() -> None:
    """The period's end is read from the items or, as older versions of Stripe's API have it, from the subscription."""
    with example() as app:
        app.accept(from_stripe(subscription_updated("evt_1")))
        old = subscription_updated("evt_2", id="sub_old", items={"data": []}, current_period_end=1700000000)
        app.accept(from_stripe(old))
        assert [row.current_period_end for row in app.rows(Subscription)] == [1766592000, 1700000000]


def test_clerk_creates_updates_and_deletes_a_user() -> None:
    """A user exists from Clerk's creation event to the deletion event, with the primary address."""
    with example() as app:
        app.accept(from_clerk(clerk_user("user.created"), delivery_id="msg_1"))
        (user,) = app.rows(User)
        assert (user.clerk_id, user.name, user.email) == (CLERK_ID, "Ada Lovelace", "ada@work.example")
        changed = clerk_user(
            "user.updated", last_name="King", primary_email_address_id="idn_1", updated_at=1654012599999
        )
        app.accept(from_clerk(changed, delivery_id="msg_2"))
        (same,) = app.rows(User)
        assert (same.id, same.name, same.email) == (user.id, "Ada King", "ada@example.org")
        app.accept(from_clerk(clerk_user_deleted(), delivery_id="msg_3"))
        assert app.rows(User) == []
        assert [record.event_type for record in app.rows(WebhookRecord)] == [
            "user.created",
            "user.updated",
            "user.deleted",
        ]


@dataclass(frozen=True)
class ClerkCase:
    """Changes to Clerk's user, and the expected row."""

    name: str
    changes: dict[str, Any]
    user_name: str
    email: str | None


@SLOW_ON_POSTGRES
@pytest.mark.parametrize(
    "case",
    [
        ClerkCase("no address", {"email_addresses": [], "primary_email_address_id": None}, "Ada Lovelace", None),
        ClerkCase("no primary", {"primary_email_address_id": None}, "Ada Lovelace", "ada@example.org"),
        ClerkCase("no names", {"first_name": None, "last_name": None}, "", "ada@work.example"),
        ClerkCase("other script", {"first_name": "Зоя", "last_name": None}, "Зоя", "ada@work.example"),
    ],
    ids=lambda case: case.name,
)
def test_user_of_clerk_with_missing_fields(case: ClerkCase) -> None:
    """A user with missing fields is stored without them, also if the update arrives before the creation."""
    with example() as app:
        app.accept(from_clerk(clerk_user("user.updated", **case.changes)))
        (user,) = app.rows(User)
        assert (user.name, user.email) == (case.user_name, case.email)


def test_deletion_of_an_unknown_user_is_recorded() -> None:
    """The deletion of an unknown user is processed and recorded."""
    with example() as app:
        app.accept(from_clerk(clerk_user_deleted("user_nobody")))
        assert app.rows(User) == []
        assert [deleted.clerk_id for deleted in app.rows(DeletedUser)] == ["user_nobody"]
        assert [record.status for record in app.rows(WebhookRecord)] == ["processed"]


def test_example_of_github_is_verified() -> None:
    """The request of GitHub's documentation, with the signature given there, is accepted and recorded."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    documented = Delivery("/webhooks/github", b"Hello, World!", {"X-Hub-Signature-256": signature})
    with example() as app:
        app.accept(documented)
        (record,) = app.rows(WebhookRecord)
        assert (record.source, record.payload, record.event_type) == ("github", "Hello, World!", "")


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_push_of_github_is_recorded(form: bool) -> None:
    """A push is recorded with its payload, in both content types that GitHub sends."""
    body = urlencode({"payload": json.dumps(GITHUB_PUSH)}).encode()
    delivery = from_github(body, content_type="application/x-www-form-urlencoded") if form else from_github(GITHUB_PUSH)
    with example() as app:
        app.accept(delivery)
        (record,) = app.rows(WebhookRecord)
        assert (record.event_type, record.payload, record.status) == ("push", GITHUB_PUSH, "processed")


OTHER_TYPES = {
    "invoice": lambda: from_stripe(stripe_event("invoice.paid", {"id": "in_1"})),
    "name of a method": lambda: from_stripe(stripe_event("__init__", {"id": "x"})),
    "session": lambda: from_clerk({"type": "session.created", "object": "event", "data": {"id": "sess_1"}}),
    "no type": lambda: from_clerk({"data": {"id": "without a type"}}),
    "ping": lambda: from_github({"zen": "Keep it logically awesome."}, kind="ping"),
}


@SLOW_ON_POSTGRES
@pytest.mark.parametrize("case", OTHER_TYPES)
def test_event_of_another_type_is_only_recorded(case: str) -> None:
    """An event without a handler is accepted and recorded, and changes nothing else."""
    with example() as app:
        app.accept(OTHER_TYPES[case]())
        assert [app.rows(document) for document in (Payment, Subscription, User, DeletedUser)] == [[]] * 4
        assert [record.status for record in app.rows(WebhookRecord)] == ["processed"]


# --- duplicates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", VALID_DELIVERIES)
def test_repeated_delivery_is_applied_once(provider: str) -> None:
    """A delivery that arrives three times is accepted each time and runs once."""
    with example() as app:
        delivery = VALID_DELIVERIES[provider]()
        app.accept(delivery)
        tables = (Payment, User, WebhookRecord, WebhookDelivery)
        after_one = [app.rows(table) for table in tables]
        app.accept(delivery, VALID_DELIVERIES[provider]())
        assert [app.rows(table) for table in tables] == after_one
        [inbox] = app.rows(WebhookDelivery)
        assert (inbox.source, inbox.state, len(inbox.attempts)) == (provider, "done", 1)


def test_two_events_of_one_checkout_are_one_payment() -> None:
    """Two events about the same checkout insert one payment and two records."""
    with example() as app:
        app.accept(from_stripe(checkout_completed("evt_1")), from_stripe(checkout_completed("evt_2")))
        assert len(app.rows(Payment)) == 1
        assert [record.event_id for record in app.rows(WebhookRecord)] == ["evt_1", "evt_2"]


def test_same_id_of_two_providers_is_two_events() -> None:
    """The same event id from two providers is two events."""
    with example() as app:
        app.accept(from_stripe(checkout_completed("same")), from_clerk(clerk_user("user.created"), delivery_id="same"))
        assert (len(app.rows(Payment)), len(app.rows(User)), len(app.rows(WebhookRecord))) == (1, 1, 2)


# --- signed events that cannot be applied ----------------------------------------------------------------------------

INVALID_EVENTS = {
    "session is a list": lambda: from_stripe(stripe_event("checkout.session.completed", [])),
    "session is null": lambda: from_stripe(stripe_event("checkout.session.completed", None)),
    "session without id": lambda: from_stripe(stripe_event("checkout.session.completed", {"amount_total": 1})),
    "id is a number": lambda: from_stripe(checkout_completed(id=5)),
    "amount is a text": lambda: from_stripe(checkout_completed(amount_total="2198")),
    "amount is a fraction": lambda: from_stripe(checkout_completed(amount_total=21.98)),
    "amount over 64 bits": lambda: from_stripe(checkout_completed(amount_total=HUGE)),
    "customer is expanded": lambda: from_stripe(checkout_completed(customer={"id": "cus_1"})),
    "data is a list": lambda: from_stripe({**checkout_completed(), "data": []}),
    "data is a text": lambda: from_stripe({**checkout_completed(), "data": "object"}),
    "data is null": lambda: from_stripe({**checkout_completed(), "data": None}),
    "no data": lambda: from_stripe({"id": "evt_1", "type": "checkout.session.completed"}),
    "no status": lambda: from_stripe(stripe_event("customer.subscription.updated", {"id": "sub_1"})),
    "items are a list": lambda: from_stripe(subscription_updated(items=[])),
    "item is null": lambda: from_stripe(subscription_updated(items={"data": [None]})),
    "created as a text": lambda: from_stripe(subscription_updated(created="now")),
    "created before 1970": lambda: from_stripe(subscription_updated(created=-1)),
    "created over 64 bits": lambda: from_stripe(subscription_updated(created=HUGE)),
    "created beyond a float": lambda: from_stripe(subscription_updated(created=10**400)),
    "updated in a fraction": lambda: from_clerk(clerk_user("user.updated", updated_at=0.5)),
    "updated over 64 bits": lambda: from_clerk(clerk_user("user.updated", updated_at=HUGE)),
    "period over 64 bits": lambda: from_stripe(subscription_updated(current_period_end=HUGE)),
    "user without id": lambda: from_clerk({"type": "user.created", "data": {"first_name": "Ada"}}),
    "user is null": lambda: from_clerk({"type": "user.created", "data": None}),
    "addresses are a text": lambda: from_clerk(clerk_user("user.updated", email_addresses="ada@example.org")),
    "address is incomplete": lambda: from_clerk(clerk_user("user.updated", email_addresses=[{"id": "idn_1"}])),
    "deletion without id": lambda: from_clerk({"type": "user.deleted", "data": {"deleted": True}}),
}


@SLOW_ON_POSTGRES
@pytest.mark.parametrize("case", INVALID_EVENTS)
def test_invalid_event_is_500(case: str) -> None:
    """A signed event that cannot be applied is 500 without effect, and the inbox has the attempt and its error."""
    with example() as app:
        response = app.deliver(INVALID_EVENTS[case]())
        assert (response.status_code, json.loads(response.data)["error"]) == (500, "Internal server error")
        assert app.is_unchanged()
        [inbox] = app.rows(WebhookDelivery)
        assert (inbox.state, [attempt.outcome for attempt in inbox.attempts]) == ("failed", ["failed"])
        assert "`$" in (inbox.error or "") or "Expected" in (inbox.error or "")


def test_duplicate_of_a_failed_event_runs_again() -> None:
    """A duplicate of a failed event runs again, and the inbox records each attempt."""
    with example() as app:
        assert app.deliver(from_stripe(checkout_completed("evt_1", id=None))).status_code == 500
        assert app.deliver(from_stripe(checkout_completed("evt_1", id=None))).status_code == 500
        app.accept(from_stripe(checkout_completed("evt_1")), from_stripe(checkout_completed("evt_1")))
        assert (len(app.rows(Payment)), len(app.rows(WebhookRecord))) == (1, 1)
        [inbox] = app.rows(WebhookDelivery)
        assert (inbox.state, inbox.error) == ("done", None)
        assert [attempt.outcome for attempt in inbox.attempts] == ["failed", "failed", "success"]


@SLOW_ON_POSTGRES
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"evt"', b"{}", b'{"id": 1, "type": "a"}', b'{"id": "", "type": "a"}', b"[" * 10_000],
    ids=lambda body: body[:12].decode() or "empty",
)
def test_signed_body_that_is_no_event_is_400(body: bytes) -> None:
    """A signed body that is no event of Stripe is 400 and is not recorded."""
    with example() as app:
        assert app.deliver(from_stripe(body)).status_code == 400
        assert app.is_unchanged()
        assert app.rows(WebhookDelivery) == []


def test_unusual_payload_is_recorded_unchanged() -> None:
    """A payload with NUL, quotes, other scripts and numbers over 64 bits is recorded unchanged."""
    odd = {"nul": "a\0b", "quotes": "'\";--", "script": "日本💡", "huge": HUGE, "list": [1.5, None, True]}
    with example() as app:
        app.accept(from_github(odd))
        (record,) = app.rows(WebhookRecord)
        assert {**record.payload, "huge": int(record.payload["huge"])} == odd
