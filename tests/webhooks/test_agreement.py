"""Whether a delivery verifies is what the vendor's library says, apart from the differences named here."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import standardwebhooks
import stripe
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Provider, StandardWebhooks, Stripe, Svix
from tests.webhooks.senders import BODY, OTHER_SECRET, SECRET, SENDERS, Headers

FUZZ = settings(max_examples=100, deadline=None)


def stripe_accepts(headers: Headers, body: bytes) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, headers.get("Stripe-Signature"), SECRET, tolerance=300)
    except Exception:
        return False
    return True


def svix_accepts(headers: Headers, body: bytes) -> bool:
    try:
        svix.webhooks.Webhook(SECRET).verify(body, headers)
    except Exception:
        return False
    return True


def standard_accepts(headers: Headers, body: bytes) -> bool:
    try:
        standardwebhooks.Webhook(SECRET).verify(body, headers, json_parse=False)
    except Exception:
        return False
    return True


VENDORS: dict[str, Callable[[Headers, bytes], bool]] = {
    "stripe": stripe_accepts,
    "svix": svix_accepts,
    "standard": standard_accepts,
}


def accepts(provider: Provider, headers: Headers, body: bytes) -> bool:
    try:
        provider.verify_signature(headers, body)
    except VerificationError:
        return False
    return True


@st.composite
def deliveries(draw: st.DrawFn, name: str) -> tuple[Headers, bytes]:
    """Signed deliveries, most of them with one thing wrong.

    Left out, because we differ from the vendor there on purpose: Stripe's timestamps in the future; for the
    others fractions in a timestamp, full stops in an id, and malformed entries in the list of signatures.
    """
    oldest, newest = (-400, 0) if name == "stripe" else (-400, 400)
    # Not the very edge of the tolerance: the two verdicts are some microseconds apart.
    age = draw(st.integers(oldest, newest).filter(lambda seconds: abs(abs(seconds) - 300) > 5))
    body = draw(st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | st.just(BODY))
    secret = draw(st.sampled_from([SECRET, SECRET, SECRET, OTHER_SECRET]))
    headers = SENDERS[name].sign(secret, body, int(time.time()) + age)
    change = draw(st.sampled_from(["nothing", "nothing", "body", "drop", "character", "second"]))
    key = draw(st.sampled_from(sorted(headers)))
    if change == "body":
        body += b" "
    if change == "drop":
        del headers[key]
    if change == "character":
        index = draw(st.integers(0, len(headers[key]) - 1))
        letter = draw(st.sampled_from("0aZ"))
        headers[key] = headers[key][:index] + letter + headers[key][index + 1 :]
    if change == "second":
        other = SENDERS[name].sign(OTHER_SECRET, body, int(time.time()) + age)
        signature = next(k for k in headers if k.lower().endswith("signature"))
        extra = "," + other[signature].split(",")[1] if name == "stripe" else " " + other[signature]
        headers[signature] += extra
    return headers, body


@pytest.mark.parametrize("name", VENDORS)
@given(data=st.data())
@FUZZ
def test_verdict_is_the_vendors(name: str, data: st.DataObject) -> None:
    """Whether a delivery verifies is what the vendor's own library says."""
    headers, body = data.draw(deliveries(name))
    assert VENDORS[name](headers, body) == accepts(SENDERS[name].provider(), headers, body)


@pytest.mark.parametrize("name", VENDORS)
def test_own_tolerance_replaces_the_vendors(name: str) -> None:
    """A longer tolerance accepts what the vendor's five minutes refuse."""
    classes: dict[str, Any] = {"stripe": Stripe, "svix": Svix, "standard": StandardWebhooks}
    headers = SENDERS[name].headers(at=int(time.time()) - 3600)
    assert not VENDORS[name](headers, BODY)
    assert not accepts(SENDERS[name].provider(), headers, BODY)
    assert accepts(classes[name](secret=SECRET, tolerance=timedelta(hours=2)), headers, BODY)


@pytest.mark.parametrize("name", ["svix", "standard"])
@pytest.mark.parametrize("entry", ["v1", "v1,", "v1,a,b", "v1,not base64!", "", "v2,c2lnbmF0dXJl", "v1a,é"])
@pytest.mark.parametrize("template", ["{entry} {good}", "{good} {entry}"])
def test_odd_entry_does_not_spoil_the_good_one(name: str, entry: str, template: str) -> None:
    """Difference: beside a signature that matches, entries that are malformed are ignored."""
    headers = SENDERS[name].headers(at=int(time.time()))
    key = next(key for key in headers if key.endswith("signature"))
    headers[key] = template.format(entry=entry, good=headers[key])
    assert accepts(SENDERS[name].provider(), headers, BODY)


def test_stripe_timestamp_in_the_future_is_ours_to_refuse() -> None:
    """Difference: Stripe's library takes any time in the future, and we do not."""
    headers = SENDERS["stripe"].headers(at=int(time.time()) + 3600)
    assert stripe_accepts(headers, BODY)
    assert not accepts(SENDERS["stripe"].provider(), headers, BODY)


def test_second_stripe_timestamp_is_ours_to_refuse() -> None:
    """Difference: Stripe's library reads the first of several timestamps, and we take only one."""
    headers = SENDERS["stripe"].headers(at=int(time.time()))
    headers["Stripe-Signature"] += ",t=1"
    assert stripe_accepts(headers, BODY)
    assert not accepts(SENDERS["stripe"].provider(), headers, BODY)


@pytest.mark.parametrize("name", ["svix", "standard"])
def test_fraction_in_a_timestamp_is_ours_to_refuse(name: str) -> None:
    """Difference: the vendors' libraries cut a fraction off, so many timestamps share a signature."""
    headers = SENDERS[name].headers(at=int(time.time()))
    key = next(key for key in headers if key.endswith("timestamp"))
    headers[key] += ".9"
    assert VENDORS[name](headers, BODY)
    assert not accepts(SENDERS[name].provider(), headers, BODY)
