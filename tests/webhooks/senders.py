"""Senders for tests: how each provider is created, and how the vendor's own library signs its deliveries.

A new provider is one `Sender` here. The contract tests then run on it.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import slack_sdk.signature
import standardwebhooks
import stripe
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flask_convex_http.webhooks import (
    GitHub,
    HmacSignature,
    Provider,
    Secrets,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
)

BODY = b'{"id": "evt_1", "type": "order.paid", "data": {"name": "L\xc3\xa1mpara"}}'
NOW = 1_750_000_000
SECRET = "whsec_" + base64.b64encode(b"the secret in use, 24 bytes!").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the secret being retired now").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret of another sender..").decode()
VARIABLE = "CONTRACT_WEBHOOK_SECRET"

Headers = dict[str, str]


def key_pair(name: str) -> tuple[str, str]:
    """Return the public and the private key of a name, as Standard Webhooks writes them."""
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    public = key.public_key().public_bytes_raw()
    private = key.private_bytes_raw() + public
    return "whpk_" + base64.b64encode(public).decode(), "whsk_" + base64.b64encode(private).decode()


PUBLIC_KEY, OLD_PUBLIC_KEY, OTHER_PUBLIC_KEY = (key_pair(name)[0] for name in ("in use", "old", "other"))
#: The private key of each public one.
PRIVATE_KEYS = dict(key_pair(name) for name in ("in use", "old", "other"))


@dataclass(frozen=True)
class Sender:
    """A provider with a delivery of it that the vendor's library, or its documented rule, has signed."""

    build: Callable[..., Provider]
    sign: Callable[[str, bytes, int], Headers]
    event_id: str
    event_type: str
    #: The required headers.
    needed: tuple[str, ...]
    timed: bool = True
    #: The receiver's secret.
    secret: str = SECRET
    old_secret: str = OLD_SECRET
    other_secret: str = OTHER_SECRET
    body: bytes = BODY
    #: False for a sender that only sends its secret.
    signs_body: bool = True

    @property
    def signing_secret(self) -> str:
        """The sender's secret, which is a private key where the receiver has a public one."""
        return PRIVATE_KEYS.get(self.secret, self.secret)

    def provider(self, secret: Secrets | None = None, **options: Any) -> Provider:
        """Create the provider."""
        return self.build(secret=self.secret if secret is None else secret, **options)

    def headers(self, *, secret: str | None = None, body: bytes | None = None, at: int = NOW) -> Headers:
        """Sign a body and return the headers of the delivery."""
        signed = self.sign(secret or self.secret, self.body if body is None else body, at)
        return {"Content-Type": "application/json", **signed}


def sign_stripe(secret: str, body: bytes, at: int) -> Headers:
    """Sign with Stripe's library."""
    text = body.decode("utf-8", "replace")
    return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(text, secret, at)}


def sign_svix(secret: str, body: bytes, at: int) -> Headers:
    """Sign with Svix's library."""
    when, text = datetime.fromtimestamp(at, tz=UTC), body.decode("utf-8", "replace")
    signature = svix.webhooks.Webhook(secret).sign("msg_1", when, text)
    return {"svix-id": "msg_1", "svix-timestamp": str(at), "svix-signature": signature}


def sign_standard(secret: str, body: bytes, at: int) -> Headers:
    """Sign with the standardwebhooks package."""
    when, text = datetime.fromtimestamp(at, tz=UTC), body.decode("utf-8", "replace")
    signature = standardwebhooks.Webhook(secret).sign("msg_1", when, text)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}


def sign_ed25519(secret: str, body: bytes, at: int) -> Headers:
    """Sign with the private key of a public key."""
    seed = base64.b64decode(PRIVATE_KEYS[secret].removeprefix("whsk_"))[:32]
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(b"msg_1.%d.%b" % (at, body))
    encoded = base64.b64encode(signature).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": f"v1a,{encoded}"}


def sign_slack(secret: str, body: bytes, at: int) -> Headers:
    """Sign with Slack's library."""
    verifier = slack_sdk.signature.SignatureVerifier(secret)
    signature = verifier.generate_signature(timestamp=str(at), body=body.decode("utf-8", "replace"))
    assert signature is not None
    return {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(at)}


def sign_shopify(secret: str, body: bytes, at: int) -> Headers:
    """Sign by Shopify's documented rule."""
    signature = hmac.new(secret.encode(), body, "sha256").digest()
    return {
        "X-Shopify-Hmac-Sha256": base64.b64encode(signature).decode(),
        "X-Shopify-Webhook-Id": "w-1",
        "X-Shopify-Topic": "order.paid",
    }


def sign_github(secret: str, body: bytes, at: int) -> Headers:
    """Sign by GitHub's documented rule."""
    signature = hmac.new(secret.encode(), body, "sha256").hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={signature}",
        "X-GitHub-Delivery": "d-1",
        "X-GitHub-Event": "order.paid",
    }


def sign_hmac(secret: str, body: bytes, at: int) -> Headers:
    """Sign with an HMAC over a version, the time and the body."""
    signature = hmac.new(secret.encode(), b"v0:%d:%b" % (at, body), "sha256").hexdigest()
    return {"X-Signature": f"v0={signature}", "X-Timestamp": str(at)}


def build_hmac(secret: Secrets, **options: Any) -> Provider:
    """Create the provider that verifies `sign_hmac`."""
    return HmacSignature(
        secret=secret,
        **options,
        header="X-Signature",
        prefix="v0=",
        timestamp_header="X-Timestamp",
        signed="v0:{timestamp}:{body}",
        id_field="id",
        type_field="type",
    )


SVIX_HEADERS = ("svix-id", "svix-timestamp", "svix-signature")
STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
SLACK_HEADERS = ("X-Slack-Signature", "X-Slack-Request-Timestamp")
HMAC_HEADERS = ("X-Signature", "X-Timestamp")
#: The id of a delivery without one.
DIGEST = hashlib.sha256(BODY).hexdigest()

SENDERS = {
    "stripe": Sender(Stripe, sign_stripe, "evt_1", "order.paid", ("Stripe-Signature",)),
    "svix": Sender(Svix, sign_svix, "msg_1", "order.paid", SVIX_HEADERS),
    "standard": Sender(StandardWebhooks, sign_standard, "msg_1", "order.paid", STANDARD_HEADERS),
    "ed25519": Sender(
        StandardWebhooks,
        sign_ed25519,
        "msg_1",
        "order.paid",
        STANDARD_HEADERS,
        secret=PUBLIC_KEY,
        old_secret=OLD_PUBLIC_KEY,
        other_secret=OTHER_PUBLIC_KEY,
    ),
    "slack": Sender(Slack, sign_slack, DIGEST, "order.paid", SLACK_HEADERS),
    "shopify": Sender(Shopify, sign_shopify, "w-1", "order.paid", ("X-Shopify-Hmac-Sha256",), timed=False),
    "github": Sender(GitHub, sign_github, "d-1", "order.paid", ("X-Hub-Signature-256",), timed=False),
    "hmac": Sender(build_hmac, sign_hmac, "evt_1", "order.paid", HMAC_HEADERS),
}
#: The providers whose headers have the same names.
STANDARD_FAMILY = ("svix", "standard", "ed25519")
