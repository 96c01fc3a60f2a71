"""The webhooks of the example: what a verified event does, once, and what everything else does not do."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from example_app.schema import Payment, Subscription, User, WebhookRecord
from tests.example.application import CLERK_SECRET, GITHUB_SECRET, SECRETS, STRIPE_SECRET, Example, example
from tests.example.deliveries import (
    GITHUB_PUSH,
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

CLERK_ID = "user_29w83sxmDNGwOuEthce5gg56FcC"
HUGE = 2**70


def stripe(event: Any, **options: Any) -> Delivery:
    return from_stripe(event, STRIPE_SECRET, **options)


def clerk(event: Any, **options: Any) -> Delivery:
    return from_clerk(event, CLERK_SECRET, **options)


def github(event: Any, **options: Any) -> Delivery:
    return from_github(event, GITHUB_SECRET, **options)


GENUINE: dict[str, Callable[[], Delivery]] = {
    "stripe": lambda: stripe(checkout_completed()),
    "clerk": lambda: clerk(clerk_user("user.created")),
    "github": lambda: github(GITHUB_PUSH),
}


def accepted(app: Example, *deliveries: Delivery) -> None:
    """Send deliveries that must each be answered OK."""
    answers = [app.deliver(delivery) for delivery in deliveries]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "OK")] * len(deliveries)


def no_effects(app: Example) -> bool:
    """Whether nothing that webhooks change was changed."""
    return not (app.rows(Payment) or app.rows(Subscription) or app.rows(User))


# --- what an event does ----------------------------------------------------------------------------------------------


def test_completed_checkout_becomes_a_payment() -> None:
    """A completed checkout is one payment, and its event is recorded whole."""
    with example() as app:
        before = app.backend.clock()
        accepted(app, stripe(checkout_completed()))
        (payment,) = app.rows(Payment)
        assert (payment.session_id, payment.customer) == ("cs_test_a1Yz6bZ3vSfIYw0wFQ9WmD5sA7", "cus_NffrFeUfNV2Hib")
        assert (payment.amount_total, payment.currency, payment.status) == (2198, "usd", "completed")
        (record,) = app.rows(WebhookRecord)
        assert (record.source, record.event_type) == ("stripe", "checkout.session.completed")
        assert (record.status, record.error) == ("processed", None)
        assert record.payload == checkout_completed()
        assert before <= record.processed_at <= app.backend.clock()


def test_checkout_of_a_guest_becomes_a_payment() -> None:
    """A checkout without customer, amount and currency, as a set-up session is, becomes a payment too."""
    with example() as app:
        accepted(app, stripe(checkout_completed(customer=None, amount_total=None, currency=None, mode="setup")))
        (payment,) = app.rows(Payment)
        assert (payment.customer, payment.amount_total, payment.currency) == (None, None, None)


def test_subscription_has_its_latest_state() -> None:
    """Each update of a subscription replaces what was known of it."""
    with example() as app:
        accepted(
            app,
            stripe(subscription_updated("evt_1")),
            stripe(subscription_updated("evt_2", status="past_due", customer="cus_2")),
            stripe(subscription_updated("evt_3", id="sub_other", status="trialing")),
        )
        first, second = app.rows(Subscription)
        assert (first.stripe_id, first.status, first.customer) == ("sub_1MowQVLkdIwHu7ixeRlqHVzs", "past_due", "cus_2")
        assert (second.stripe_id, second.status) == ("sub_other", "trialing")
        assert len(app.rows(WebhookRecord)) == 3


def test_end_of_the_period_is_found_in_both_versions_of_the_api() -> None:
    """The period's end is read from the items, where Stripe has it now, and from the subscription, where it was."""
    with example() as app:
        accepted(app, stripe(subscription_updated("evt_1")))
        accepted(app, stripe(subscription_updated("evt_2", id="sub_old", items={"data": []}, current_period_end=1700000000)))
        assert [row.current_period_end for row in app.rows(Subscription)] == [1766592000, 1700000000]


def test_clerk_creates_updates_and_deletes_a_user() -> None:
    """A user of Clerk's is here from their creation to their deletion, with the primary address."""
    with example() as app:
        accepted(app, clerk(clerk_user("user.created"), delivery_id="msg_1"))
        (user,) = app.rows(User)
        assert (user.clerk_id, user.name, user.email) == (CLERK_ID, "Ada Lovelace", "ada@work.example")
        changed = clerk_user("user.updated", last_name="King", primary_email_address_id="idn_1")
        accepted(app, clerk(changed, delivery_id="msg_2"))
        (same,) = app.rows(User)
        assert (same.id, same.name, same.email) == (user.id, "Ada King", "ada@example.org")
        accepted(app, clerk(clerk_user_deleted(), delivery_id="msg_3"))
        assert app.rows(User) == []
        assert [record.event_type for record in app.rows(WebhookRecord)] == ["user.created", "user.updated", "user.deleted"]


@dataclass(frozen=True)
class ClerkCase:
    """What Clerk says of a user, and who is here then."""

    name: str
    changes: dict[str, Any]
    user_name: str
    email: str | None


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
def test_sparse_user_of_clerk_is_kept(case: ClerkCase) -> None:
    """What Clerk leaves out of a user is left out here, also when the update comes before the creation."""
    with example() as app:
        accepted(app, clerk(clerk_user("user.updated", **case.changes)))
        (user,) = app.rows(User)
        assert (user.name, user.email) == (case.user_name, case.email)


def test_deleting_an_unknown_user_is_fine() -> None:
    """The deletion of a user who is not here is processed and changes nothing."""
    with example() as app:
        accepted(app, clerk(clerk_user_deleted("user_nobody")))
        assert no_effects(app)
        assert [record.status for record in app.rows(WebhookRecord)] == ["processed"]


def test_example_of_github_is_verified() -> None:
    """The request of GitHub's documentation, with its signature written out, is accepted and recorded."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    documented = Delivery("/webhooks/github", b"Hello, World!", {"X-Hub-Signature-256": signature})
    with example() as app:
        accepted(app, documented)
        (record,) = app.rows(WebhookRecord)
        assert (record.source, record.payload, record.event_type) == ("github", "Hello, World!", "")


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_push_of_github_is_recorded(form: bool) -> None:
    """A push is recorded with its payload, whichever content type the webhook was set to."""
    body = urlencode({"payload": json.dumps(GITHUB_PUSH)}).encode()
    delivery = github(body, content_type="application/x-www-form-urlencoded") if form else github(GITHUB_PUSH)
    with example() as app:
        accepted(app, delivery)
        (record,) = app.rows(WebhookRecord)
        assert (record.event_type, record.payload, record.status) == ("push", GITHUB_PUSH, "processed")


OTHER_TYPES = {
    "invoice": lambda: stripe(stripe_event("invoice.paid", {"id": "in_1"})),
    "odd name": lambda: stripe(stripe_event("__init__", {"id": "x"})),
    "session": lambda: clerk({"type": "session.created", "object": "event", "data": {"id": "sess_1"}}),
    "no type": lambda: clerk({"data": {"id": "without a type"}}),
    "ping": lambda: github({"zen": "Keep it logically awesome."}, kind="ping"),
}


@pytest.mark.parametrize("case", OTHER_TYPES)
def test_event_of_another_type_is_only_recorded(case: str) -> None:
    """An event nobody handles is answered OK and recorded, and changes nothing else."""
    with example() as app:
        accepted(app, OTHER_TYPES[case]())
        assert no_effects(app)
        assert [record.status for record in app.rows(WebhookRecord)] == ["processed"]


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", GENUINE)
def test_repeated_delivery_is_applied_once(provider: str) -> None:
    """A delivery that comes three times is answered OK three times and leaves what it left the first time."""
    with example() as app:
        delivery = GENUINE[provider]()
        accepted(app, delivery)
        after_one = (app.rows(Payment), app.rows(User), app.rows(WebhookRecord))
        accepted(app, delivery, GENUINE[provider]())
        assert (app.rows(Payment), app.rows(User), app.rows(WebhookRecord)) == after_one


def test_late_repetition_does_not_undo_what_came_after() -> None:
    """A user's creation delivered again after their deletion does not bring them back."""
    with example() as app:
        created = clerk(clerk_user("user.created"), delivery_id="msg_1")
        accepted(app, created, clerk(clerk_user_deleted(), delivery_id="msg_2"), created)
        assert app.rows(User) == []


def test_two_events_of_one_checkout_are_one_payment() -> None:
    """Two events about the same checkout make one payment and two records."""
    with example() as app:
        accepted(app, stripe(checkout_completed("evt_1")), stripe(checkout_completed("evt_2")))
        assert len(app.rows(Payment)) == 1
        assert [record.event_id for record in app.rows(WebhookRecord)] == ["evt_1", "evt_2"]


def test_same_id_of_two_providers_is_two_events() -> None:
    """An id that two providers use is an event of each."""
    with example() as app:
        accepted(app, stripe(checkout_completed("same")), clerk(clerk_user("user.created"), delivery_id="same"))
        assert (len(app.rows(Payment)), len(app.rows(User)), len(app.rows(WebhookRecord))) == (1, 1, 2)


# --- signed, but not what it should be -------------------------------------------------------------------------------

OUT_OF_SHAPE = {
    "session is a list": lambda: stripe(stripe_event("checkout.session.completed", [])),
    "session is null": lambda: stripe(stripe_event("checkout.session.completed", None)),
    "session without id": lambda: stripe(stripe_event("checkout.session.completed", {"amount_total": 1})),
    "id is a number": lambda: stripe(checkout_completed(id=5)),
    "amount is a text": lambda: stripe(checkout_completed(amount_total="2198")),
    "amount is a fraction": lambda: stripe(checkout_completed(amount_total=21.98)),
    "amount over 64 bits": lambda: stripe(checkout_completed(amount_total=HUGE)),
    "customer is expanded": lambda: stripe(checkout_completed(customer={"id": "cus_1"})),
    "data is a list": lambda: stripe({**checkout_completed(), "data": []}),
    "data is a text": lambda: stripe({**checkout_completed(), "data": "object"}),
    "data is null": lambda: stripe({**checkout_completed(), "data": None}),
    "no data": lambda: stripe({"id": "evt_1", "type": "checkout.session.completed"}),
    "no status": lambda: stripe(stripe_event("customer.subscription.updated", {"id": "sub_1"})),
    "items are a list": lambda: stripe(subscription_updated(items=[])),
    "item is null": lambda: stripe(subscription_updated(items={"data": [None]})),
    "period over 64 bits": lambda: stripe(subscription_updated(current_period_end=HUGE)),
    "user without id": lambda: clerk({"type": "user.created", "data": {"first_name": "Ada"}}),
    "user is null": lambda: clerk({"type": "user.created", "data": None}),
    "addresses are a text": lambda: clerk(clerk_user("user.updated", email_addresses="ada@example.org")),
    "address is incomplete": lambda: clerk(clerk_user("user.updated", email_addresses=[{"id": "idn_1"}])),
    "deleted nobody": lambda: clerk({"type": "user.deleted", "data": {"deleted": True}}),
}


@pytest.mark.parametrize("case", OUT_OF_SHAPE)
def test_event_out_of_shape_is_recorded_as_failed(case: str) -> None:
    """A signed event that cannot be applied is 422, recorded with its error, and has no effect."""
    with example() as app:
        answer = app.deliver(OUT_OF_SHAPE[case]())
        assert (answer.status_code, answer.json) == (422, {"error": "The event could not be applied"})
        assert no_effects(app)
        (record,) = app.rows(WebhookRecord)
        assert record.status == "failed"
        assert record.error


def test_failed_event_can_be_delivered_again() -> None:
    """An event that failed and comes again in shape is applied, and its record says so."""
    with example() as app:
        assert app.deliver(stripe(checkout_completed("evt_1", id=None))).status_code == 422
        assert app.deliver(stripe(checkout_completed("evt_1", id=None))).status_code == 422
        assert [record.status for record in app.rows(WebhookRecord)] == ["failed"]
        accepted(app, stripe(checkout_completed("evt_1")))
        assert len(app.rows(Payment)) == 1
        (record,) = app.rows(WebhookRecord)
        assert (record.status, record.error) == ("processed", None)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"evt"', b"{}", b'{"id": 1, "type": "a"}', b'{"id": "", "type": "a"}', b"[" * 10_000],
    ids=lambda body: body[:12].decode() or "empty",
)
def test_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    """A signed body that Stripe would not send is 400 and is not recorded."""
    with example() as app:
        assert app.deliver(stripe(body)).status_code == 400
        assert app.rows(WebhookRecord) == []


def test_odd_texts_and_numbers_of_a_payload_are_kept() -> None:
    """A payload with NUL, quotes, other scripts and numbers over 64 bits is recorded as it was sent."""
    odd = {"nul": "a\0b", "quotes": "'\";--", "script": "日本💡", "huge": HUGE, "list": [1.5, None, True]}
    with example() as app:
        accepted(app, github(odd))
        (record,) = app.rows(WebhookRecord)
        assert {**record.payload, "huge": int(record.payload["huge"])} == odd


# --- what is refused -------------------------------------------------------------------------------------------------

SIGNATURES = {"stripe": "Stripe-Signature", "clerk": "svix-signature", "github": "X-Hub-Signature-256"}


def refused(app: Example, delivery: Delivery) -> None:
    """Send a delivery that must be answered 400 and leave nothing."""
    answer = app.deliver(delivery)
    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert [value for value in SECRETS.values() if value in answer.text] == []
    assert no_effects(app)
    assert app.rows(WebhookRecord) == []


@pytest.mark.parametrize("provider", GENUINE)
def test_tampered_delivery_is_refused(provider: str) -> None:
    """A changed body, a changed or missing signature, and that of another delivery are each 400."""
    delivery, name = GENUINE[provider](), SIGNATURES[provider]
    signature = delivery.headers[name]
    last = "0" if signature[-2] != "0" else "1"
    with example() as app:
        refused(app, delivery.with_body(delivery.body + b" "))
        refused(app, delivery.with_body(delivery.body.replace(b"a", b"b", 1)))
        refused(app, delivery.with_body(b""))
        refused(app, delivery.without_header(name))
        for value in ("", " ", "garbage", "sha256=", "v1,", "t=,v1=", signature[:-2] + last + signature[-1], "é" * 64):
            refused(app, delivery.with_header(name, value))


@pytest.mark.parametrize("provider", GENUINE)
def test_delivery_signed_with_another_secret_is_refused(provider: str) -> None:
    """A delivery signed with a secret that is not ours is 400."""
    other = {
        "stripe": from_stripe(checkout_completed(), STRIPE_SECRET + "0"),
        "clerk": from_clerk(clerk_user("user.created"), "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCE="),
        "github": from_github(GITHUB_PUSH, GITHUB_SECRET + " "),
    }
    with example() as app:
        refused(app, other[provider])


@pytest.mark.parametrize("seconds_ago", [330, 86_400, 10**9, -330], ids=["5 minutes", "a day", "decades", "future"])
@pytest.mark.parametrize("provider", ["stripe", "clerk"])
def test_delivery_of_another_time_is_refused(provider: str, seconds_ago: int) -> None:
    """A delivery that was signed more than five minutes from now is 400, as somebody may have kept it."""
    stale = {
        "stripe": lambda: stripe(checkout_completed(), seconds_ago=seconds_ago),
        "clerk": lambda: clerk(clerk_user("user.created"), seconds_ago=seconds_ago),
    }
    with example() as app:
        refused(app, stale[provider]())


@pytest.mark.parametrize(
    ("provider", "name", "value"),
    [("clerk", "svix-id", "msg_other"), ("clerk", "svix-timestamp", "1"), ("clerk", "svix-timestamp", "now")],
)
def test_signed_header_cannot_be_changed(provider: str, name: str, value: str) -> None:
    """The id and the time of a delivery are signed: with others it is 400."""
    with example() as app:
        refused(app, GENUINE[provider]().with_header(name, value))


@pytest.mark.parametrize("variable", SECRETS)
def test_unset_secret_is_named(variable: str) -> None:
    """Without its secret a webhook is 503 and names the variable, whatever was sent; the others work on."""
    provider = variable.partition("_")[0].lower()
    with example({name: value for name, value in SECRETS.items() if name != variable}) as app:
        genuine = GENUINE[provider]()
        for delivery in (genuine, Delivery(genuine.path, b"", {}), genuine.with_header(SIGNATURES[provider], "x")):
            answer = app.deliver(delivery)
            assert (answer.status_code, answer.mimetype) == (503, "application/json")
            assert variable in answer.text
        assert app.rows(WebhookRecord) == []
        accepted(app, *[build() for name, build in GENUINE.items() if name != provider])


@pytest.mark.parametrize("provider", GENUINE)
def test_webhook_takes_only_post(provider: str) -> None:
    """Asking for a webhook's path is 405, and pages of other origins get no leave to use it."""
    with example() as app:
        path = GENUINE[provider]().path
        for answer in (app.client.get(path), app.client.put(path)):
            assert (answer.status_code, answer.allow.as_set()) == (405, {"post"})
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = app.client.options(path, headers=preflight)
        assert answer.status_code == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
