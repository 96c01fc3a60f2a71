"""Whether a delivery verifies is what the vendor's library says, apart from the differences named here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import slack_sdk.signature
import standardwebhooks
import stripe
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.webhooks import Provider, StandardWebhooks
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


def slack_accepts(headers: Headers, body: bytes) -> bool:
    try:
        return slack_sdk.signature.SignatureVerifier(SECRET).is_valid_request(body, headers)
    except Exception:
        return False


VENDORS: dict[str, Callable[[Headers, bytes], bool]] = {
    "stripe": stripe_accepts,
    "svix": svix_accepts,
    "standard": standard_accepts,
    "slack": slack_accepts,
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

    Left out is what `DIFFERENCES` lists.
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
    headers = SENDERS[name].headers(at=int(time.time()) - 3600)
    assert not VENDORS[name](headers, BODY)
    assert not accepts(SENDERS[name].provider(), headers, BODY)
    assert accepts(SENDERS[name].provider(tolerance=timedelta(hours=2)), headers, BODY)


@pytest.mark.parametrize("name", ["svix", "standard"])
@pytest.mark.parametrize("entry", ["v1", "v1,", "v1,a,b", "v1,not base64!", "", "v2,c2lnbmF0dXJl", "v1a,é"])
@pytest.mark.parametrize("template", ["{entry} {good}", "{good} {entry}"])
def test_odd_entry_does_not_spoil_the_good_one(name: str, entry: str, template: str) -> None:
    """Difference: beside a signature that matches, entries that are malformed are ignored."""
    headers = SENDERS[name].headers(at=int(time.time()))
    key = next(key for key in headers if key.endswith("signature"))
    headers[key] = template.format(entry=entry, good=headers[key])
    assert accepts(SENDERS[name].provider(), headers, BODY)


@pytest.mark.parametrize("name", VENDORS)
def test_own_signature_is_accepted_by_the_vendor(name: str) -> None:
    """What a provider signs for tests is accepted by the vendor's own library, and nothing else by that signature."""
    provider, now = SENDERS[name].provider(), time.time() * 1000
    for body in (BODY, b"", "é".encode()):
        headers = provider.sign(body, secret=SECRET, event_id="msg_1", event_type="order.paid", now=now)
        assert VENDORS[name](headers, body)
        assert not VENDORS[name](headers, body + b" ")
        assert not VENDORS[name](provider.sign(body, secret=OTHER_SECRET, event_id="a", event_type="", now=now), body)


# --- where we differ ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A delivery on which the verdicts differ, and why ours is what it is."""

    name: str
    vendor_accepts: bool
    why: str
    headers: Callable[[], Headers]


def now_headers(name: str, seconds: int = 0) -> Headers:
    return SENDERS[name].headers(at=int(time.time()) + seconds)


def respelled(name: str, suffix: str, change: Callable[[str], str]) -> Callable[[], Headers]:
    """A good delivery in which one header is written in another way."""

    def headers() -> Headers:
        good = now_headers(name)
        key = next(key for key in good if key.lower().endswith(suffix))
        return {**good, key: change(good[key])}

    return headers


def standard_signed(message: str) -> Headers:
    at = int(time.time())
    signature = standardwebhooks.Webhook(SECRET).sign(message, datetime.fromtimestamp(at, tz=UTC), BODY.decode())
    return {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": signature}


def slack_signed(timestamp: str) -> Headers:
    verifier = slack_sdk.signature.SignatureVerifier(SECRET)
    signature = verifier.generate_signature(timestamp=timestamp, body=BODY)
    assert signature is not None
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}


def standard_differences(name: str) -> list[Difference]:
    """Those of Standard Webhooks, which are Svix's too: its library is the same."""
    return [
        Difference(
            name,
            True,
            "a fraction in the timestamp is cut off, so that many timestamps share a signature",
            respelled(name, "timestamp", lambda value: value + ".9"),
        ),
        Difference(
            name,
            True,
            "spaces around the timestamp are one more spelling of what was signed",
            respelled(name, "timestamp", lambda value: f" {value} "),
        ),
        Difference(
            name,
            True,
            "characters that are no base64 are skipped in a signature",
            respelled(name, "signature", lambda value: value.replace("v1,", "v1,!-")),
        ),
        Difference(
            name,
            False,
            "a malformed entry in the list does not spoil the good one beside it",
            respelled(name, "signature", lambda value: "v1 " + value),
        ),
    ]


DIFFERENCES = [
    Difference(
        "stripe", True, "a timestamp in the future is outside the tolerance", lambda: now_headers("stripe", 3600)
    ),
    Difference(
        "stripe",
        True,
        "of two timestamps nobody can say which one was signed",
        respelled("stripe", "signature", lambda value: value + ",t=1"),
    ),
    Difference(
        "stripe",
        True,
        "a timestamp is digits, and not whatever int() takes",
        respelled("stripe", "signature", lambda value: value.replace("t=", "t=+")),
    ),
    *standard_differences("standard"),
    *standard_differences("svix"),
    Difference(
        "standard",
        True,
        "a full stop in the id could trade characters with the timestamp",
        lambda: standard_signed("msg.1"),
    ),
    Difference("standard", True, "an id is one printable word", lambda: standard_signed("msg 1")),
    Difference("slack", True, "a timestamp is digits, and not whatever int() takes", lambda: slack_signed(plus_now())),
    Difference(
        "slack",
        False,
        "hexadecimal digits are the same in upper case",
        respelled("slack", "signature", lambda value: "v0=" + value[3:].upper()),
    ),
]


def plus_now() -> str:
    return f"+{int(time.time())}"


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: f"{difference.name}: {difference.why}")
def test_verdicts_differ_where_the_documentation_says(difference: Difference) -> None:
    """On each listed delivery the vendor's library says one thing and we say the other."""
    headers = difference.headers()
    assert VENDORS[difference.name](headers, BODY) is difference.vendor_accepts
    assert accepts(SENDERS[difference.name].provider(), headers, BODY) is not difference.vendor_accepts


def test_secret_that_is_no_base64_is_ours_to_refuse() -> None:
    """Difference: the vendor's library drops what is not base64 in a secret, and we call the secret damaged."""
    damaged = SECRET.replace("whsec_", "whsec_!!")
    headers = standard_signed("msg_1")
    assert standardwebhooks.Webhook(damaged).verify(BODY, headers)
    with pytest.raises(MissingSecretError, match="is not a valid signing secret"):
        StandardWebhooks(secret=damaged).verify(headers, BODY)
