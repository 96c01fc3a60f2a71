"""Diagnosis of bodies that were changed after they were signed, and the cost of a hostile body."""

import gzip
import itertools
import json
import time

import pytest
import stripe

from flask_convex_http.webhooks import GitHub, StandardWebhooks, Stripe, Svix
from flask_convex_http.webhooks.diagnosis.body_changes import LONGEST, other_spellings
from tests.webhooks.diagnosis.diagnoses import certain_finding, findings_of, words_of
from tests.webhooks.senders import BODY, NOW, OLD_SECRET, OTHER_SECRET, SECRET, SENDERS

_EVENT = {"id": "evt_1", "name": "Lámpara", "url": "https://a/b", "data": {"b": 1, "a": [True, None, 1.5]}}
_COMPACT = json.dumps(_EVENT, separators=(",", ":"), ensure_ascii=False).encode()
_ESCAPED = json.dumps(_EVENT, separators=(",", ":")).encode()
_SPACED = json.dumps(_EVENT, ensure_ascii=False).encode()
_INDENTED = json.dumps(_EVENT, indent=2).encode()
_LINES = b'{\n "id": "evt_1",\n  "a": 1.50\n}'

_REWRITTEN = "its JSON was parsed and written again"
_WHITE_SPACE = "its line breaks or the white space around it were changed"


@pytest.mark.parametrize(
    ("signed", "received", "said"),
    [
        (_COMPACT, _SPACED, _REWRITTEN),
        (_COMPACT, _INDENTED, _REWRITTEN),
        (_COMPACT, _ESCAPED, _REWRITTEN),
        (_ESCAPED, _COMPACT, _REWRITTEN),
        (_SPACED, _COMPACT, _REWRITTEN),
        (_INDENTED, _COMPACT, _REWRITTEN),
        (_LINES + b"\n", _LINES, _WHITE_SPACE),
        (_LINES, _LINES + b"\n", _WHITE_SPACE),
        (_LINES, _LINES.replace(b"\n", b"\r\n"), _WHITE_SPACE),
    ],
    ids=itertools.count(),
)
def test_the_signature_confirms_how_a_body_was_altered(signed: bytes, received: bytes, said: str) -> None:
    """If the signature matches another spelling of the body, the finding says what changed it."""
    assert signed != received
    word, sentence = certain_finding(GitHub(secret=SECRET), SENDERS["github"].headers(body=signed), received)
    assert (word, said in sentence) == ("altered-body", True)


@pytest.mark.parametrize("name", SENDERS)
def test_a_rewritten_body_is_recognised_for_every_provider(name: str) -> None:
    """A body that Python's `json` has parsed and written again is recognised, whichever provider signed it."""
    sender = SENDERS[name]
    received = json.dumps(json.loads(_COMPACT)).encode()
    assert certain_finding(sender.provider(), sender.headers(body=_COMPACT), received)[0] == "altered-body"


def test_a_body_that_stripe_indented_is_recognised() -> None:
    """Stripe signs JSON indented by two spaces; a compact body has lost them."""
    body = json.dumps({"id": "evt_1", "object": "event", "livemode": False}, indent=2)
    signature = stripe.WebhookSignature.generate_signature_header(body, SECRET, NOW)
    received = json.dumps(json.loads(body), separators=(",", ":")).encode()
    assert words_of(Stripe(secret=SECRET), {"Stripe-Signature": signature}, received) == ["altered-body"]


def test_an_altered_body_can_be_late_too() -> None:
    """Two problems at once give two findings."""
    findings = findings_of(SENDERS["svix"].provider(), SENDERS["svix"].headers(body=_COMPACT), _SPACED, at=NOW + 900)
    assert [(finding.word, finding.is_certain) for finding in findings] == [("altered-body", True), ("clock", True)]


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({}, b"", "The body is empty"),
        ({"Content-Length": "7"}, b"x" * 8, "Content-Length is 7 and the body has 8 bytes"),
        ({"Content-Encoding": "gzip"}, gzip.compress(BODY, mtime=0), "has a Content-Encoding"),
        ({}, "é".encode("latin-1"), "The body is not UTF-8"),
    ],
)
def test_a_body_that_looks_altered_is_a_hint(headers: dict[str, str], body: bytes, said: str) -> None:
    """If no spelling matches, the length, the encoding or an empty body hint at a change."""
    findings = findings_of(GitHub(secret=SECRET), {**SENDERS["github"].headers(), **headers}, body)
    assert [(finding.word, finding.is_certain) for finding in findings] == [
        ("altered-body", False),
        ("unknown-signer", False),
    ]
    assert said in findings[0].sentence


def test_the_signature_of_a_cut_body_is_not_checked() -> None:
    """If only the beginning of the body was kept, that is the finding."""
    headers = SENDERS["github"].headers(body=BODY * 9000)
    assert words_of(GitHub(secret=SECRET), headers, BODY, is_whole=False) == ["cut-body"]


def test_a_signed_body_that_is_no_event_is_malformed() -> None:
    """A matching signature over something other than an event hints at the wrong provider."""
    word, sentence = certain_finding(SENDERS["svix"].provider(), SENDERS["svix"].headers(body=b"[]"), b"[]")
    assert word == "malformed"
    assert "The signature matches secret 1" in sentence and "not a JSON object" in sentence


@pytest.mark.parametrize(
    "body",
    [b"[" * LONGEST, b"[" + b"1," * (LONGEST // 2 - 2) + b"1]", b"9" * LONGEST, bytes(8 * LONGEST)],
    ids=["deep", "wide", "digits", "long"],
)
def test_a_hostile_body_costs_seconds_at_most(body: bytes) -> None:
    """The work is bounded for any body, also with many webhooks and secrets."""
    others = tuple((f"/{number}", Svix(secret=OTHER_SECRET)) for number in range(10))
    provider = StandardWebhooks(secret=[SECRET, OLD_SECRET])
    started = time.process_time()
    assert findings_of(provider, SENDERS["standard"].headers(), body, others)[-1].word == "unknown-signer"
    assert time.process_time() - started < 5


def test_a_body_has_few_other_spellings() -> None:
    """At most nine spellings of a body are tried, and none of a long one."""
    assert 0 < len(list(other_spellings(_SPACED + b"\r\n"))) <= 9
    assert list(other_spellings(bytes(LONGEST + 1))) == []
