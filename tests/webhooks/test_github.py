"""GitHub: its documented signature, its two content types, and its unsigned headers."""

import hashlib
import hmac
from urllib.parse import urlencode

import pytest

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import GitHub, WebhookEvent

# The example of GitHub's manual, "Validating webhook deliveries".
SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def deliver(body: bytes, **changes: str) -> WebhookEvent:
    """Sign a delivery, change some headers, and verify it."""
    headers = {
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest(),
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": "issues",
        "Content-Type": "application/json",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return GitHub(secret=SECRET).verify(headers, body)


def deliver_form(body: bytes) -> WebhookEvent:
    """Verify a delivery that is sent as a form."""
    return deliver(body, Content_Type="application/x-www-form-urlencoded; charset=utf-8")


def test_documented_signature_verifies() -> None:
    """The documented signature verifies without the headers that identify the delivery."""
    assert GitHub(secret=SECRET).verify_signature({"X-Hub-Signature-256": SIGNATURE}, BODY) == "secret 1"


def test_delivery_without_an_id_is_known_by_its_body() -> None:
    """If the unsigned id header is missing, the digest of the body is the id. A missing event is empty."""
    event = GitHub(secret=SECRET).verify({"X-Hub-Signature-256": SIGNATURE}, BODY)
    assert (event.id, event.type) == (hashlib.sha256(BODY).hexdigest(), "")


def test_signed_text_is_its_own_payload() -> None:
    """The payload of a signed body that is not JSON is the text."""
    event = deliver(BODY, X_Hub_Signature_256=SIGNATURE, X_GitHub_Event="ping")
    assert (event.type, event.payload, event.data) == ("ping", "Hello, World!", "Hello, World!")


def test_json_delivery_has_its_payload_as_data() -> None:
    """The data of a JSON delivery is its payload, and its id and type are the headers'."""
    event = deliver(b'{"action": "opened"}')
    assert (event.type, event.data) == ("issues", {"action": "opened"})
    assert event.id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def test_form_delivery_has_the_same_payload() -> None:
    """The payload of a form is the JSON in its payload field, with every character intact."""
    body = urlencode({"payload": '{"title": "a&b=c+d é %41"}'}).encode()
    assert deliver_form(body).data == {"title": "a&b=c+d é %41"}


def test_json_replayed_as_a_form_is_rejected() -> None:
    """A text in a signed JSON body cannot become the payload if the unsigned content type is changed."""
    body = b'{"title": "x=&payload=%7B%22action%22%3A%22deleted%22%7D"}'
    assert deliver(body).data["title"].startswith("x=&payload")
    with pytest.raises(VerificationError, match="form must have one field"):
        deliver_form(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"payload", b"payload=", b"a=1", b"payload={}&payload={}", b"payload={}&a=1", b"payload=%ff"],
)
def test_form_without_one_payload_is_rejected(body: bytes) -> None:
    """A signed form without exactly one payload field is malformed."""
    with pytest.raises(VerificationError) as caught:
        deliver_form(body)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("signature", ["757107ea", "sha1=00", "sha256=", "sha256=0", "sha256=zz", "SHA256=00", "é"])
def test_malformed_signature_is_rejected(signature: str) -> None:
    """A signature that is not sha256= and 64 hexadecimal digits is rejected."""
    with pytest.raises(VerificationError) as caught:
        deliver(BODY, X_Hub_Signature_256=signature)
    assert caught.value.reason in ("malformed", "no-match")


def test_prefix_names_the_algorithm() -> None:
    """The correct digest with the prefix of another algorithm is rejected."""
    with pytest.raises(VerificationError, match="does not start with sha256="):
        deliver(BODY, X_Hub_Signature_256=SIGNATURE.replace("sha256", "sha512"))


@pytest.mark.parametrize("name", ["X_GitHub_Delivery", "X_GitHub_Event"])
def test_unsigned_headers_are_identifiers(name: str) -> None:
    """The unsigned headers are accepted only as printable words."""
    with pytest.raises(VerificationError, match="header is malformed"):
        deliver(BODY, **{name: "a b"})


def test_same_body_has_the_same_fingerprint() -> None:
    """A body under another id and event name has the same fingerprint, because GitHub signs neither."""
    provider = GitHub(secret=SECRET)
    first, second = deliver(BODY), deliver(BODY, X_GitHub_Delivery="another", X_GitHub_Event="push")
    assert first.id != second.id
    assert provider.fingerprint(first) == provider.fingerprint(second) == f"sha256:{hashlib.sha256(BODY).hexdigest()}"


def test_signed_text_may_have_half_a_surrogate_pair() -> None:
    """JSON that is cut in the middle of a pair of surrogates is a payload, and text that is not JSON stays a text."""
    assert deliver(rb'{"title": "cut \ud83d"}').data == {"title": "cut \ufffd"}
    assert deliver(rb"cut \ud83d").data == r"cut \ud83d"
