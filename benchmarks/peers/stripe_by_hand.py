"""A route for Stripe's webhooks by hand: Flask, and Stripe's library for the signature.

The library is asked for the signature only, as this package asks it: its `construct_event` also wraps all of the event
in objects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from flask import Flask, request
from stripe import SignatureVerificationError, WebhookSignature

#: Seconds by which the signed timestamp may be off.
_TOLERANCE = 300


def add_webhook(app: Flask, receive: Callable[[dict[str, Any], bytes], None]) -> None:
    """Add the route to an app.

    Args:
        app: The app.
        receive: Processes a verified event, given with its body.
    """
    secret = os.environ["STRIPE_WEBHOOK_SECRET"]

    @app.post("/webhooks/stripe")
    def on_stripe() -> tuple[str, int]:
        body = request.get_data()
        try:
            signature = request.headers.get("Stripe-Signature")
            WebhookSignature.verify_header(body.decode(), signature, secret, tolerance=_TOLERANCE)
            event = json.loads(body)
        except (SignatureVerificationError, ValueError):
            return "Bad signature", 400
        receive(event, body)
        return "OK", 200
