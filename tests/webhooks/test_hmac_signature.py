"""HmacSignature: published vectors, its choices, and invalid combinations of them."""

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

import pytest

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.webhooks import HmacSignature, Stripe

NOW = 1_750_000_000
BODY = b'{"id": "evt_1", "number": 7, "type": "paid", "flag": true}'


def sign(message: bytes, algorithm: str = "sha256") -> str:
    """Return the HMAC of a message in hexadecimal."""
    return hmac.new(b"secret", message, algorithm).hexdigest()


def build(**choices: Any) -> HmacSignature:
    """Create a provider with these choices."""
    return HmacSignature(**{"secret": "secret", "header": "X-Signature", **choices})


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ],
)
def test_published_vectors_verify(algorithm: str, expected: str) -> None:
    """Test case 2 of RFC 4231 verifies in hexadecimal of either case and in base64."""
    message = b"what do ya want for nothing?"
    encoded = base64.b64encode(bytes.fromhex(expected)).decode()
    for value, encoding in ((expected, "hex"), (expected.upper(), "hex"), (encoded, "base64")):
        provider = build(secret="Jefe", algorithm=algorithm, encoding=encoding)
        assert provider.verify_signature({"X-Signature": value}, message) == "secret 1"


def test_slack_vector_verifies() -> None:
    """Slack's documented example verifies, with a prefix, a version and a signed time."""
    provider = HmacSignature(
        secret="8f742231b10e8888abcd99yyyzzz85a5",
        header="X-Slack-Signature",
        prefix="v0=",
        timestamp_header="X-Slack-Request-Timestamp",
        signed="v0:{timestamp}:{body}",
    )
    headers = {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    assert provider.verify_signature(headers, body, now=1531420618_000) == "secret 1"


def test_braces_in_the_template_are_doubled() -> None:
    """A literal brace in the template is written twice, as in a format string."""
    provider = build(signed="{{x}}{body}")
    assert provider.verify({"X-Signature": sign(b"{x}" + BODY)}, BODY).payload["id"] == "evt_1"


def test_signed_headers_are_in_the_message() -> None:
    """A change of the signed id or time rejects the delivery."""
    provider = build(timestamp_header="X-Time", id_header="X-Id", signed="{id}.{timestamp}.{body}")
    headers = {"X-Signature": sign(b"a.1750000000." + BODY), "X-Time": "1750000000", "X-Id": "a"}
    assert provider.verify(headers, BODY, now=NOW * 1000).id == "a"
    for name, value in {"X-Id": "b", "X-Time": "1750000001"}.items():
        with pytest.raises(VerificationError, match="does not match"):
            provider.verify({**headers, name: value}, BODY, now=NOW * 1000)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, (hashlib.sha256(BODY).hexdigest(), "")),
        ({"id_field": "id", "type_field": "type"}, ("evt_1", "paid")),
        ({"id_field": "number", "type_header": "X-Type"}, ("7", "refunded")),
    ],
)
def test_id_and_type_come_from_the_named_places(choices: Any, expected: tuple[str, str]) -> None:
    """Id and type come from the named header or field. By default they are the digest and empty."""
    event = build(**choices).verify({"X-Signature": sign(BODY), "X-Type": "refunded"}, BODY)
    assert (event.id, event.type) == expected
    assert event.data == event.payload


@pytest.mark.parametrize(
    "choices",
    [{"id_field": "flag"}, {"id_field": "none"}, {"type_field": "number"}, {"type_header": "X-None"}],
)
def test_missing_id_or_type_is_rejected(choices: Any) -> None:
    """A delivery without the named id or type is rejected."""
    with pytest.raises(VerificationError):
        build(**choices).verify({"X-Signature": sign(BODY)}, BODY)


def test_weak_algorithm_must_be_allowed() -> None:
    """SHA-1 is accepted only with `allow_weak_algorithm`."""
    with pytest.raises(RegistrationError, match="'sha1' is weak"):
        build(algorithm="sha1")
    provider = build(algorithm="sha1", allow_weak_algorithm=True)
    assert provider.verify({"X-Signature": sign(BODY, "sha1")}, BODY).provider == "hmac"


def test_tolerance_can_be_longer() -> None:
    """With a tolerance of an hour a delivery of half an hour ago is accepted."""
    choices = {"timestamp_header": "X-Time", "signed": "{timestamp}.{body}", "tolerance": timedelta(hours=1)}
    headers = {"X-Signature": sign(b"1750000000." + BODY), "X-Time": "1750000000"}
    assert build(**choices).verify(headers, BODY, now=(NOW + 1800) * 1000).body == BODY


@pytest.mark.parametrize("value", ["a+b/", "not base64!", "YQ", "YQ==\n", "YR==", "é"])
def test_malformed_base64_is_rejected(value: str) -> None:
    """A signature that is not base64, or encodes something else, is rejected."""
    with pytest.raises(VerificationError) as caught:
        build(encoding="base64").verify({"X-Signature": value}, BODY)
    assert caught.value.reason in ("malformed", "no-match")


@pytest.mark.parametrize("junk", ["!", "\n", "-"])
def test_base64_with_invalid_characters_is_rejected(junk: str) -> None:
    """The correct signature with an invalid character in it is rejected."""
    good = base64.b64encode(bytes.fromhex(sign(BODY))).decode()
    assert build(encoding="base64").verify({"X-Signature": good}, BODY).body == BODY
    with pytest.raises(VerificationError, match="is not base64"):
        build(encoding="base64").verify({"X-Signature": good[:8] + junk + good[8:]}, BODY)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"header": ""}, "header is empty"),
        ({"algorithm": "sha257"}, "unknown: use one of sha256"),
        ({"algorithm": "shake_128"}, "unknown: use one of sha256"),
        ({"encoding": "base32"}, 'must be "hex" or "base64"'),
        ({"signed": "{timestamp}"}, "must hold {body} once"),
        ({"signed": "{body}{body}"}, "must hold {body} once"),
        ({"signed": "{body"}, "is not a template"),
        ({"signed": "{body!r}"}, "may hold only"),
        ({"signed": "{body:>9}"}, "may hold only"),
        ({"signed": "{body.__class__}"}, "may hold only"),
        ({"signed": "{host}{body}"}, "may hold only"),
        ({"signed": "{timestamp}.{body}"}, "name its header as timestamp_header"),
        ({"signed": "{id}.{body}"}, "name its header as id_header"),
        ({"timestamp_header": "X-Time"}, "a timestamp that is not signed proves nothing"),
        ({"id_header": "X-Id"}, "an? id that is not signed proves nothing; write unsigned_id_header="),
        ({"unsigned_id_header": ""}, "is an empty name"),
        ({"unsigned_id_header": "X-Id", "id_field": "id"}, "both given"),
        ({"id_header": ""}, "is an empty name"),
        ({"timestamp_header": ""}, "is an empty name"),
        ({"type_field": ""}, "is an empty name"),
        ({"id_header": "X-Id", "id_field": "id"}, "both given"),
        ({"type_header": "X-Type", "type_field": "type"}, "both given"),
        ({"id_header": "X-Id", "signed": "{id}{body}"}, "must separate {id}"),
        ({"tolerance": timedelta(minutes=1)}, "^tolerance needs timestamp_header"),
        ({"future_tolerance": timedelta(minutes=1)}, "^future_tolerance needs timestamp_header"),
        ({"timeout": timedelta(0)}, "^timeout must be a timedelta of more than zero"),
        ({"retry_window": 7}, "^retry_window must be a timedelta of more than zero"),
    ],
)
def test_invalid_choices_are_rejected_at_creation(choices: Any, message: str) -> None:
    """A combination that would verify nothing, or too much, raises RegistrationError with the remedy."""
    with pytest.raises(RegistrationError, match=message):
        build(**choices)


@pytest.mark.parametrize("tolerance", [300, 5.0, timedelta(0), timedelta(seconds=-1), None])
def test_tolerance_is_a_positive_timedelta(tolerance: Any) -> None:
    """A tolerance must be a timedelta of more than zero."""
    with pytest.raises(RegistrationError, match="tolerance must be"):
        Stripe(secret="whsec_a", tolerance=tolerance)


def test_profile_has_the_given_times() -> None:
    """Timeout and retry window are the given ones, by default ten seconds and a week."""
    profile = build().profile
    assert (profile.timeout, profile.window) == (timedelta(seconds=10), timedelta(days=7))
    said = build(timeout=timedelta(seconds=3), retry_window=timedelta(hours=1)).profile
    assert (said.timeout, said.window) == (timedelta(seconds=3), timedelta(hours=1))


@pytest.mark.parametrize(
    ("choices", "signed", "id_from"),
    [
        ({}, ("body",), "body"),
        ({"id_field": "number"}, ("body",), "body.number"),
        ({"id_header": "X-Id", "signed": "{id}.{body}"}, ("body", "X-Id"), "X-Id"),
        ({"timestamp_header": "X-Time", "signed": "{timestamp}.{body}"}, ("body", "X-Time"), "body"),
    ],
)
def test_profile_follows_the_choices(choices: Any, signed: tuple[str, ...], id_from: str) -> None:
    """The profile lists the signed parts and the place of the id, which is always signed."""
    profile = build(**choices).profile
    assert (profile.signed, profile.id_from, profile.id_is_signed) == (signed, id_from, True)
    assert build(**choices).signs_time is ("timestamp_header" in choices)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"encoding": "base64", "algorithm": "sha512", "prefix": "sig="},
        {"timestamp_header": "X-Time", "id_header": "X-Id", "signed": "{id}.{timestamp}.{body}"},
        {"type_header": "X-Type"},
        {"unsigned_id_header": "X-Id"},
    ],
)
def test_own_signature_verifies(choices: Any) -> None:
    """A delivery that the provider signs verifies, for any choices."""
    provider = build(**choices)
    headers = provider.sign(BODY, secret="secret", event_id="a", event_type="paid", now=NOW * 1000)
    assert provider.verify(headers, BODY, now=NOW * 1000).body == BODY


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b'[{"eventId": 1}, {"eventId": 2}]', [{"eventId": 1}, {"eventId": 2}]),
        (b"[]", []),
        (
            b"id=1&event=paid&payload%5Bchargify%5D=testing",
            {"id": "1", "event": "paid", "payload[chargify]": "testing"},
        ),
        (b"tag=a&tag=b&tag=c&empty=", {"tag": ["a", "b", "c"], "empty": ""}),
        (b"name=%ff", {"name": "\ufffd"}),
    ],
)
def test_body_may_be_an_array_or_a_form(body: bytes, payload: Any) -> None:
    """A signed JSON array is a list, and a signed form is a dict of texts, whatever the unsigned content type says."""
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        headers = {"X-Signature": sign(body), "Content-Type": content_type}
        event = build().verify(headers, body)
        assert (event.payload, event.data) == (payload, payload)
        assert event.id == hashlib.sha256(body).hexdigest()


def test_id_may_be_in_a_header_that_is_not_signed() -> None:
    """An unsigned header may hold the id, for a sender that signs none; without it the id is the body's digest."""
    provider = build(unsigned_id_header="X-Delivery")
    assert (provider.profile.id_from, provider.profile.id_is_signed) == ("X-Delivery", False)
    for headers, event_id in (({"X-Delivery": "d-1"}, "d-1"), ({}, hashlib.sha256(BODY).hexdigest())):
        event = provider.verify({"X-Signature": sign(BODY), **headers}, BODY)
        assert event.id == event_id
        assert event.headers == {"x-signature": sign(BODY), **{name.lower(): id for name, id in headers.items()}}


def test_one_body_under_two_types_is_two_events() -> None:
    """Without an id, events of one body have different ids if a header gives them different types."""
    provider = build(type_header="X-Type")
    ids = {kind: provider.verify({"X-Signature": sign(BODY), "X-Type": kind}, BODY).id for kind in ("paid", "sent")}
    assert len(set(ids.values())) == 2


def test_fields_of_a_form_have_the_id_and_the_type() -> None:
    """The fields of a form may hold the id and the type, as those of an object may."""
    body = b"id=7&event=paid"
    event = build(id_field="id", type_field="event").verify({"X-Signature": sign(body)}, body)
    assert (event.id, event.type) == ("7", "paid")


def test_array_has_no_field_with_an_id() -> None:
    """An array where the id should be in a field is malformed."""
    with pytest.raises(VerificationError, match="no text field 'id'"):
        build(id_field="id").verify({"X-Signature": sign(b"[]")}, b"[]")


def test_rejected_status_is_the_senders() -> None:
    """A delivery that does not verify has the given status, or the one that the sender with this header demands."""
    for provider, status in (
        (build(), 400),
        (build(rejected_status=401), 401),
        (HmacSignature(secret="secret", header="X-Xero-Signature", encoding="base64"), 401),
        (HmacSignature(secret="secret", header="x-xero-signature", rejected_status=403), 403),
    ):
        with pytest.raises(VerificationError) as caught:
            provider.verify({"X-Signature": "00", "X-Xero-Signature": "AAAA"}, BODY)
        assert caught.value.status == status


@pytest.mark.parametrize("choices", [{"rejected_status": 200}, {"rejected_status": 500}, {"other_headers": "X-A"}])
def test_wrong_status_or_headers_are_refused(choices: Any) -> None:
    """A rejection is a 4xx, and other headers are a list."""
    with pytest.raises(RegistrationError, match="must be a"):
        build(**choices)
