"""What is found of a body that something has changed on its way, and what a hostile one costs."""

import gzip
import itertools
import json
import time
from urllib.parse import quote_plus, unquote_plus

import pytest
import stripe

from flask_convex_http.webhooks import GitHub, StandardWebhooks, Stripe, Svix
from flask_convex_http.webhooks.diagnosis.body_changes import LONGEST, changes
from tests.webhooks.diagnosis.diagnoses import first, found, words
from tests.webhooks.senders import BODY, NOW, OLD_SECRET, OTHER_SECRET, SECRET, SENDERS

#: Bytes of bodies that are made to be slow: an eighth of the longest that is tried, in which all passes are made.
SIZE = LONGEST // 8

_EVENT = {"id": "evt_1", "name": "Lámpara", "url": "https://a/b", "data": {"b": 1, "a": [True, None, 1.5]}}
_COMPACT = json.dumps(_EVENT, separators=(",", ":"), ensure_ascii=False).encode()
_ESCAPED = json.dumps(_EVENT, separators=(",", ":")).encode()
_SPACED = json.dumps(_EVENT, ensure_ascii=False).encode()
_INDENTED = json.dumps(_EVENT, indent=2).encode()
_LIKE_PHP = _ESCAPED.replace(b"/", b"\\/")
_SORTED = json.dumps(_EVENT, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
_FORM = b"payload=" + quote_plus(_COMPACT.decode()).encode()
_LINES = b'{\n "id": "evt_1",\n  "a": 1.50\n}'


@pytest.mark.parametrize(
    ("signed", "received", "said"),
    [
        (_COMPACT, _SPACED, "without spaces)"),
        (_COMPACT, _INDENTED, "without spaces)"),
        (_SPACED, _COMPACT, "with spaces behind commas"),
        (_INDENTED, _ESCAPED, "indented by 2, other characters than ASCII escaped"),
        (_ESCAPED, _COMPACT, "without spaces, other characters than ASCII escaped"),
        (_COMPACT, _ESCAPED, "without spaces)"),
        (_LIKE_PHP, _COMPACT, "slashes escaped"),
        (_SORTED, _SPACED, "keys sorted"),
        (_COMPACT + b"\n", _SPACED, "with a line break at its end"),
        (_LINES + b"\n", _LINES, "the line break at its end was taken away"),
        (_LINES, _LINES + b"\n", "a line break was added"),
        (_LINES, b"\xef\xbb\xbf" + _LINES, "a byte order mark was added"),
        (_LINES, _LINES.replace(b"\n", b"\r\n"), "from LF into CRLF"),
        (_LINES.replace(b"\n", b"\r\n"), _LINES, "from CRLF into LF"),
        (_INDENTED, _INDENTED.replace(b"\n", b"\r\n"), "from LF into CRLF"),
        (_INDENTED.replace(b"\n", b"\r\n"), _INDENTED, "from CRLF into LF"),
        (_FORM, unquote_plus(_FORM.decode()).encode(), "form"),
        (_FORM, _COMPACT, "taken out of the form field payload"),
        (_LINES, gzip.compress(_LINES, mtime=0), "compressed after it was signed"),
        (gzip.compress(_LINES, 9, mtime=0), _LINES, "decompressed"),
        ("a = 'é'\n".encode("latin-1"), "a = 'é'\n".encode(), "from latin-1 into UTF-8"),
        ("a = 'é'\n".encode(), "a = 'é'\n".encode("latin-1"), "from UTF-8 into latin-1"),
    ],
    ids=itertools.count(),
)
def test_an_altered_body_says_what_was_done_to_it(signed: bytes, received: bytes, said: str) -> None:
    """The body that was signed is found again behind what proxies and parsers do to it."""
    assert signed != received
    word, sentence = first(GitHub(secret=SECRET), SENDERS["github"].headers(body=signed), received)
    assert (word, said in sentence) == ("altered-body", True)


@pytest.mark.parametrize("name", SENDERS)
def test_every_provider_s_body_is_found_again(name: str) -> None:
    """A body that Flask's JSON has written again is recognised whoever signed it."""
    sender = SENDERS[name]
    received = json.dumps(json.loads(_COMPACT)).encode()
    assert first(sender.provider(), sender.headers(body=_COMPACT), received)[0] == "altered-body"


def test_a_body_as_stripe_writes_it_is_found_again() -> None:
    """Stripe indents by two; its own signature over that is what a parsed body no longer has."""
    body = json.dumps({"id": "evt_1", "object": "event", "livemode": False}, indent=2)
    signature = stripe.WebhookSignature.generate_signature_header(body, SECRET, NOW)
    received = json.dumps(json.loads(body), separators=(",", ":")).encode()
    findings = found(Stripe(secret=SECRET), {"Stripe-Signature": signature}, received)
    assert [finding.word for finding in findings] == ["altered-body", "test-mode-secret"]
    assert "indented by 2" in findings[0].sentence


def test_another_secret_and_an_altered_body_are_found_together() -> None:
    """Both at once are told in one finding."""
    others = (("/theirs", SENDERS["svix"].provider(OTHER_SECRET)),)
    headers = SENDERS["svix"].headers(secret=OTHER_SECRET, body=_COMPACT)
    word, sentence = first(SENDERS["svix"].provider(), headers, _SPACED, others)
    assert (word, "signed with secret 1 of /theirs" in sentence) == ("altered-body", True)


def test_an_altered_body_may_be_late_too() -> None:
    """The time of a delivery whose signature is explained counts as found."""
    headers = SENDERS["svix"].headers(body=_COMPACT)
    findings = found(SENDERS["svix"].provider(), headers, _SPACED, at=NOW + 900)
    assert [(finding.word, finding.is_certain) for finding in findings] == [("altered-body", True), ("clock", True)]


def test_an_empty_body_and_a_wrong_length_are_clues() -> None:
    """A body that was read before is empty; one of another length than announced was changed."""
    headers = SENDERS["github"].headers()
    assert any("The body is empty" in finding.sentence for finding in found(GitHub(secret=SECRET), headers, b""))
    changed = BODY.replace(b"evt_1", b"evt_10")
    clue = found(GitHub(secret=SECRET), {**headers, "Content-Length": str(len(BODY))}, changed)[0]
    assert f"Content-Length says {len(BODY)} bytes and {len(changed)} came" in clue.sentence


def test_of_a_cut_body_no_signature_is_tried() -> None:
    """Where only the beginning was kept that is said, and not that the signature is unknown."""
    headers = SENDERS["github"].headers(body=BODY * 9000)
    assert words(GitHub(secret=SECRET), headers, BODY, is_whole=False) == ["cut-body"]


def test_what_was_signed_and_is_no_event_is_malformed() -> None:
    """A signature that matches over something else than an event: perhaps it is the wrong provider."""
    word, sentence = first(SENDERS["svix"].provider(), SENDERS["svix"].headers(body=b"[]"), b"[]")
    assert word == "malformed"
    assert "Its signature matches secret 1" in sentence and "not a JSON object" in sentence


@pytest.mark.parametrize(
    "body",
    [
        b"[" * SIZE,
        b"[" + b"1," * (SIZE // 2 - 2) + b"1]",
        b"&" * SIZE,
        b"=" * SIZE,
        gzip.compress(bytes(32 * LONGEST)),
        b"9" * SIZE,
        bytes(2 * LONGEST),
    ],
    ids=["deep", "wide", "fields", "equals", "bomb", "digits", "long"],
)
def test_a_hostile_body_costs_seconds_at_most(body: bytes) -> None:
    """Whatever a body is made of, the work is bounded, with many webhooks and secrets too."""
    others = tuple((f"/{number}", Svix(secret=OTHER_SECRET)) for number in range(10))
    provider = StandardWebhooks(secret=[SECRET, OLD_SECRET])
    started = time.process_time()
    assert found(provider, SENDERS["standard"].headers(), body, others)[-1].word == "unknown-signer"
    assert time.process_time() - started < 5


def test_no_candidate_is_tried_twice() -> None:
    """Each body is another one, and none that of the delivery; of a long body there is none."""
    bodies = [change.before for change in changes(_SPACED)]
    assert len(bodies) == len(set(bodies)) > 20
    assert _SPACED not in bodies
    assert list(changes(bytes(LONGEST + 1))) == []
