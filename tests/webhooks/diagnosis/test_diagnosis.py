"""What is found wrong with a refused delivery: deliveries signed as the vendors do, then spoilt as it happens."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_convex_http.webhooks import GitHub, HmacSignature, Provider, Stripe, Svix, from_env
from flask_convex_http.webhooks.diagnosis.diagnose import diagnose, signed_at
from tests.webhooks.diagnosis.diagnoses import Others, first, found, words
from tests.webhooks.senders import BODY, NOW, OLD_SECRET, OTHER_SECRET, SECRET, SENDERS, VARIABLE

# --- nothing is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SENDERS)
def test_a_genuine_delivery_verifies(name: str) -> None:
    """Where nothing is wrong, or no more, that is the only finding, with the label of the secret."""
    sender = SENDERS[name]
    [finding] = found(sender.provider(), sender.headers())
    assert (finding.word, finding.is_certain) == ("verifies", True)
    assert "secret 1" in finding.sentence


# --- headers ---------------------------------------------------------------------------------------------------------


def test_a_missing_header_is_named() -> None:
    """A header that is not there is named; what came through a proxy says so."""
    headers = SENDERS["svix"].headers()
    del headers["svix-timestamp"]
    assert first(SENDERS["svix"].provider(), headers) == (
        "missing-header",
        "The header svix-timestamp is missing: the sender does not sign, or a proxy took it away.",
    )
    _, sentence = first(SENDERS["svix"].provider(), {**headers, "X-Forwarded-For": "10.0.0.1"})
    assert "it came through one: there is x-forwarded-for" in sentence


def test_an_empty_header_is_called_that() -> None:
    """A header that was cleared is told from one that is missing."""
    word, sentence = first(SENDERS["stripe"].provider(), {"Stripe-Signature": " "})
    assert (word, "is there and empty" in sentence) == ("missing-header", True)


@pytest.mark.parametrize("name", ["X-Original-Stripe-Signature", "Stripe_Signature"])
def test_a_renamed_header_is_recognised(name: str) -> None:
    """A signature under another name is what a proxy has renamed."""
    word, sentence = first(SENDERS["stripe"].provider(), {name: "t=1,v1=00"})
    assert (word, name.lower() in sentence) == ("renamed-header", True)


def test_a_delivery_of_another_provider_is_recognised() -> None:
    """The signature header of somebody else says who it is; a webhook here that verifies it is named."""
    headers = SENDERS["github"].headers()
    assert "other-provider" in words(SENDERS["stripe"].provider(), headers)
    here = SENDERS["github"].provider()
    assert first(SENDERS["stripe"].provider(), headers, BODY, (("/hooks/github", here),)) == (
        "other-provider",
        "It is a genuine delivery to /hooks/github: give its sender that URL.",
    )


def test_a_request_without_any_signature_is_unsigned() -> None:
    """A browser's or a scanner's request has none of the headers."""
    assert words(SENDERS["svix"].provider(), {"Host": "example.com"}) == ["missing-header"] * 3 + ["unsigned"]


def test_github_without_a_secret_does_not_sign() -> None:
    """GitHub's other headers without a signature: the webhook has no secret at GitHub."""
    headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "d-1"}
    sentences = [finding.sentence for finding in found(GitHub(secret=SECRET), headers) if finding.word == "unsigned"]
    assert "set one on the webhook's page" in sentences[0]


def test_github_with_sha1_alone_is_old() -> None:
    """Only the header of SHA-1 is not enough, and is called what it is."""
    signature = "sha1=" + hmac.new(SECRET.encode(), BODY, "sha1").hexdigest()
    assert "sha1-only" in words(GitHub(secret=SECRET), {"X-Hub-Signature": signature, "X-GitHub-Event": "push"})


def test_a_signature_among_the_credentials_is_not_kept() -> None:
    """A provider that signs in Authorization cannot be judged by what was kept, and the finding says so."""
    provider = HmacSignature(secret=SECRET, header="Authorization")
    assert "is not kept" in found(provider, {})[0].sentence


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, sender in SENDERS.items() if sender.timed])
@pytest.mark.parametrize(("off", "said"), [(7200, "7200 s before"), (-7200, "7200 s after")])
def test_a_clock_that_is_off_is_measured(name: str, off: int, said: str) -> None:
    """A delivery whose signature matches as of its own time is late or early by so many seconds."""
    sender = SENDERS[name]
    word, sentence = first(sender.provider(), sender.headers(), at=NOW + off)
    assert word == "clock"
    assert f"Its signature matches secret 1. It was signed {said} it was received" in sentence


def test_a_time_that_nothing_vouches_for_is_only_a_clue() -> None:
    """An old delivery signed with an unknown secret may have any time."""
    findings = found(SENDERS["stripe"].provider(), SENDERS["stripe"].headers(secret=OTHER_SECRET), at=NOW + 900)
    assert [(finding.word, finding.is_certain) for finding in findings] == [
        ("clock", False),
        ("unknown-signer", False),
    ]


def test_the_time_of_a_delivery_can_be_asked_for() -> None:
    """It is the signed one, in milliseconds; None where none is signed, or it is no number."""
    assert signed_at(SENDERS["stripe"].provider(), SENDERS["stripe"].headers(), BODY) == NOW * 1000
    assert signed_at(SENDERS["github"].provider(), SENDERS["github"].headers(), BODY) is None
    assert signed_at(SENDERS["stripe"].provider(), {"Stripe-Signature": "t=x"}, BODY) is None


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that is missing is named; so is another webhook's secret that matches."""
    monkeypatch.delenv(VARIABLE, raising=False)
    sender = SENDERS["stripe"]
    provider = sender.provider(from_env(VARIABLE))
    word, sentence = first(provider, sender.headers())
    assert (word, VARIABLE in sentence) == ("missing-secret", True)
    others = (("/webhooks/connect", sender.provider()),)
    assert words(provider, sender.headers(), BODY, others) == ["missing-secret", "other-secret"]


def test_without_a_secret_to_try_the_signer_is_not_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no secret is set here, that is all that is known; if the app had one, this is the wrong environment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    sender = SENDERS["github"]
    provider = sender.provider(from_env(VARIABLE))
    assert words(provider, sender.headers()) == ["missing-secret"]
    [finding] = diagnose(provider, sender.headers(), BODY, NOW * 1000, had_secret=True)
    assert (finding.word, VARIABLE in finding.sentence, finding.is_certain) == ("unseen-secret", True, True)
    monkeypatch.setenv(VARIABLE, "no such form")
    svix = SENDERS["svix"].provider(from_env(VARIABLE))
    headers = SENDERS["svix"].headers()
    assert [finding.word for finding in diagnose(svix, headers, BODY, NOW * 1000, had_secret=True)] == ["unseen-secret"]
    assert words(svix, headers) == ["missing-secret", "unknown-signer"]


@pytest.mark.parametrize("name", SENDERS)
def test_the_secret_of_another_webhook_is_named(name: str) -> None:
    """A delivery signed with what belongs to another webhook says whose that is, by its label."""
    sender = SENDERS[name]
    others: Others = (("/none", Svix(secret=OLD_SECRET)), ("/theirs", GitHub(secret=[OLD_SECRET, sender.other_secret])))
    word, sentence = first(sender.provider(), sender.headers(secret=sender.other_secret), BODY, others)
    assert word == "other-secret"
    assert "signed with secret 2 of /theirs, not with this webhook's secret 1" in sentence


@pytest.mark.parametrize("name", ["stripe", "svix", "github"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda secret: f" {secret}\n", "spaces or a line break"),
        (lambda secret: f'"{secret}"', "quotes"),
        (lambda secret: f"'{secret}' \n", "quotes"),
        (lambda secret: f"STRIPE_WEBHOOK_SECRET={secret}", "variable's name"),
        (lambda secret: f"{secret}\\n", r"written as \n"),
        (lambda secret: f'X="{secret}\\r\\n" ', r"written as \n"),
    ],
)
def test_a_secret_that_was_pasted_with_more_is_recognised(
    name: str, spoil: Callable[[str], str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spaces, quotes and the variable's name around a secret are what is wrong with it."""
    monkeypatch.setenv(VARIABLE, spoil(SECRET))
    sender = SENDERS[name]
    findings = found(sender.provider(from_env(VARIABLE)), sender.headers())
    pasted = [finding for finding in findings if finding.word == "pasted-secret" and finding.is_certain]
    assert any(said in finding.sentence and VARIABLE in finding.sentence for finding in pasted)


@pytest.mark.parametrize("name", ["stripe", "svix", "standard"])
def test_a_secret_without_its_prefix_is_recognised(name: str) -> None:
    """A secret that lacks whsec_ is what is wrong, where it belongs to the key or to the form."""
    sender = SENDERS[name]
    findings = found(sender.provider(SECRET.removeprefix("whsec_")), sender.headers())
    assert any("lacks the whsec_" in finding.sentence and finding.is_certain for finding in findings)


def test_a_prefix_that_does_not_belong_is_recognised() -> None:
    """GitHub takes the secret as it is typed there; a whsec_ in front of it makes another key."""
    plain = SECRET.removeprefix("whsec_")
    word, sentence = first(GitHub(secret=SECRET), SENDERS["github"].headers(secret=plain))
    assert (word, "which does not belong" in sentence) == ("pasted-secret", True)


def test_missing_padding_is_recognised() -> None:
    """The = at the end of a secret belong to it where it is taken as text."""
    padded = base64.b64encode(b"a key of a length!").decode() + "=="
    word, sentence = first(
        GitHub(secret=padded.rstrip("=")), SENDERS["github"].headers(secret=padded.rstrip("=") + "=")
    )
    assert (word, "lacks the =" in sentence) == ("pasted-secret", True)


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (lambda: Stripe(secret="sk_test_4eC39HqLyjWDarjtT1zdp7dc"), "an API key of Stripe"),
        (lambda: Stripe(secret=" pk_live_4eC39HqLyjWDarjtT1zdp7dc"), "an API key of Stripe"),
        (lambda: Svix(secret="sk_live_made_up"), "an API key"),
        (lambda: GitHub(secret="ghp_4eC39HqLyjWDarjtT1zdp7dc4eC39HqLyjWD"), "a token of GitHub"),
    ],
)
def test_another_credential_is_recognised(provider: Callable[[], Provider], said: str) -> None:
    """An API key in the place of a signing secret is told by its beginning, and not shown."""
    built = provider()
    sender = SENDERS[built.name]
    findings = found(built, sender.headers())
    pasted = [finding.sentence for finding in findings if finding.word == "pasted-secret"]
    assert any(said in sentence for sentence in pasted)
    assert "4eC39" not in "".join(pasted)


@pytest.mark.parametrize(("livemode", "said"), [(False, "test mode"), (True, "live mode")])
def test_the_mode_of_a_stripe_event_is_a_clue(livemode: bool, said: str) -> None:
    """An unknown signature on an event that says its mode: the secret may be that of the other mode."""
    body = json.dumps({"id": "evt_1", "livemode": livemode}).encode()
    headers = SENDERS["stripe"].headers(secret=OTHER_SECRET, body=body)
    clue = found(SENDERS["stripe"].provider(), headers, body)[0]
    assert (clue.word, clue.is_certain, said in clue.sentence) == ("test-mode-secret", False, True)


def test_an_event_of_a_connected_account_is_a_clue() -> None:
    """An endpoint for connected accounts has a secret of its own."""
    body = b'{"id": "evt_1", "account": "acct_1"}'
    headers = SENDERS["stripe"].headers(secret=OTHER_SECRET, body=body)
    assert "connect-secret" in words(SENDERS["stripe"].provider(), headers, body)


# --- how a signature is written --------------------------------------------------------------------------------------


def _hmac(**choices: Any) -> HmacSignature:
    return HmacSignature(secret=SECRET, header="X-Signature", **choices)


_DIGEST = hmac.digest(SECRET.encode(), BODY, "sha256")
_BASE64 = base64.b64encode(_DIGEST).decode()


@pytest.mark.parametrize(
    ("provider", "sent", "said"),
    [
        (_hmac(encoding="base64"), _DIGEST.hex(), "hexadecimal without a prefix, where this webhook expects base64"),
        (_hmac(), _BASE64, "base64 without a prefix, where this webhook expects hexadecimal"),
        (_hmac(), "sha256=" + _DIGEST.hex(), "behind 'sha256=', where this webhook expects hexadecimal without"),
        (_hmac(prefix="sha256="), _DIGEST.hex(), "expects hexadecimal behind 'sha256='"),
        (_hmac(encoding="base64"), _BASE64.rstrip("="), "base64 of another kind"),
    ],
)
def test_a_signature_in_another_form_is_recognised(provider: Provider, sent: str, said: str) -> None:
    """The right signature in another encoding or behind another prefix says how it is written."""
    word, sentence = first(provider, {"X-Signature": sent})
    assert (word, said in sentence) == ("signature-encoding", True)


@pytest.mark.parametrize(
    ("name", "header", "value", "said"),
    [
        ("stripe", "Stripe-Signature", f"t={NOW},v0=00", "Stripe-Signature has no v1= signature in it"),
        ("svix", "svix-signature", "v2,AAAA", "svix-signature has no v1, signature in it"),
        ("standard", "webhook-signature", "AAAA", "webhook-signature has no v1, signature in it"),
        ("github", "X-Hub-Signature-256", "sha1=00", "X-Hub-Signature-256 has no sha256= signature in it"),
        ("slack", "X-Slack-Signature", "v1=00", "X-Slack-Signature has no v0= signature in it"),
    ],
)
def test_a_header_without_a_signature_of_the_right_kind_is_named(name: str, header: str, value: str, said: str) -> None:
    """A header that has only what another version or method has made is as good as unsigned."""
    sender = SENDERS[name]
    headers = {**sender.headers(), header: value}
    word, sentence = first(sender.provider(), headers)
    assert (word, said in sentence) == ("unsigned", True)
    assert "unknown-signer" not in words(sender.provider(), headers)


# --- nothing fits, and what is hostile -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SENDERS)
def test_what_nothing_explains_says_so(name: str) -> None:
    """A forgery, or an event altered by hand, has one finding, which is not certain."""
    sender = SENDERS[name]
    [finding] = found(sender.provider(), sender.headers(), BODY.replace(b"order.paid", b"order.sold"))
    assert (finding.word, finding.is_certain) == ("unknown-signer", False)
    assert "secret 1" in finding.sentence


_LINE = st.text(st.characters(max_codepoint=255), max_size=60)
_HEADERS = st.dictionaries(
    st.sampled_from([name for sender in SENDERS.values() for name in sender.needed] + ["Content-Length", "X-Via"]),
    st.one_of(_LINE, st.from_regex(r"\A(t=[0-9]{1,13},)?(v1=|sha256=|v1,)?[0-9a-f+/=]{0,64}\Z")),
)


@given(
    name=st.sampled_from(sorted(SENDERS)),
    headers=_HEADERS,
    body=st.one_of(
        st.binary(max_size=100), st.text(max_size=60).map(str.encode), st.just(b"payload=%7B%22a%22%3A+1%7D")
    ),
    secret=st.one_of(st.just(""), st.text(st.characters(codec="utf-8"), max_size=20)),
    received_at=st.floats(),
    is_whole=st.booleans(),
)
@example("stripe", {"Stripe-Signature": "t=999999999999,v1=00"}, b'{"livemode": true}', "", 0.0, True)
@settings(max_examples=100, deadline=None)
def test_whatever_comes_there_is_a_finding_and_no_secret_in_it(
    name: str, headers: dict[str, str], body: bytes, secret: str, received_at: float, is_whole: bool
) -> None:
    """No delivery and no secret makes it fail, and no sentence holds a secret."""
    hush = f"{secret}whsec_hush-hush-{secret}"
    others = (("/a", GitHub(secret="hush-hush-of-another")), ("/b", SENDERS["svix"].provider("hush-hush-too")))
    findings = diagnose(SENDERS[name].provider(hush), headers, body, received_at, others, is_whole=is_whole)
    assert findings
    assert all("hush" not in finding.sentence for finding in findings)
