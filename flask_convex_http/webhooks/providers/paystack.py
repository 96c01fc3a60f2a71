"""Paystack's webhooks: an HMAC of the body with SHA-512, whose key is the secret key of the API.

Paystack signs neither a time nor an id. The id of an event is the digest of its body, so that an old delivery that is
sent again is a duplicate.
Rules: https://paystack.com/docs/payments/webhooks/#signature-validation
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets


class Paystack(HmacSender):
    """Webhooks of Paystack. The data of an event is its `data`, such as the transaction.

    Args:
        secret: The secret key of the API (`sk_live_...` or `sk_test_...`), `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "paystack"
    secret_form = SecretForm.of(r"(?!pk_).+", "the secret key (sk_...), but the public key")
    object_field = "data"
    profile = Profile(
        signed=("body",),
        id_from="body",
        id_is_signed=True,
        # Published for test mode.
        timeout=timedelta(seconds=30),
        # In live mode four times every 3 minutes, then every hour for 72 hours.
        retries=(*[timedelta(minutes=3)] * 4, *[timedelta(hours=1)] * 72),
        source="https://paystack.com/docs/payments/webhooks/",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(secret=secret, header="x-paystack-signature", algorithm="sha512", type_field="event")
