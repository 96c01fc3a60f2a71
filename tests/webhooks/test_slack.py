"""Slack: its documented request, its three kinds of body, and its challenge."""

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Slack, WebhookEvent
from tests.lengths import SAMPLED, examples

# The example of Slack's manual, "Verifying requests from Slack".
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
NOW = 1_531_420_618
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
    b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
MENTION = {"type": "app_mention", "user": "U1", "text": "hi"}
PROVIDER = Slack(secret=SECRET)


def deliver(body: bytes, **changes: str) -> WebhookEvent:
    """Sign a request, change some headers, and verify it."""
    headers = PROVIDER.sign(body, secret=SECRET, event_id="", event_type="", now=NOW * 1000)
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return PROVIDER.verify(headers, body, now=NOW * 1000)


def deliver_json(payload: Any) -> WebhookEvent:
    """Verify a request whose body is JSON."""
    return deliver(json.dumps(payload).encode())


def digest(body: bytes) -> str:
    """Return the SHA-256 of a body in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def test_documented_command_verifies() -> None:
    """The documented slash command has its fields, also the empty ones, and its trigger's id."""
    headers = {"X-Slack-Request-Timestamp": str(NOW), "X-Slack-Signature": SIGNATURE}
    event = PROVIDER.verify(headers, BODY, now=NOW * 1000)
    assert (event.type, event.id) == (
        "/webhook-collect",
        "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    )
    assert (event.data["text"], event.data["channel_name"]) == ("", "foobar")


def test_event_has_the_inner_event_as_its_data() -> None:
    """The id of an event is the envelope's. Its type and data are the inner event's."""
    event = deliver_json({"type": "event_callback", "event_id": "Ev1", "event": MENTION})
    assert (event.id, event.type, event.data) == ("Ev1", "app_mention", MENTION)
    assert event.payload["type"] == "event_callback"


def test_envelope_without_an_event_is_its_own_data() -> None:
    """Without an inner event the data is the envelope, and without an id the digest is the id."""
    limited = {"type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1518467820}
    event = deliver_json(limited)
    assert (event.id, event.type, event.data) == (digest(event.body), "app_rate_limited", limited)


def test_interaction_has_its_payload_as_data() -> None:
    """The data of an interaction is the JSON in its payload field, with every character intact."""
    payload = {"type": "block_actions", "trigger_id": "1.2.abc", "text": "a&b=c+d é %41"}
    event = deliver(urlencode({"payload": json.dumps(payload)}).encode())
    assert (event.id, event.type, event.data) == ("1.2.abc", "block_actions", payload)


def test_form_without_a_trigger_is_known_by_its_body() -> None:
    """The id of a form without a trigger is its digest."""
    event = deliver(b"ssl_check=1&token=a")
    assert (event.id, event.type) == (digest(b"ssl_check=1&token=a"), "")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_unsigned_content_type_changes_nothing(content_type: str) -> None:
    """Only the signed bytes decide how a body is read, not the content type."""
    event = json.dumps({"type": "event_callback", "event_id": "Ev1", "event": {**MENTION, "text": "&payload={}"}})
    assert deliver(event.encode(), Content_Type=content_type).type == "app_mention"
    assert deliver(BODY, Content_Type=content_type).type == "/webhook-collect"


def test_challenge_is_returned() -> None:
    """`handshake` returns the challenge of a URL verification, and None for a real event."""
    question = deliver_json({"type": "url_verification", "token": "a", "challenge": "3eZbrw1aB"})
    assert PROVIDER.handshake(question) == "3eZbrw1aB"
    assert PROVIDER.handshake(deliver_json({"type": "a", "challenge": "b"})) is None
    nested = {"type": "event_callback", "event_id": "Ev1", "event": {"type": "url_verification", "challenge": "b"}}
    assert PROVIDER.handshake(deliver_json(nested)) is None


@pytest.mark.parametrize("challenge", [None, 1, "", ["a"]])
def test_challenge_that_is_not_a_text_is_rejected(challenge: Any) -> None:
    """A URL verification without a text as its challenge is malformed."""
    question = deliver_json({"type": "url_verification", "challenge": challenge})
    with pytest.raises(VerificationError, match="no text field 'challenge'"):
        PROVIDER.handshake(question)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"text",
        b"{",
        b"{}",
        b'{"type": 1}',
        b'{"type": "a", "event_id": 1}',
        b'{"event": {"type": null}, "type": "a"}',
        b"payload=",
        b"payload={",
        b"payload=[]",
        b"payload=%7B%7D",
        b"payload=%7B%22type%22%3A1%7D",
        b"payload=%7B%22type%22%3A%22a%22%2C%22trigger_id%22%3A1%7D",
        b"a=1&a=2",
        b"\xff=1",
        b"trigger_id=",
        b"&".join(b"a%d=1" % number for number in range(101)),
    ],
)
def test_signed_body_of_another_kind_is_rejected(body: bytes) -> None:
    """A signed body of none of Slack's kinds is malformed."""
    with pytest.raises(VerificationError) as caught:
        deliver(body)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("signature", ["v0=", "v1=00", "v0=zz", "a2114d57", "v0=00,v0=00", "é"])
def test_malformed_signature_is_rejected(signature: str) -> None:
    """A signature that is not v0= and hexadecimal digits is rejected."""
    with pytest.raises(VerificationError) as caught:
        deliver(BODY, X_Slack_Signature=signature)
    assert caught.value.reason in ("malformed", "no-match")


NAMES = ["type", "event", "event_id", "trigger_id", "payload", "command", "challenge"]


def fields(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw objects with the names that Slack's bodies have."""
    return st.dictionaries(st.sampled_from(NAMES), values, max_size=4)


JSON = st.recursive(st.none() | st.booleans() | st.text(max_size=8), lambda inner: st.lists(inner) | fields(inner))


@SAMPLED
@given(
    fields(JSON).map(lambda payload: json.dumps(payload).encode())
    | fields(st.text(max_size=8) | JSON.map(json.dumps)).map(lambda form: urlencode(form).encode())
    | st.binary(max_size=30)
)
@settings(max_examples=examples(100), deadline=None)
def test_any_signed_body_is_read_or_rejected(body: bytes) -> None:
    """Any signed body becomes an event with an id, or is malformed."""
    try:
        event = deliver(body)
        PROVIDER.handshake(event)
    except VerificationError as error:
        assert error.reason == "malformed"
        return
    assert event.id
    event.id.encode()
    event.type.encode()


@pytest.mark.parametrize(
    ("body", "is_probe"),
    [
        (b"ssl_check=1&token=t", True),
        (b"token=t&ssl_check=1", True),
        (b"ssl_check=0", False),
        (b"text=ssl_check%3D1", False),
        (b"text=ssl_check=1x", False),
        (b'{"text": "ssl_check=1"}', False),
        (b"", False),
        (b"ssl_check=1&" + b"a" * 20_000, False),
        (b"ssl_check=1&" + b"a=&" * 3000, True),
    ],
)
def test_certificate_check_is_a_probe(body: bytes, is_probe: bool) -> None:
    """Only a small form with ssl_check=1 is a check of the certificate."""
    assert PROVIDER.is_probe(body) is is_probe


def test_signed_certificate_check_is_a_handshake() -> None:
    """A signed check of the certificate gets an empty response, as an unsigned one does."""
    assert PROVIDER.handshake(deliver(b"ssl_check=1&token=t")) == ""


def test_commands_and_interactions_need_fresh_responses() -> None:
    """Slack shows the response to a command or an interaction to someone; an event's response is for Slack alone."""
    options = urlencode({"payload": json.dumps({"type": "block_suggestion", "value": "a"})}).encode()
    assert PROVIDER.needs_fresh_response(deliver(BODY))
    assert PROVIDER.needs_fresh_response(deliver(options))
    event = deliver_json({"type": "event_callback", "event_id": "Ev1", "event": MENTION})
    assert not PROVIDER.needs_fresh_response(event)
