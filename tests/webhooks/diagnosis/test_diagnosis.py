"""Diagnosis of deliveries that the vendors' own libraries signed and that were then spoiled."""

import base64
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_convex_http.webhooks import GitHub, HmacSignature, Provider, Stripe, Svix, from_env
from flask_convex_http.webhooks.diagnosis import diagnose, signed_at
from tests.lengths import SAMPLED, examples
from tests.webhooks.diagnosis.diagnoses import Others, certain_finding, findings_of, words_of
from tests.webhooks.senders import BODY, NOW, OLD_SECRET, OTHER_SECRET, SECRET, SENDERS, VARIABLE


@pytest.mark.parametrize("name", SENDERS)
def test_a_genuine_delivery_verifies(name: str) -> None:
    """If nothing is wrong, the only finding names the secret that matches."""
    sender = SENDERS[name]
    [finding] = findings_of(sender.provider(), sender.headers())
    assert (finding.word, finding.is_certain) == ("verifies", True)
    assert "secret 1" in finding.sentence


@pytest.mark.parametrize("name", SENDERS)
def test_a_forgery_has_an_unknown_signer(name: str) -> None:
    """A body that was altered by hand has one finding, which is not certain."""
    sender = SENDERS[name]
    [finding] = findings_of(sender.provider(), sender.headers(), BODY.replace(b"order.paid", b"order.sold"))
    assert (finding.word, finding.is_certain) == ("unknown-signer", False)
    assert "secret 1" in finding.sentence


# --- headers ---------------------------------------------------------------------------------------------------------


def test_a_missing_header_is_named() -> None:
    """Each missing header has a finding that names it."""
    headers = SENDERS["svix"].headers()
    del headers["svix-timestamp"]
    assert certain_finding(SENDERS["svix"].provider(), headers) == (
        "missing-header",
        "The header svix-timestamp is missing: the sender does not sign, or a proxy removed the header.",
    )
    assert words_of(SENDERS["svix"].provider(), {"Host": "example.com"}) == ["missing-header"] * 3


def test_an_empty_header_is_reported_as_empty() -> None:
    """A header that a proxy has cleared is reported as empty, not as missing."""
    word, sentence = certain_finding(SENDERS["stripe"].provider(), {"Stripe-Signature": " "})
    assert (word, "Stripe-Signature is empty" in sentence) == ("missing-header", True)


def test_a_delivery_for_another_webhook_is_recognised() -> None:
    """If another webhook of the app verifies the delivery, the finding names that webhook."""
    others = (("/hooks/github", SENDERS["github"].provider()),)
    findings = findings_of(SENDERS["stripe"].provider(), SENDERS["github"].headers(), BODY, others)
    assert [finding.word for finding in findings] == ["missing-header", "other-provider"]
    assert findings[1].sentence.startswith("It is a genuine delivery for /hooks/github")


def test_a_signature_among_the_credentials_was_not_kept() -> None:
    """A signature in Authorization is not kept, so its absence says nothing."""
    [finding] = findings_of(HmacSignature(secret=SECRET, header="Authorization"), {})
    assert "is not kept" in finding.sentence and not finding.is_certain


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("stripe", "Stripe-Signature", "t=1,t=2,v1=00"),
        ("github", "X-Hub-Signature-256", "sha1=00"),
        ("slack", "X-Slack-Signature", "v1=00"),
        ("hmac", "X-Signature", "v0=not hexadecimal"),
    ],
)
def test_a_malformed_signature_is_a_hint(name: str, header: str, value: str) -> None:
    """A signature in another form than the provider's has a finding with the provider's own message."""
    sender = SENDERS[name]
    [finding] = findings_of(sender.provider(), {**sender.headers(), header: value})
    assert (finding.word, finding.is_certain) == ("malformed", False)
    assert f"The delivery is not what {sender.provider().name} sends: " in finding.sentence


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, sender in SENDERS.items() if sender.timed])
@pytest.mark.parametrize(("offset", "said"), [(7200, "7200 s before"), (-7200, "7200 s after")])
def test_the_difference_between_the_clocks_is_measured(name: str, offset: int, said: str) -> None:
    """If the signature matches, a delivery outside the tolerance tells how far the clocks are apart."""
    sender = SENDERS[name]
    word, sentence = certain_finding(sender.provider(), sender.headers(), at=NOW + offset)
    assert word == "clock"
    assert f"It was signed {said} it was received" in sentence


def test_the_time_of_an_unknown_signer_is_a_hint() -> None:
    """Anyone can send any time with an unknown signature, so the clock is not certain."""
    findings = findings_of(SENDERS["stripe"].provider(), SENDERS["stripe"].headers(secret=OTHER_SECRET), at=NOW + 900)
    assert [(finding.word, finding.is_certain) for finding in findings] == [
        ("clock", False),
        ("unknown-signer", False),
    ]


def test_the_signed_time_is_read() -> None:
    """`signed_at` returns milliseconds, or None if no time is signed or it is not a number."""
    assert signed_at(SENDERS["stripe"].provider(), SENDERS["stripe"].headers(), BODY) == NOW * 1000
    assert signed_at(SENDERS["github"].provider(), SENDERS["github"].headers(), BODY) is None
    assert signed_at(SENDERS["stripe"].provider(), {"Stripe-Signature": "t=x"}, BODY) is None


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_an_unset_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unset variable is named, and so is another webhook's secret that matches."""
    monkeypatch.delenv(VARIABLE, raising=False)
    sender = SENDERS["stripe"]
    provider = sender.provider(from_env(VARIABLE))
    word, sentence = certain_finding(provider, sender.headers())
    assert (word, VARIABLE in sentence) == ("missing-secret", True)
    others = (("/webhooks/connect", sender.provider()),)
    assert words_of(provider, sender.headers(), BODY, others) == ["missing-secret", "other-secret"]


def test_a_secret_that_only_the_app_had_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the app had a secret and the command has none, the finding is about the command's environment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    provider = GitHub(secret=from_env(VARIABLE))
    [finding] = diagnose(provider, SENDERS["github"].headers(), BODY, NOW * 1000, had_secret=True)
    assert (finding.word, VARIABLE in finding.sentence, finding.is_certain) == ("unseen-secret", True, True)


@pytest.mark.parametrize("name", SENDERS)
def test_the_secret_of_another_webhook_is_named(name: str) -> None:
    """A delivery signed with another webhook's secret names the secret by its label."""
    sender = SENDERS[name]
    others: Others = (("/none", Svix(secret=OLD_SECRET)), ("/theirs", GitHub(secret=[OLD_SECRET, sender.other_secret])))
    word, sentence = certain_finding(sender.provider(), sender.headers(secret=sender.other_secret), BODY, others)
    assert word == "other-secret"
    assert "signed with secret 2 of /theirs, not with secret 1 of this webhook" in sentence


@pytest.mark.parametrize("name", ["stripe", "svix", "github"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: f'"{secret}"',
        lambda secret: f"'{secret}' \n",
        lambda secret: f"STRIPE_WEBHOOK_SECRET={secret}",
        lambda secret: f"{secret}\\n",
        lambda secret: f'export X="{secret}\\r\\n" ',
    ],
)
def test_what_was_pasted_around_a_secret_is_recognised(
    name: str, spoil: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space, quotes and a variable's name around a secret are the finding, which names the variable."""
    monkeypatch.setenv(VARIABLE, spoil(SECRET))
    sender = SENDERS[name]
    findings = findings_of(sender.provider(from_env(VARIABLE)), sender.headers())
    [pasted] = [finding for finding in findings if finding.word == "pasted-secret"]
    assert pasted.is_certain
    assert re.match(f"{VARIABLE} has (quotes around|a variable's name before|a written line break)", pasted.sentence)


def test_a_secret_without_its_prefix_is_recognised() -> None:
    """A secret that lacks `whsec_` is recognised where the prefix belongs to the key, as for Stripe."""
    sender = SENDERS["stripe"]
    findings = findings_of(sender.provider(SECRET.removeprefix("whsec_")), sender.headers())
    assert any("lacks the prefix whsec_" in finding.sentence and finding.is_certain for finding in findings)


_PADDED = base64.b64encode(b"a key of a length!!?").decode()
_STANDARD = base64.b64encode(b"\xfb\xef\xbe" * 8).decode()


@pytest.mark.parametrize(
    ("configured", "signing", "said"),
    [
        (SECRET, SECRET.removeprefix("whsec_"), "has a prefix whsec_ that does not belong to it"),
        (_PADDED.rstrip("="), _PADDED, "is base64 with other padding"),
        (_PADDED, _PADDED.rstrip("="), "is base64 with other padding"),
        (_STANDARD.replace("+", "-").replace("/", "_"), _STANDARD, "is base64 with - and _ instead of + and /"),
    ],
)
def test_another_encoding_of_a_secret_is_recognised(configured: str, signing: str, said: str) -> None:
    """GitHub takes a secret literally, so a prefix, padding or other characters make another key."""
    assert configured != signing
    word, sentence = certain_finding(GitHub(secret=configured), SENDERS["github"].headers(secret=signing))
    assert (word, said in sentence) == ("pasted-secret", True)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Stripe(secret="sk_test_4eC39HqLyjWDarjtT1zdp7dc"),
        lambda: Stripe(secret=" pk_live_4eC39HqLyjWDarjtT1zdp7dc"),
        lambda: Svix(secret="sk_live_4eC39"),
        lambda: GitHub(secret="ghp_4eC39HqLyjWDarjtT1zdp7dc4eC39HqLyjWD"),
    ],
)
def test_an_api_key_instead_of_a_secret_is_a_hint(build: Callable[[], Provider]) -> None:
    """An API key in the place of a signing secret is recognised by its beginning and not shown."""
    provider = build()
    findings = findings_of(provider, SENDERS[provider.name].headers())
    [pasted] = [finding for finding in findings if finding.word == "pasted-secret"]
    assert "is an API key or an access token" in pasted.sentence and not pasted.is_certain
    assert "4eC39" not in pasted.sentence


@pytest.mark.parametrize(("livemode", "said"), [(False, "livemode: false"), (True, "livemode: true")])
def test_the_mode_of_a_stripe_event_is_a_hint(livemode: bool, said: str) -> None:
    """The event's mode is mentioned, because the secret may be the other mode's."""
    body = json.dumps({"id": "evt_1", "livemode": livemode}).encode()
    headers = SENDERS["stripe"].headers(secret=OTHER_SECRET, body=body)
    hint = findings_of(SENDERS["stripe"].provider(), headers, body)[0]
    assert (hint.word, hint.is_certain, said in hint.sentence) == ("test-mode-secret", False, True)


# --- hostile input ---------------------------------------------------------------------------------------------------


_LINE = st.text(st.characters(max_codepoint=255), max_size=60)
_HEADERS = st.dictionaries(
    st.sampled_from(
        [name for sender in SENDERS.values() for name in sender.needed] + ["Content-Length", "Content-Encoding"]
    ),
    st.one_of(_LINE, st.from_regex(r"\A(t=[0-9]{1,13},)?(v1=|sha256=|v1,)?[0-9a-f+/=]{0,64}\Z")),
)


@SAMPLED
@given(
    name=st.sampled_from(sorted(SENDERS)),
    headers=_HEADERS,
    body=st.one_of(st.binary(max_size=100), st.text(max_size=60).map(str.encode), st.just(b'{"a": "\\ud800"}')),
    secret=st.one_of(st.just(""), st.text(st.characters(codec="utf-8"), max_size=20)),
    received_at=st.floats(),
    is_whole=st.booleans(),
)
@example("stripe", {"Stripe-Signature": "t=999999999999,v1=00"}, b'{"livemode": true}', "", 0.0, True)
@settings(max_examples=examples(100), deadline=None)
def test_any_delivery_has_a_finding_without_a_secret(
    name: str, headers: dict[str, str], body: bytes, secret: str, received_at: float, is_whole: bool
) -> None:
    """Every delivery and every secret gives a finding, and no finding contains a secret."""
    hush = f"{secret}whsec_hush-hush-{secret}"
    others = (("/a", GitHub(secret="hush-hush-of-another")), ("/b", SENDERS["svix"].provider("hush-hush-too")))
    findings = diagnose(SENDERS[name].provider(hush), headers, body, received_at, others, is_whole=is_whole)
    assert findings
    assert all("hush" not in finding.sentence for finding in findings)
