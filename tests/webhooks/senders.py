"""How each provider is built and its deliveries are signed, by the vendor's own library where there is one.

A new provider is one `Sender` here; the contract tests then run on it.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import standardwebhooks
import stripe
import svix.webhooks

from flask_convex_http.webhooks import (
    GitHub,
    HmacSignature,
    Provider,
    Secrets,
    StandardWebhooks,
    Stripe,
    Svix,
)

BODY = b'{"id": "evt_1", "type": "order.paid", "data": {"name": "L\xc3\xa1mpara"}}'
NOW = 1_750_000_000
SECRET = "whsec_" + base64.b64encode(b"the secret in use, 24 bytes!").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the secret being retired now").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret of somebody else...").decode()
VARIABLE = "CONTRACT_WEBHOOK_SECRET"

Headers = dict[str, str]


@dataclass(frozen=True)
class Sender:
    """How one provider is built, and how its deliveries are signed."""

    build: Callable[[Secrets], Provider]
    sign: Callable[[str, bytes, int], Headers]
    event_id: str
    event_type: str
    #: The headers without which nothing verifies.
    needed: tuple[str, ...]
    timed: bool = True

    def provider(self, secret: Secrets = SECRET) -> Provider:
        return self.build(secret)

    def headers(self, *, secret: str = SECRET, body: bytes = BODY, at: int = NOW) -> Headers:
        return {"Content-Type": "application/json", **self.sign(secret, body, at)}


def sign_stripe(secret: str, body: bytes, at: int) -> Headers:
    text = body.decode("utf-8", "replace")
    return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(text, secret, at)}


def sign_svix(secret: str, body: bytes, at: int) -> Headers:
    when, text = datetime.fromtimestamp(at, tz=UTC), body.decode("utf-8", "replace")
    signature = svix.webhooks.Webhook(secret).sign("msg_1", when, text)
    return {"svix-id": "msg_1", "svix-timestamp": str(at), "svix-signature": signature}


def sign_standard(secret: str, body: bytes, at: int) -> Headers:
    when, text = datetime.fromtimestamp(at, tz=UTC), body.decode("utf-8", "replace")
    signature = standardwebhooks.Webhook(secret).sign("msg_1", when, text)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}


def sign_github(secret: str, body: bytes, at: int) -> Headers:
    signature = hmac.new(secret.encode(), body, "sha256").hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={signature}",
        "X-GitHub-Delivery": "d-1",
        "X-GitHub-Event": "order.paid",
    }


def sign_hmac(secret: str, body: bytes, at: int) -> Headers:
    signature = hmac.new(secret.encode(), b"v0:%d:%b" % (at, body), "sha256").hexdigest()
    return {"X-Signature": f"v0={signature}", "X-Timestamp": str(at)}


def build_hmac(secret: Secrets) -> Provider:
    return HmacSignature(
        secret=secret,
        header="X-Signature",
        prefix="v0=",
        timestamp_header="X-Timestamp",
        signed="v0:{timestamp}:{body}",
        id_field="id",
        type_field="type",
    )


SVIX_HEADERS = ("svix-id", "svix-timestamp", "svix-signature")
STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
GITHUB_HEADERS = ("X-Hub-Signature-256",)

SENDERS = {
    "stripe": Sender(lambda s: Stripe(secret=s), sign_stripe, "evt_1", "order.paid", ("Stripe-Signature",)),
    "svix": Sender(lambda s: Svix(secret=s), sign_svix, "msg_1", "order.paid", SVIX_HEADERS),
    "standard": Sender(lambda s: StandardWebhooks(secret=s), sign_standard, "msg_1", "order.paid", STANDARD_HEADERS),
    "github": Sender(lambda s: GitHub(secret=s), sign_github, "d-1", "order.paid", GITHUB_HEADERS, timed=False),
    "hmac": Sender(build_hmac, sign_hmac, "evt_1", "order.paid", ("X-Signature", "X-Timestamp")),
}
