"""Signed test deliveries: the vendors' own libraries accept them, and each fault has the right verdict."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
import standardwebhooks
import stripe
import svix.webhooks

from flask_convex_http import (
    GitHub,
    HmacSignature,
    MissingSecretError,
    StandardWebhooks,
    Stripe,
    Svix,
    VerificationError,
    from_env,
)
from flask_convex_http.webhooks import Provider, Secrets, Shopify, Slack
from flask_convex_http.webhooks.samples import SENDERS, Faults, SignedDelivery, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from tests.receivers import RETIRED, SECRET

HOUR = timedelta(hours=1)


Headers = Mapping[str, str]


def hmac_of(body: bytes, secret: str = SECRET) -> bytes:
    """Return the HMAC with SHA-256, computed by hand."""
    return hmac.new(secret.encode(), body, hashlib.sha256).digest()


def by_stripe(headers: Headers, body: bytes) -> None:
    """Verify with Stripe's library."""
    header = headers["Stripe-Signature"]
    if json.loads(body)["object"] == "event":
        stripe.Webhook.construct_event(body, header, SECRET)
    else:
        stripe.StripeClient("sk_test_1").parse_event_notification(body, header, SECRET)


def by_svix(headers: Headers, body: bytes) -> None:
    """Verify with Svix's library."""
    svix.webhooks.Webhook(SECRET).verify(body, dict(headers))


def by_standard(headers: Headers, body: bytes) -> None:
    """Verify with the Standard Webhooks library."""
    standardwebhooks.Webhook(SECRET).verify(body, dict(headers))


def by_github(headers: Headers, body: bytes) -> None:
    """Verify by hand: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    assert headers["X-Hub-Signature-256"] == f"sha256={hmac_of(body).hex()}"


def by_slack(headers: Headers, body: bytes) -> None:
    """Verify by hand: https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    base = f"v0:{headers['X-Slack-Request-Timestamp']}:".encode() + body
    assert headers["X-Slack-Signature"] == f"v0={hmac_of(base).hex()}"


def by_shopify(headers: Headers, body: bytes) -> None:
    """Verify by hand: https://shopify.dev/docs/apps/build/webhooks/verify-deliveries"""
    assert base64.b64decode(headers["X-Shopify-Hmac-Sha256"]) == hmac_of(body)


def by_hand(headers: Headers, body: bytes) -> None:
    """Verify that the header has the HMAC of the body."""
    assert headers["X-Signature"] == hmac_of(body).hex()


def lamps(secret: Secrets) -> HmacSignature:
    """Return a provider that signs with an HMAC."""
    return HmacSignature(secret=secret, header="X-Signature", id_field="id", type_field="type")


BUILD: dict[str, Callable[[Secrets], Provider]] = {
    "stripe": lambda secret: Stripe(secret=secret),
    "svix": lambda secret: Svix(secret=secret),
    "standard": lambda secret: StandardWebhooks(secret=secret),
    "github": lambda secret: GitHub(secret=secret),
    "slack": lambda secret: Slack(secret=secret),
    "shopify": lambda secret: Shopify(secret=secret),
    "hmac": lamps,
}
VERIFIERS: dict[str, Callable[[Headers, bytes], None]] = {
    "stripe": by_stripe,
    "svix": by_svix,
    "standard": by_standard,
    "github": by_github,
    "slack": by_slack,
    "shopify": by_shopify,
    "hmac": by_hand,
}
#: The samples of the other senders are verified in `tests/webhooks/providers`.
ALL = [(sender, name) for sender in SENDERS if SENDERS[sender] in BUILD for name in event_types(sender)]
FIRST = {name: event_types(name)[0] for name in BUILD}
#: Providers that sign no id, and those that sign no time.
UNSIGNED = ("github", "shopify")
UNTIMED = ("github", "shopify", "hmac")


def now() -> float:
    """Return the current time, which the vendors' libraries compare with."""
    return time.time() * 1000


def make(name: str, *types: str, secret: Secrets = SECRET, **faults: Any) -> tuple[Provider, list[SignedDelivery]]:
    """Return a provider and deliveries of it."""
    provider = BUILD[name](secret)
    return provider, make_deliveries(provider, types or [FIRST[name]], Faults(**faults), now=now())


def is_accepted(provider: Provider, delivery: SignedDelivery) -> bool:
    """Return whether the provider verifies a delivery."""
    try:
        provider.verify(delivery.headers, delivery.body)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize(("sender", "name"), ALL)
def test_the_vendors_accept_the_deliveries(sender: str, name: str) -> None:
    """The vendor's library, or its documented rule computed by hand, verifies every sample event."""
    verifier = SENDERS[sender]
    provider = BUILD[verifier](SECRET)
    (delivery,) = make_deliveries(provider, name, Faults(), now=now(), sender=sender)
    VERIFIERS[verifier](delivery.headers, delivery.body)
    event = provider.verify(delivery.headers, delivery.body)
    assert event.type == ("/mill" if name == "slash_command" else name)
    assert event.id == delivery.id or name == "url_verification"  # which has no id
    assert delivery.verdict == "accepted"


@pytest.mark.parametrize("name", BUILD)
def test_a_tampered_body_is_rejected_by_the_vendor(name: str) -> None:
    """A tampered body can still be parsed, and the vendor's library and the provider reject it."""
    provider, (delivery,) = make(name, tamper=True)
    assert b"tampered" in delivery.body
    with pytest.raises((AssertionError, stripe.SignatureVerificationError, standardwebhooks.WebhookVerificationError)):
        VERIFIERS[name](delivery.headers, delivery.body)
    assert delivery.verdict == "refused"
    assert not is_accepted(provider, delivery)


@pytest.mark.parametrize("name", BUILD)
def test_another_secret_is_rejected(name: str) -> None:
    """If the provider has only one secret, `old_secret` signs with a random one, which does not verify."""
    provider, (delivery,) = make(name, old_secret=True)
    assert delivery.verdict == "refused"
    assert not is_accepted(provider, delivery)


@pytest.mark.parametrize("name", BUILD)
def test_the_last_secret_is_accepted(name: str) -> None:
    """If the provider has several secrets, `old_secret` signs with the last one, which verifies."""
    provider, (delivery,) = make(name, secret=[SECRET, RETIRED], old_secret=True)
    event = provider.verify(delivery.headers, delivery.body)
    assert (delivery.verdict, event.secret_label) == ("accepted", "secret 2")


@pytest.mark.parametrize("name", BUILD)
def test_a_late_delivery_is_rejected_if_its_time_is_signed(name: str) -> None:
    """A delivery signed an hour ago is rejected by the providers that sign a time, and accepted by the others."""
    provider, (delivery,) = make(name, late=HOUR)
    assert delivery.verdict == ("accepted" if name in UNTIMED else "refused")
    assert is_accepted(provider, delivery) == (delivery.verdict == "accepted")


def test_a_delivery_within_the_tolerance_is_accepted() -> None:
    """A slightly late delivery is genuine, and its event has the time at which it was signed."""
    provider, (delivery,) = make("stripe", late=timedelta(minutes=4))
    assert delivery.verdict == "accepted"
    age = now() / 1000 - provider.verify(delivery.headers, delivery.body).payload["created"]
    assert 239 <= age <= 270


@pytest.mark.parametrize("name", BUILD)
def test_a_replay_under_a_fresh_id_has_no_new_signature(name: str) -> None:
    """The replay verifies if the id is not signed, and then has the content of the first delivery."""
    provider, (first, replay) = make(name, fresh_id=True)
    assert first.id != replay.id
    assert len(first.id) == len(replay.id)
    assert replay.verdict == ("accepted" if name in UNSIGNED else "refused")
    assert is_accepted(provider, replay) == (name in UNSIGNED)
    assert is_accepted(provider, first)
    if name in UNSIGNED:
        assert replay.body == first.body
        assert provider.verify(replay.headers, replay.body).id == replay.id


def test_a_replay_needs_an_id_to_replace() -> None:
    """A delivery without an id cannot be sent under a fresh one."""
    with pytest.raises(ValueError, match="'url_verification' carries no id"):
        make("slack", "url_verification", fresh_id=True)


def test_duplicates_are_one_delivery() -> None:
    """Duplicates are one delivery with a count. A replay is a delivery of its own."""
    _, (first, replay) = make("github", duplicate=4, fresh_id=True)
    assert (first.count, replay.count) == (4, 1)


def test_reordered_events_are_never_in_order() -> None:
    """Reordered events are never in the order in which they happened, and a seed fixes their order."""
    types = ["customer.created", "customer.subscription.created", "invoice.paid"]
    orders = {tuple(each.type for each in make("stripe", *types, reorder=True, seed=seed)[1]) for seed in range(20)}
    assert len(orders) > 1
    assert all(sorted(order) == types for order in orders)
    assert tuple(types) not in orders
    again = [[each.type for each in make("stripe", *types, reorder=True, seed=7)[1]] for _ in range(2)]
    assert again[0] == again[1]
    with pytest.raises(ValueError, match="two events or more"):
        make("stripe", reorder=True)


def test_a_secret_that_cannot_sign_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable and a malformed secret are reported by name, and no secret is shown."""
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    with pytest.raises(MissingSecretError, match="NO_SUCH_SECRET"):
        make("stripe", secret=from_env("NO_SUCH_SECRET"))
    with pytest.raises(MissingSecretError, match="not a valid signing secret") as caught:
        make("svix", secret="hush-hush")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("faults", [{"duplicate": 0}, {"duplicate": "2"}, {"late": -HOUR}, {"late": 60}])
def test_a_fault_out_of_range_is_an_error(faults: dict[str, Any]) -> None:
    """A count below one, and a time that is not a positive timedelta, raise ValueError."""
    with pytest.raises(ValueError, match=f"{next(iter(faults))}="):
        Faults(**faults)


def test_the_repr_contains_no_body_and_no_signature() -> None:
    """The repr of a delivery contains neither its body nor its headers."""
    _, (delivery,) = make("stripe")
    assert b"@example.com" in delivery.body
    assert "v1=" in delivery.headers["Stripe-Signature"]
    assert not any(part in repr(delivery) for part in ("@example.com", "v1="))
