"""Verdicts of the vendors' own packages, in an environment that has them.

It reads a list of deliveries from the standard input, and prints whether each one verifies.
"""

import json
import sys
from typing import Any


def square(delivery: dict[str, Any]) -> Any:
    """Return the verdict of `squareup`."""
    from square.utils.webhooks_helper import verify_signature  # type: ignore[import-not-found]  # in its environment

    return verify_signature(
        request_body=delivery["body"],
        signature_header=delivery["headers"]["x-square-hmacsha256-signature"],
        signature_key=delivery["secret"],
        notification_url=delivery["url"],
    )


def razorpay(delivery: dict[str, Any]) -> Any:
    """Return the verdict of `razorpay`."""
    from razorpay import Client  # type: ignore[import-not-found]  # in its environment

    signature = delivery["headers"]["X-Razorpay-Signature"]
    client = Client(auth=("key", "secret"))
    return client.utility.verify_webhook_signature(delivery["body"], signature, delivery["secret"])


def hubspot(delivery: dict[str, Any]) -> Any:
    """Return the verdict of `hubspot-api-client`."""
    from hubspot.utils.signature import Signature  # type: ignore[import-not-found]  # in its environment

    return Signature.is_valid(
        signature=delivery["headers"]["X-HubSpot-Signature-v3"],
        client_secret=delivery["secret"],
        request_body=delivery["body"],
        http_uri=delivery["url"],
        http_method="POST",
        signature_version="v3",
        timestamp=delivery["headers"]["X-HubSpot-Request-Timestamp"],
    )


def elevenlabs(delivery: dict[str, Any]) -> Any:
    """Return the verdict of `elevenlabs`, which returns the event or raises."""
    from elevenlabs import ElevenLabs  # type: ignore[import-not-found]  # in its environment

    client = ElevenLabs(api_key="key")
    signature = delivery["headers"]["ElevenLabs-Signature"]
    return client.webhooks.construct_event(delivery["body"], signature, delivery["secret"]) is not None


VENDORS = {"square": square, "razorpay": razorpay, "hubspot": hubspot, "elevenlabs": elevenlabs}


def verdict(delivery: dict[str, Any]) -> bool:
    """Return whether the vendor's package accepts a delivery."""
    try:
        return bool(VENDORS[delivery["vendor"]](delivery))
    except ImportError:
        raise
    except Exception:  # each package rejects with an error of its own
        return False


if __name__ == "__main__":
    print(json.dumps([verdict(delivery) for delivery in json.load(sys.stdin)]))
