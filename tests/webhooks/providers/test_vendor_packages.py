"""Agreement with the packages of vendors, which are installed for these tests only, because they are large."""

import json
import subprocess
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from flask_convex_http import ElevenLabs, HubSpot, Razorpay, Square, VerificationError
from flask_convex_http.webhooks import Provider
from flask_convex_http.webhooks.events import SignedRequest
from tests.environments import commands_of
from tests.lengths import LONG
from tests.webhooks.providers import vendor_verdicts

PACKAGES = ("squareup==46.0.0.20260916", "razorpay==2.0.1", "hubspot-api-client==12.0.0", "elevenlabs==2.78.0")
URL = "https://shop.example/webhooks"
SIGNED = '{"type": "order.paid", "name": "Lámpara"}'.encode()
SECRET = "the secret in use"


def provider_of(vendor: str, secret: str) -> Provider:
    """Create the provider of a vendor."""
    if vendor == "square":
        return Square(secret=secret, url=URL)
    if vendor == "hubspot":
        return HubSpot(secret=secret, url=URL)
    return Razorpay(secret=secret) if vendor == "razorpay" else ElevenLabs(secret=secret)


def deliveries() -> Iterator[dict[str, Any]]:
    """Yield deliveries: in time, late or early, with the body or another one, and for each secret."""
    choices = product(vendor_verdicts.VENDORS, (SECRET, "another"), (SIGNED, SIGNED + b" "), (0, 60, 400, 2000, -400))
    for vendor, secret, body, age in choices:
        request = SignedRequest(body=SIGNED, url=URL)
        signed = provider_of(vendor, SECRET).sign_request(
            request, secret=SECRET, event_id="e-1", event_type="order.paid", now=(time.time() - age) * 1000
        )
        yield {
            "vendor": vendor,
            "secret": secret,
            "body": body.decode(),
            "headers": dict(signed.headers),
            "url": URL,
            "age": age,
        }


def accepts(delivery: dict[str, Any]) -> bool:
    """Return whether the provider accepts a delivery."""
    provider = provider_of(delivery["vendor"], delivery["secret"])
    try:
        provider.verify_signature(delivery["headers"], delivery["body"].encode(), method="POST", url=URL)
    except VerificationError:
        return False
    return True


@LONG
@pytest.mark.timeout(600)
def test_verdict_is_that_of_the_vendors_package(pytestconfig: pytest.Config) -> None:
    """Both accept a delivery or both reject it, but HubSpot's package accepts one that is signed in the future."""
    python = commands_of(pytestconfig, *PACKAGES) / "python"
    sent = list(deliveries())
    own = [accepts(delivery) for delivery in sent]
    printed = subprocess.run(
        [python, vendor_verdicts.__file__], input=json.dumps(sent), capture_output=True, text=True, check=True
    )
    verdicts: list[bool] = json.loads(printed.stdout)
    differing = [each for each, ours, theirs in zip(sent, own, verdicts, strict=True) if ours != theirs]
    assert {vendor for (vendor, ours) in zip((each["vendor"] for each in sent), own, strict=True) if ours} == set(
        vendor_verdicts.VENDORS
    )
    assert [(each["vendor"], each["age"]) for each in differing] == [("hubspot", -400)]
