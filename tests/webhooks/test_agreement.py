"""Agreement with the vendors' libraries on which deliveries verify, apart from the listed differences."""

import base64
import hmac
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
from tests.lengths import SAMPLED, examples
from tests.webhooks.senders import BODY, OTHER_SECRET, SECRET, SENDERS, Headers

FUZZ = settings(max_examples=100, deadline=None)


def stripe_accepts(headers: Headers, body: bytes, secret: str = SECRET) -> bool:
    """Return whether Stripe's library accepts a delivery."""
    try:
        stripe.WebhookSignature.verify_header(body, headers.get("Stripe-Signature"), secret, tolerance=300)
    except Exception:
        return False
    return True


def svix_accepts(headers: Headers, body: bytes, secret: str = SECRET) -> bool:
    """Return whether Svix's library accepts a delivery."""
    try:
        svix.webhooks.Webhook(secret).verify(body, headers)
    except Exception:
        return False
    return True


def standard_accepts(headers: Headers, body: bytes, secret: str = SECRET) -> bool:
    """Return whether the standardwebhooks package accepts a delivery."""
    try:
        standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False)
    except Exception:
        return False
    return True


def slack_accepts(headers: Headers, body: bytes, secret: str = SECRET) -> bool:
    """Return whether Slack's library accepts a delivery."""
    try:
        return slack_sdk.signature.SignatureVerifier(secret).is_valid_request(body, headers)
    except Exception:
        return False


VENDORS: dict[str, Callable[..., bool]] = {
    "stripe": stripe_accepts,
    "svix": svix_accepts,
    "standard": standard_accepts,
    "slack": slack_accepts,
}


def accepts(provider: Provider, headers: Headers, body: bytes) -> bool:
    """Return whether a provider accepts a delivery."""
    try:
        provider.verify_signature(headers, body)
    except VerificationError:
        return False
    return True


@st.composite
def deliveries(draw: st.DrawFn, name: str) -> tuple[Headers, bytes]:
    """Draw signed deliveries, most of them with one fault that is not in `DIFFERENCES`."""
    oldest, newest = (-400, 0) if name == "stripe" else (-400, 400)
    # Not the very edge of the tolerance, because the two verdicts are reached some microseconds apart.
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
    """A delivery verifies if and only if the vendor's own library accepts it."""
    headers, body = data.draw(deliveries(name))
    assert VENDORS[name](headers, body) == accepts(SENDERS[name].provider(), headers, body)


#: Secrets of any length that senders issue, and others.
SECRETS = st.binary(min_size=1, max_size=40).map(lambda key: "whsec_" + base64.b64encode(key).decode())


def sign_bytes(name: str, secret: str, body: bytes, at: int) -> Headers:
    """Sign the bytes of a body by the documented rule, whether or not they are text."""
    if name == "stripe":
        signature = hmac.new(secret.encode(), b"%d.%b" % (at, body), "sha256").hexdigest()
        return {"Stripe-Signature": f"t={at},v1={signature}"}
    if name == "slack":
        signature = hmac.new(secret.encode(), b"v0:%d:%b" % (at, body), "sha256").hexdigest()
        return {"X-Slack-Signature": f"v0={signature}", "X-Slack-Request-Timestamp": str(at)}
    prefix = "svix" if name == "svix" else "webhook"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, b"msg_1.%d.%b" % (at, body), "sha256").digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {f"{prefix}-id": "msg_1", f"{prefix}-timestamp": str(at), f"{prefix}-signature": signature}


@SAMPLED
@pytest.mark.parametrize("name", VENDORS)
@given(secret=SECRETS, other=SECRETS, body=st.binary(max_size=40), is_text=st.booleans(), age=st.integers(0, 290))
@settings(max_examples=examples(500, sample=25), deadline=None)
def test_verdict_is_the_vendors_for_any_secret_and_bytes(
    name: str, secret: str, other: str, body: bytes, is_text: bool, age: int
) -> None:
    """With any secret and any bytes as a body, text or not, both accept a delivery or both reject it."""
    if is_text:
        body = body.hex().encode()
    headers = sign_bytes(name, secret, body, int(time.time()) - age)
    for given_secret in (secret, other):
        verdict = accepts(SENDERS[name].provider(given_secret), headers, body)
        assert VENDORS[name](headers, body, given_secret) == verdict
        assert verdict or given_secret != secret or not is_text


#: Items of a `Stripe-Signature` beside its time. `{v1}` is the matching signature.
STRIPE_ITEMS = [
    *("{v1}", "v1={v1}", "v1={v1}=x", " v1={v1}", "V1={v1}", "v0={v1}", "v1=x{v1}", "v1={v1} "),
    *("v1", "v1=", "v1=00", "v1=\u00e9", "v0=00", "t", "", "=", "scheme"),
]
#: Items of a list of Standard Webhooks, without the malformed ones of `DIFFERENCES`.
STANDARD_ITEMS = ["v1,{v1}", "v2,{v1}", "V1,{v1}", "v1,AAAA", "v1,", "v1a,AAAA", "v2,"]
LISTS = {"stripe": (STRIPE_ITEMS, ","), "svix": (STANDARD_ITEMS, " "), "standard": (STANDARD_ITEMS, " ")}


@SAMPLED
@pytest.mark.parametrize("name", LISTS)
@given(data=st.data())
@settings(max_examples=examples(500, sample=50), deadline=None)
def test_verdict_is_the_vendors_for_any_list_of_signatures(name: str, data: st.DataObject) -> None:
    """A header with any items in any order is accepted by both or rejected by both."""
    items, separator = LISTS[name]
    headers = sign_bytes(name, SECRET, BODY, int(time.time()))
    key = next(key for key in headers if key.lower().endswith("signature"))
    first, _, signature = headers[key].partition("v1=" if name == "stripe" else "v1,")
    chosen = [item.format(v1=signature) for item in data.draw(st.lists(st.sampled_from(items), max_size=5))]
    if name == "stripe":
        chosen.insert(data.draw(st.integers(0, len(chosen))), first.rstrip(","))
    headers[key] = separator.join(chosen)
    assert VENDORS[name](headers, BODY) == accepts(SENDERS[name].provider(), headers, BODY)


@pytest.mark.parametrize("name", VENDORS)
def test_own_tolerance_replaces_the_vendors(name: str) -> None:
    """A longer tolerance accepts a delivery that the vendor's five minutes reject."""
    headers = SENDERS[name].headers(at=int(time.time()) - 3600)
    assert not VENDORS[name](headers, BODY)
    assert not accepts(SENDERS[name].provider(), headers, BODY)
    assert accepts(SENDERS[name].provider(tolerance=timedelta(hours=2)), headers, BODY)


@pytest.mark.parametrize("name", ["svix", "standard"])
@pytest.mark.parametrize("entry", ["v1", "v1,", "v1,a,b", "v1,not base64!", "", "v2,c2lnbmF0dXJl", "v1a,é"])
@pytest.mark.parametrize("template", ["{entry} {good}", "{good} {entry}"])
def test_malformed_entry_does_not_reject_a_valid_one(name: str, entry: str, template: str) -> None:
    """Difference: malformed entries beside a matching signature are ignored."""
    headers = SENDERS[name].headers(at=int(time.time()))
    key = next(key for key in headers if key.endswith("signature"))
    headers[key] = template.format(entry=entry, good=headers[key])
    assert accepts(SENDERS[name].provider(), headers, BODY)


@pytest.mark.parametrize("name", VENDORS)
def test_own_signature_is_accepted_by_the_vendor(name: str) -> None:
    """The vendor's library accepts what a provider signs, and rejects it with another body or secret."""
    provider, now = SENDERS[name].provider(), time.time() * 1000
    for body in (BODY, b"", "é".encode()):
        headers = provider.sign(body, secret=SECRET, event_id="msg_1", event_type="order.paid", now=now)
        assert VENDORS[name](headers, body)
        assert not VENDORS[name](headers, body + b" ")
        assert not VENDORS[name](provider.sign(body, secret=OTHER_SECRET, event_id="a", event_type="", now=now), body)


# --- differences -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A delivery on which the verdicts differ, and the reason for the difference."""

    name: str
    vendor_accepts: bool
    why: str
    headers: Callable[[], Headers]


def now_headers(name: str, seconds: int = 0) -> Headers:
    """Sign a delivery now, or so many seconds later."""
    return SENDERS[name].headers(at=int(time.time()) + seconds)


def respelled(name: str, suffix: str, change: Callable[[str], str]) -> Callable[[], Headers]:
    """Return a function that makes a valid delivery in which one header is written differently."""

    def headers() -> Headers:
        valid = now_headers(name)
        key = next(key for key in valid if key.lower().endswith(suffix))
        return {**valid, key: change(valid[key])}

    return headers


def standard_signed(message: str) -> Headers:
    """Sign a delivery with an id as Standard Webhooks does."""
    at = int(time.time())
    signature = standardwebhooks.Webhook(SECRET).sign(message, datetime.fromtimestamp(at, tz=UTC), BODY.decode())
    return {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": signature}


def slack_signed(timestamp: str) -> Headers:
    """Sign a delivery with a timestamp as Slack does."""
    verifier = slack_sdk.signature.SignatureVerifier(SECRET)
    signature = verifier.generate_signature(timestamp=timestamp, body=BODY)
    assert signature is not None
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}


def standard_differences(name: str) -> list[Difference]:
    """Return the differences of Standard Webhooks, which Svix shares because its library is the same."""
    return [
        Difference(
            name,
            True,
            "a fraction of the timestamp is cut off, so that many timestamps share a signature",
            respelled(name, "timestamp", lambda value: value + ".9"),
        ),
        Difference(
            name,
            True,
            "spaces around the timestamp are another spelling of the signed timestamp",
            respelled(name, "timestamp", lambda value: f" {value} "),
        ),
        Difference(
            name,
            True,
            "invalid characters in a signature are skipped",
            respelled(name, "signature", lambda value: value.replace("v1,", "v1,!-")),
        ),
        Difference(
            name,
            False,
            "a malformed entry of the list does not reject the valid one beside it",
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
        "of two timestamps either may be the signed one",
        respelled("stripe", "signature", lambda value: value + ",t=1"),
    ),
    Difference(
        "stripe",
        True,
        "a timestamp has only digits",
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
    Difference("slack", True, "a timestamp has only digits", lambda: slack_signed(plus_now())),
    Difference(
        "slack",
        False,
        "hexadecimal digits are the same in upper case",
        respelled("slack", "signature", lambda value: "v0=" + value[3:].upper()),
    ),
]


def plus_now() -> str:
    """Return the current time with a plus sign."""
    return f"+{int(time.time())}"


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: f"{difference.name}: {difference.why}")
def test_verdicts_differ_as_documented(difference: Difference) -> None:
    """On each listed delivery the verdict is the opposite of the vendor's."""
    headers = difference.headers()
    assert VENDORS[difference.name](headers, BODY) is difference.vendor_accepts
    assert accepts(SENDERS[difference.name].provider(), headers, BODY) is not difference.vendor_accepts


def test_secret_that_is_not_base64_is_malformed() -> None:
    """Difference: the vendor's library skips invalid characters of a secret, which is reported as malformed here."""
    damaged = SECRET.replace("whsec_", "whsec_!!")
    headers = standard_signed("msg_1")
    assert standardwebhooks.Webhook(damaged).verify(BODY, headers)
    with pytest.raises(MissingSecretError, match="is not a valid signing secret"):
        StandardWebhooks(secret=damaged).verify(headers, BODY)
