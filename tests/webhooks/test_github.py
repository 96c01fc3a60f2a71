"""What is GitHub's own: its vector, its two content types, and what it does not sign."""

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
    headers = {
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest(),
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": "issues",
        "Content-Type": "application/json",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return GitHub(secret=SECRET).verify(headers, body)


def deliver_form(body: bytes) -> WebhookEvent:
    return deliver(body, Content_Type="application/x-www-form-urlencoded; charset=utf-8")


def test_documented_signature_verifies() -> None:
    """The documented signature verifies without the headers that name the delivery."""
    assert GitHub(secret=SECRET).verify_signature({"X-Hub-Signature-256": SIGNATURE}, BODY) == "secret 1"


def test_delivery_without_an_id_is_known_by_its_body() -> None:
    """Where the unsigned id header is missing, the digest of the signed body is the id; a missing event is empty."""
    event = GitHub(secret=SECRET).verify({"X-Hub-Signature-256": SIGNATURE}, BODY)
    assert (event.id, event.type) == (hashlib.sha256(BODY).hexdigest(), "")


def test_signed_text_is_its_own_payload() -> None:
    """A signed body that is not JSON has the text as its payload."""
    event = deliver(BODY, X_Hub_Signature_256=SIGNATURE, X_GitHub_Event="ping")
    assert (event.type, event.payload, event.data) == ("ping", "Hello, World!", "Hello, World!")


def test_json_delivery_has_its_payload_as_data() -> None:
    """The payload of a JSON delivery is its data, under the id and type of the headers."""
    event = deliver(b'{"action": "opened"}')
    assert (event.type, event.data) == ("issues", {"action": "opened"})
    assert event.id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def test_form_delivery_has_the_same_payload() -> None:
    """A form's payload field is read as the JSON it holds, with every character intact."""
    body = urlencode({"payload": '{"title": "a&b=c+d é %41"}'}).encode()
    assert deliver_form(body).data == {"title": "a&b=c+d é %41"}


def test_json_repeated_as_a_form_is_refused() -> None:
    """A text inside a signed JSON body cannot become the payload by changing the unsigned content type."""
    body = b'{"title": "x=&payload=%7B%22action%22%3A%22deleted%22%7D"}'
    assert deliver(body).data["title"].startswith("x=&payload")
    with pytest.raises(VerificationError, match="form must have one field"):
        deliver_form(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"payload", b"payload=", b"a=1", b"payload={}&payload={}", b"payload={}&a=1", b"payload=%ff"],
)
def test_form_in_another_form_is_refused(body: bytes) -> None:
    """A signed form without exactly one payload is malformed."""
    with pytest.raises(VerificationError) as caught:
        deliver_form(body)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("signature", ["757107ea", "sha1=00", "sha256=", "sha256=0", "sha256=zz", "SHA256=00", "é"])
def test_signature_in_another_form_is_refused(signature: str) -> None:
    """A signature that is not sha256= and 64 hexadecimal digits is refused."""
    with pytest.raises(VerificationError) as caught:
        deliver(BODY, X_Hub_Signature_256=signature)
    assert caught.value.reason in ("malformed", "no-match")


def test_prefix_names_the_algorithm() -> None:
    """The right digest after another algorithm's name is refused."""
    with pytest.raises(VerificationError, match="does not start with sha256="):
        deliver(BODY, X_Hub_Signature_256=SIGNATURE.replace("sha256", "sha512"))


@pytest.mark.parametrize("name", ["X_GitHub_Delivery", "X_GitHub_Event"])
def test_unsigned_headers_are_plain_words(name: str) -> None:
    """The headers GitHub does not sign are taken only as printable words."""
    with pytest.raises(VerificationError, match="header is malformed"):
        deliver(BODY, **{name: "a b"})


def test_fresh_id_and_event_on_the_same_bytes_are_the_same_delivery() -> None:
    """GitHub signs neither the id nor the event's name, so a repeated body is known by itself, whatever they say."""
    provider = GitHub(secret=SECRET)
    first, second = deliver(BODY), deliver(BODY, X_GitHub_Delivery="another", X_GitHub_Event="push")
    assert first.id != second.id
    assert provider.fingerprint(first) == provider.fingerprint(second) == f"sha256:{hashlib.sha256(BODY).hexdigest()}"


def test_delivery_id_can_be_trusted_on_request() -> None:
    """Who says so goes by the unsigned id alone: two deliveries of the same bytes are then two."""
    provider = GitHub(secret=SECRET, unsafe_trust_delivery_id=True)
    assert provider.fingerprint(deliver(BODY)) is None
