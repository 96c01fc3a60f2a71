"""Webhooks in the form of each provider, signed by the provider's own library where one exists."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import stripe
import svix.webhooks

JSON = "application/json; charset=utf-8"

#: The secret of the example in GitHub's documentation:
#: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
GITHUB_SECRET = "It's a Secret to Everybody"
STRIPE_SECRET = "whsec_" + "5f2b" * 16
CLERK_SECRET = "whsec_" + base64.b64encode(b"clerk's secret, 24 bytes").decode()
SECRETS = {
    "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
    "GITHUB_WEBHOOK_SECRET": GITHUB_SECRET,
    "CLERK_WEBHOOK_SECRET": CLERK_SECRET,
}


@dataclass(frozen=True)
class Delivery:
    """A webhook, ready to be sent."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    def with_body(self, body: bytes) -> "Delivery":
        """Return a delivery with the same headers and another body, as an attacker would send it."""
        return replace(self, body=body)

    def with_header(self, name: str, value: str) -> "Delivery":
        """Return the delivery with another value of a header."""
        return replace(self, headers={**self.headers, name: value})

    def without_header(self, name: str) -> "Delivery":
        """Return the delivery without this header."""
        return replace(self, headers={key: value for key, value in self.headers.items() if key != name})


def encoded(event: Any) -> bytes:
    """Return an event as a body, or bytes as they are."""
    return event if isinstance(event, bytes) else json.dumps(event, indent=2).encode()


def from_stripe(event: Any, *, secret: str = STRIPE_SECRET, seconds_ago: int = 0) -> Delivery:
    """Return a delivery that Stripe's library has signed."""
    body = encoded(event)
    at = int(time.time()) - seconds_ago
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    return Delivery("/webhooks/stripe", body, {"Content-Type": JSON, "Stripe-Signature": signature})


def from_clerk(
    event: Any, *, secret: str = CLERK_SECRET, delivery_id: str = "msg_2c1", seconds_ago: int = 0
) -> Delivery:
    """Return a delivery that Svix's library has signed."""
    body = encoded(event)
    at = int(time.time()) - seconds_ago
    signature = svix.webhooks.Webhook(secret).sign(delivery_id, datetime.fromtimestamp(at, UTC), body.decode())
    headers = {"svix-id": delivery_id, "svix-timestamp": str(at), "svix-signature": signature}
    return Delivery("/webhooks/clerk", body, {"Content-Type": JSON, **headers})


def from_github(
    event: Any, *, secret: str = GITHUB_SECRET, kind: str = "push", content_type: str = "application/json"
) -> Delivery:
    """Return a delivery that is signed as GitHub's documentation describes."""
    body = encoded(event)
    signature = hmac.new(secret.encode(), body, "sha256").hexdigest()
    headers = {
        "Content-Type": content_type,
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": kind,
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    return Delivery("/webhooks/github", body, headers)


# --- events of Stripe ------------------------------------------------------------------------------------------------


def stripe_event(event_type: str, subject: Any, event_id: str = "evt_1PqXw2LkdIwHu7ixC0ffee01") -> dict[str, Any]:
    """Return an event of Stripe about this object."""
    return {
        "id": event_id,
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": 1764000000,
        "data": {"object": subject},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": event_type,
    }


def checkout_completed(event_id: str = "evt_1PqXw2LkdIwHu7ixC0ffee01", **changes: Any) -> dict[str, Any]:
    """Return a `checkout.session.completed` event."""
    session = {
        "id": "cs_test_a1Yz6bZ3vSfIYw0wFQ9WmD5sA7",
        "object": "checkout.session",
        "amount_subtotal": 2198,
        "amount_total": 2198,
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "client_reference_id": None,
        "currency": "usd",
        "customer": "cus_NffrFeUfNV2Hib",
        "customer_details": {"address": None, "email": "jenny@example.com", "name": "Jenny Rosen", "tax_ids": []},
        "expires_at": 1764086400,
        "livemode": False,
        "metadata": {},
        "mode": "payment",
        "payment_intent": "pi_1PqXvzLkdIwHu7ix",
        "payment_method_types": ["card"],
        "payment_status": "paid",
        "status": "complete",
        "success_url": "https://example.com/success",
        "url": None,
    }
    return stripe_event("checkout.session.completed", session | changes, event_id)


def subscription_updated(
    event_id: str = "evt_1PqXw9LkdIwHu7ixC0ffee02", *, created: Any = 1764000000, **changes: Any
) -> dict[str, Any]:
    """Return a `customer.subscription.updated` event with the period's end in its items, as of API 2025-03-31."""
    price = {"id": "price_1Mow", "object": "price", "currency": "usd", "unit_amount": 1000}
    item = {"id": "si_NcLYdDxLHxlFo7", "object": "subscription_item", "price": price, "quantity": 1}
    item |= {"current_period_start": 1764000000, "current_period_end": 1766592000}
    subscription = {
        "id": "sub_1MowQVLkdIwHu7ixeRlqHVzs",
        "object": "subscription",
        "cancel_at_period_end": False,
        "collection_method": "charge_automatically",
        "customer": "cus_NffrFeUfNV2Hib",
        "items": {"object": "list", "data": [item], "has_more": False, "url": "/v1/subscription_items"},
        "latest_invoice": "in_1MowQWLkdIwHu7ixuzkSPfKd",
        "metadata": {},
        "status": "active",
    }
    event = stripe_event("customer.subscription.updated", subscription | changes, event_id)
    event["data"]["previous_attributes"] = {"status": "trialing"}
    return event | {"created": created}


# --- events of Clerk -------------------------------------------------------------------------------------------------


def clerk_user(event_type: str, **changes: Any) -> dict[str, Any]:
    """Return a `user.created` or `user.updated` event."""
    second = {"id": "idn_2", "object": "email_address", "email_address": "ada@work.example", "reserved": False}
    first = {"id": "idn_1", "object": "email_address", "email_address": "ada@example.org", "reserved": False}
    user = {
        "id": "user_29w83sxmDNGwOuEthce5gg56FcC",
        "object": "user",
        "birthday": "",
        "created_at": 1654012591514,
        "email_addresses": [first, second],
        "external_accounts": [],
        "first_name": "Ada",
        "gender": "",
        "image_url": "https://img.clerk.com/xxxxxx",
        "last_name": "Lovelace",
        "last_sign_in_at": 1654012591514,
        "password_enabled": True,
        "phone_numbers": [],
        "primary_email_address_id": "idn_2",
        "public_metadata": {},
        "updated_at": 1654012591835,
        "username": None,
    }
    attributes = {"http_request": {"client_ip": "0.0.0.0", "user_agent": "Mozilla/5.0"}}
    return {"data": user | changes, "event_attributes": attributes, "object": "event", "type": event_type}


def clerk_user_deleted(user_id: str = "user_29w83sxmDNGwOuEthce5gg56FcC") -> dict[str, Any]:
    """Return a `user.deleted` event."""
    return {
        "data": {"deleted": True, "id": user_id, "object": "user"},
        "object": "event",
        "type": "user.deleted",
    }


# --- events of GitHub ------------------------------------------------------------------------------------------------

GITHUB_PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    "after": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
    "repository": {"id": 186853002, "full_name": "Codertocat/Hello-World", "private": False},
    "pusher": {"name": "Codertocat", "email": "21031067+Codertocat@users.noreply.github.com"},
    "commits": [{"id": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c", "message": "Grüße"}],
}


# --- one valid delivery of each provider ------------------------------------------------------------------------------

VALID_DELIVERIES: dict[str, Callable[[], Delivery]] = {
    "stripe": lambda: from_stripe(checkout_completed()),
    "clerk": lambda: from_clerk(clerk_user("user.created")),
    "github": lambda: from_github(GITHUB_PUSH),
}
SIGNATURES = {"stripe": "Stripe-Signature", "clerk": "svix-signature", "github": "X-Hub-Signature-256"}
