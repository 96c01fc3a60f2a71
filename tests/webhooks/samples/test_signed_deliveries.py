"""Signed deliveries: taken by the vendors' own libraries, and each fault refused where it must be."""

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
from flask_convex_http.webhooks.samples import events as samples
from flask_convex_http.webhooks.samples.signed_deliveries import Faults, SignedDelivery, signed
from tests.receivers import RETIRED, SECRET

HOUR = timedelta(hours=1)


Headers = Mapping[str, str]


def hmac_of(body: bytes, secret: str = SECRET) -> bytes:
    """The SHA-256 HMAC, by hand."""
    return hmac.new(secret.encode(), body, hashlib.sha256).digest()


def by_stripe(headers: Headers, body: bytes) -> None:
    """Stripe's library takes it."""
    header = headers["Stripe-Signature"]
    if json.loads(body)["object"] == "event":
        stripe.Webhook.construct_event(body, header, SECRET)
    else:
        stripe.StripeClient("sk_test_1").parse_event_notification(body, header, SECRET)


def by_svix(headers: Headers, body: bytes) -> None:
    """Svix's library takes it."""
    svix.webhooks.Webhook(SECRET).verify(body, dict(headers))


def by_standard(headers: Headers, body: bytes) -> None:
    """The Standard Webhooks library takes it."""
    standardwebhooks.Webhook(SECRET).verify(body, dict(headers))


def by_github(headers: Headers, body: bytes) -> None:
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    assert headers["X-Hub-Signature-256"] == f"sha256={hmac_of(body).hex()}"


def by_slack(headers: Headers, body: bytes) -> None:
    """https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    base = f"v0:{headers['X-Slack-Request-Timestamp']}:".encode() + body
    assert headers["X-Slack-Signature"] == f"v0={hmac_of(base).hex()}"


def by_shopify(headers: Headers, body: bytes) -> None:
    """https://shopify.dev/docs/apps/build/webhooks/verify-deliveries"""
    assert base64.b64decode(headers["X-Shopify-Hmac-Sha256"]) == hmac_of(body)


def by_hand(headers: Headers, body: bytes) -> None:
    """The HMAC in the header is that of the body."""
    assert headers["X-Signature"] == hmac_of(body).hex()


def lamps(secret: Secrets) -> HmacSignature:
    """A sender that signs with an HMAC."""
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
JUDGES: dict[str, Callable[[Headers, bytes], None]] = {
    "stripe": by_stripe,
    "svix": by_svix,
    "standard": by_standard,
    "github": by_github,
    "slack": by_slack,
    "shopify": by_shopify,
    "hmac": by_hand,
}
ALL = [(sender, name) for sender in samples.SENDERS for name in samples.names(sender)]
FIRST = {name: samples.names(name)[0] for name in BUILD}
#: Whose deliveries carry no signed id, and no signed time.
UNSIGNED = ("github", "shopify")
UNTIMED = ("github", "shopify", "hmac")


def now() -> float:
    """The present, which the vendors' libraries ask the system for."""
    return time.time() * 1000


def make(name: str, *types: str, secret: Secrets = SECRET, at: float | None = None, **faults: Any) -> Any:
    """Deliveries of a provider: the provider and what it sends."""
    provider, chosen = BUILD[name](secret), Faults(**faults)
    present = now() if at is None else at
    made = samples.events(name, types or [FIRST[name]], now=chosen.sent_at(present))
    return provider, signed(provider, made, chosen, now=present)


def is_accepted(provider: Provider, delivery: SignedDelivery) -> bool:
    """What the provider itself says."""
    try:
        provider.verify(delivery.headers, delivery.body)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize(("sender", "name"), ALL)
def test_the_vendors_take_what_is_signed(sender: str, name: str) -> None:
    """Each sample of each sender is taken by the vendor's own library, or by its documented rule done by hand."""
    verifier = samples.SENDERS[sender]
    provider = BUILD[verifier](SECRET)
    (delivery,) = signed(provider, [samples.event(sender, name, now=now())], Faults(), now=now())
    JUDGES[verifier](delivery.headers, delivery.body)
    event = provider.verify(delivery.headers, delivery.body)
    assert event.type == ("/mill" if name == "slash_command" else name)
    assert event.id == delivery.id or name == "url_verification"  # which has no id
    assert delivery.verdict == "accepted"


@pytest.mark.parametrize("name", BUILD)
def test_a_vendor_refuses_what_was_tampered_with(name: str) -> None:
    """An altered body still reads as one, and is refused by the vendor's library and by the provider."""
    provider, (delivery,) = make(name, tamper=True)
    assert b"tampered" in delivery.body
    with pytest.raises((AssertionError, stripe.SignatureVerificationError, standardwebhooks.WebhookVerificationError)):
        JUDGES[name](delivery.headers, delivery.body)
    assert delivery.verdict == "refused"
    assert not is_accepted(provider, delivery)


@pytest.mark.parametrize("name", BUILD)
def test_a_secret_that_is_not_the_receivers_is_refused(name: str) -> None:
    """With one secret alone `old_secret` signs with another, which does not verify."""
    provider, (delivery,) = make(name, old_secret=True)
    assert delivery.verdict == "refused"
    assert not is_accepted(provider, delivery)


@pytest.mark.parametrize("name", BUILD)
def test_a_secret_that_is_being_retired_is_good(name: str) -> None:
    """Of several secrets `old_secret` signs with the last, and the provider says which one matched."""
    provider, (delivery,) = make(name, secret=[SECRET, RETIRED], old_secret=True)
    event = provider.verify(delivery.headers, delivery.body)
    assert (delivery.verdict, event.secret_label) == ("accepted", "secret 2")


@pytest.mark.parametrize("name", BUILD)
def test_a_late_delivery_is_refused_where_the_time_is_signed(name: str) -> None:
    """What was signed an hour ago is refused by those that sign a time, and taken from those that do not."""
    provider, (delivery,) = make(name, late=HOUR)
    assert delivery.verdict == ("accepted" if name in UNTIMED else "refused")
    assert is_accepted(provider, delivery) == (delivery.verdict == "accepted")


def test_a_little_late_is_early_enough() -> None:
    """Within the tolerance a late delivery is genuine, and its event happened when it was signed."""
    provider, (delivery,) = make("stripe", late=timedelta(minutes=4))
    assert delivery.verdict == "accepted"
    age = now() / 1000 - provider.verify(delivery.headers, delivery.body).payload["created"]
    assert 239 <= age <= 270


@pytest.mark.parametrize("name", BUILD)
def test_a_replay_under_another_id_is_made_without_the_secret(name: str) -> None:
    """Where the id is signed the replay does not verify; where it is not, it does, with the content of the first."""
    provider, (first, replay) = make(name, fresh_id=True)
    assert first.id != replay.id
    assert len(first.id) == len(replay.id)
    assert replay.verdict == ("accepted" if name in UNSIGNED else "refused")
    assert is_accepted(provider, replay) == (name in UNSIGNED)
    assert is_accepted(provider, first)
    if name in UNSIGNED:
        assert replay.body == first.body
        assert provider.verify(replay.headers, replay.body).id == replay.id


def test_a_replay_needs_an_id_to_change() -> None:
    """What carries no id cannot come under another one."""
    with pytest.raises(ValueError, match="'url_verification' carries no id"):
        make("slack", "url_verification", fresh_id=True)


def test_copies_are_one_delivery() -> None:
    """Copies are the same bytes, so they are one delivery that is sent several times; a replay is one more."""
    _, (first, replay) = make("github", duplicate=4, fresh_id=True)
    assert (first.copies, replay.copies) == (4, 1)


def test_another_order_is_another_order() -> None:
    """Reordered events are the same ones, never in the order they happened; a seed says which order."""
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
    """A variable that is not set, and a secret in another form, are said to be that; no secret is shown."""
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    with pytest.raises(MissingSecretError, match="NO_SUCH_SECRET"):
        make("stripe", secret=from_env("NO_SUCH_SECRET"))
    with pytest.raises(MissingSecretError, match="not a valid signing secret") as caught:
        make("svix", secret="hush-hush")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("faults", [{"duplicate": 0}, {"duplicate": "2"}, {"late": -HOUR}, {"late": 60}])
def test_faults_that_cannot_be_are_refused(faults: dict[str, Any]) -> None:
    """A count below one and a time that is no length of time are mistakes."""
    with pytest.raises(ValueError, match=f"{next(iter(faults))}="):
        Faults(**faults)


def test_neither_bodies_nor_signatures_are_shown() -> None:
    """The repr of a delivery has no payload and no signature."""
    _, (delivery,) = make("stripe")
    assert b"@example.com" in delivery.body
    assert "v1=" in delivery.headers["Stripe-Signature"]
    assert not any(part in repr(delivery) for part in ("@example.com", "v1="))
