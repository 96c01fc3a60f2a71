"""The base class of providers, on each provider of `senders.py`, besides what the contract of providers says."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from flask_convex_http.errors import MissingSecretError, RegistrationError, VerificationError
from flask_convex_http.webhooks import Provider, from_env
from flask_convex_http.webhooks.parsing import parse_json
from tests.webhooks.credentials import CREDENTIALS
from tests.webhooks.senders import (
    BODY,
    NOW,
    SENDERS,
    STANDARD_FAMILY,
    VARIABLE,
    Headers,
    Sender,
)


@pytest.fixture(params=SENDERS, name="sender")
def _sender(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]


@pytest.fixture(params=[name for name, sender in SENDERS.items() if sender.timed], name="timed_sender")
def _timed_sender(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]


def rejection(provider: Provider, headers: Mapping[str, str], body: bytes = BODY, at: float = NOW) -> str:
    """Return the reason for which a delivery is rejected."""
    with pytest.raises(VerificationError) as caught:
        provider.verify(headers, body, now=at * 1000)
    assert caught.value.status in (400, provider.profile.rejected_status)
    return caught.value.reason


def test_valid_delivery_gives_its_event(sender: Sender) -> None:
    """A delivery signed by the vendor becomes an event with everything that was received."""
    provider = sender.provider()
    event = provider.verify(sender.headers(), BODY, now=NOW * 1000)
    assert (sender.event_id, sender.event_type) == (event.id, event.type)
    assert event.payload == {"id": "evt_1", "type": "order.paid", "data": {"name": "Lámpara"}}
    assert event.data in (event.payload, event.payload["data"])
    assert (BODY, provider.name, NOW * 1000) == (event.body, event.provider, event.received_at)
    assert event.secret_label == "secret 1"


def test_now_defaults_to_the_current_time(sender: Sender) -> None:
    """Without `now` a delivery is verified as of the current time, in milliseconds."""
    before = time.time() * 1000
    event = sender.provider().verify(sender.headers(at=int(time.time())), BODY)
    assert before <= event.received_at <= time.time() * 1000


def test_header_names_match_in_any_case(sender: Sender) -> None:
    """Header names match in any case, and those of the event are in lower case."""
    headers = {name.upper(): value for name, value in sender.headers().items()}
    event = sender.provider().verify(headers, BODY, now=NOW * 1000)
    assert {name.lower(): value for name, value in headers.items()} == event.headers


def test_only_named_headers_are_kept(sender: Sender) -> None:
    """An event has the headers that its provider names and common ones, and no header that holds a credential."""
    others = {"User-Agent": "Sender/1", "X-Unknown": "dropped", **dict.fromkeys(CREDENTIALS, "hush")}
    event = sender.provider().verify({**sender.headers(), **others}, BODY, now=NOW * 1000)
    sent = {name.lower(): value for name, value in sender.headers().items()}
    assert event.headers == {**sent, "user-agent": "Sender/1"}


def test_repr_has_no_content(sender: Sender) -> None:
    """The reprs of an event and its provider contain neither the body nor the secret."""
    provider = sender.provider()
    shown = repr(provider.verify(sender.headers(), BODY, now=NOW * 1000)) + repr(provider)
    assert "mpara" not in shown
    assert sender.secret not in shown


def test_signature_by_another_provider_is_rejected(sender: Sender) -> None:
    """A delivery of another provider is rejected, alone and with the headers of all providers."""
    every_header: Headers = {}
    for other in SENDERS.values():
        rejection(sender.provider(), other.headers(secret=other.other_secret))
        every_header |= other.headers(secret=other.other_secret)
    rejection(sender.provider(), every_header)


def test_scheme_of_another_provider_is_rejected(sender: Sender) -> None:
    """Headers of another provider are not read, even with the same secret, except in one family of schemes."""
    family = [SENDERS[name] for name in STANDARD_FAMILY]
    for other in SENDERS.values():
        if other is sender or (sender in family and other in family):
            continue
        assert rejection(sender.provider(), other.headers()) == "missing-header"


def test_missing_header_is_rejected(sender: Sender) -> None:
    """A delivery without one of the required headers is rejected with the header's name."""
    for name in sender.needed:
        headers = {key: value for key, value in sender.headers().items() if key != name}
        with pytest.raises(VerificationError, match=f"^Missing {name} header$") as caught:
            sender.provider().verify(headers, BODY, now=NOW * 1000)
        assert caught.value.reason == "missing-header"


def test_tolerance_has_two_ends(timed_sender: Sender) -> None:
    """A delivery is accepted up to five minutes early or late, and rejected one second later."""
    provider, headers = timed_sender.provider(), timed_sender.headers()
    for at in (NOW - 300, NOW + 300):
        provider.verify(headers, BODY, now=at * 1000)
    assert rejection(provider, headers, at=NOW + 301) == "too-old"
    assert rejection(provider, headers, at=NOW - 301) == "too-new"


def test_future_has_a_tolerance_of_its_own(timed_sender: Sender) -> None:
    """`future_tolerance` bounds the future independently of the past."""
    headers = timed_sender.headers()
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    strict = timed_sender.provider(future_tolerance=minute)
    strict.verify(headers, BODY, now=(NOW - 60) * 1000)
    strict.verify(headers, BODY, now=(NOW + 300) * 1000)
    assert rejection(strict, headers, at=NOW - 61) == "too-new"
    assert rejection(strict, headers, at=NOW + 301) == "too-old"
    lenient = timed_sender.provider(tolerance=minute, future_tolerance=hour)
    lenient.verify(headers, BODY, now=(NOW - 3600) * 1000)
    assert rejection(lenient, headers, at=NOW - 3601) == "too-new"
    assert rejection(lenient, headers, at=NOW + 61) == "too-old"


@pytest.mark.parametrize("tolerance", [60, timedelta(0), timedelta(seconds=-1)])
def test_future_tolerance_is_a_positive_timedelta(timed_sender: Sender, tolerance: object) -> None:
    """`future_tolerance` must be a timedelta of more than zero."""
    with pytest.raises(RegistrationError, match=r"^future_tolerance must be"):
        timed_sender.provider(future_tolerance=tolerance)


@pytest.mark.parametrize("name", ["tolerance", "future_tolerance"])
@pytest.mark.parametrize("sender", [sender for sender in SENDERS.values() if not sender.timed])
def test_untimed_provider_takes_no_tolerance(sender: Sender, name: str) -> None:
    """A provider that does not sign a time has no argument for a tolerance."""
    with pytest.raises(TypeError):
        sender.build(secret=sender.secret, **{name: timedelta(minutes=1)})


def test_far_future_is_rejected(timed_sender: Sender) -> None:
    """A signed timestamp beyond every calendar is too new."""
    headers = timed_sender.headers()
    far = {key: value.replace(str(NOW), "999999999999") for key, value in headers.items()}
    assert rejection(timed_sender.provider(), far) == "too-new"


def test_nan_as_time_is_rejected(timed_sender: Sender) -> None:
    """Verification as of a time that is not a number rejects the delivery."""
    assert rejection(timed_sender.provider(), timed_sender.headers(), at=float("nan")) == "too-old"


@pytest.mark.parametrize(
    "text",
    ["-1750000000", "1750000000.5", "1_750_000_000", "+1750000000", "\u0661\u0667", "1" * 13],
)
def test_timestamp_has_only_digits(timed_sender: Sender, text: str) -> None:
    """A timestamp in any form but plain digits is malformed."""
    headers = timed_sender.headers()
    changed = {key: value.replace(str(NOW), text) for key, value in headers.items()}
    assert rejection(timed_sender.provider(), changed) == "malformed"


def test_rotated_secrets_are_both_accepted(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a secret is rotated both verify, and the event has the label of the one that matched."""
    monkeypatch.setenv(VARIABLE, sender.secret)
    provider = sender.provider([from_env(VARIABLE), sender.old_secret])
    new = provider.verify(sender.headers(), BODY, now=NOW * 1000)
    old = provider.verify(sender.headers(secret=sender.old_secret), BODY, now=NOW * 1000)
    assert (new.secret_label, old.secret_label) == (VARIABLE, "secret 2")


def test_unset_variable_is_a_missing_secret(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an unset variable the provider can be created, and verification raises MissingSecretError."""
    monkeypatch.delenv(VARIABLE, raising=False)
    provider = sender.provider(from_env(VARIABLE))
    with pytest.raises(MissingSecretError, match=f"^Environment variable {VARIABLE} is not set$") as caught:
        provider.verify(sender.headers(), BODY, now=NOW * 1000)
    assert caught.value.status == 503
    monkeypatch.setenv(VARIABLE, sender.secret)
    assert provider.verify(sender.headers(), BODY, now=NOW * 1000).secret_label == VARIABLE


def test_unset_variable_is_reported_first(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable is reported for any delivery, and by `current_keys` without one."""
    monkeypatch.delenv(VARIABLE, raising=False)
    provider = sender.provider(from_env(VARIABLE))
    for headers, body in (({}, b""), ({"X": "y"}, b"{"), (sender.headers(at=1), BODY)):
        for verify in (provider.verify, provider.verify_signature):
            with pytest.raises(MissingSecretError, match=VARIABLE):
                verify(headers, body, now=NOW * 1000)
    with pytest.raises(MissingSecretError, match=VARIABLE):
        provider.current_keys()
    monkeypatch.setenv(VARIABLE, sender.secret)
    provider.current_keys()


def test_malformed_secret_is_named_but_not_shown(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed secret is reported by its label, and does not disable another one."""
    monkeypatch.setenv(VARIABLE, "whsec_\udcff")
    provider = sender.provider([from_env(VARIABLE), sender.old_secret])
    assert provider.verify(sender.headers(secret=sender.old_secret), BODY, now=NOW * 1000).secret_label == "secret 2"
    with pytest.raises(MissingSecretError, match=f"^{VARIABLE} is not a valid signing secret") as caught:
        provider.verify(sender.headers(), BODY, now=NOW * 1000)
    assert caught.value.__context__ is None
    assert "udcff" not in ascii(str(caught.value)) and VARIABLE not in str(caught.value.client_message)


def test_secret_may_be_pasted_with_white_space(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around a secret, such as the line break of a mounted file, is not part of it."""
    for spelling in (f"{sender.secret}\n", f" {sender.secret}\r\n"):
        monkeypatch.setenv(VARIABLE, spelling)
        for secret in (from_env(VARIABLE), spelling):
            provider = sender.provider(secret)
            assert provider.verify(sender.headers(), BODY, now=NOW * 1000).id == sender.event_id


MISTAKES = {
    '"{}"': "quotes",
    "'{}'": "quotes",
    "{}\\n": "a written line break",
    "WEBHOOK_SECRET={}": "a variable's name",
    "export WEBHOOK_SECRET='{}'": "a variable's name",
    "> Ready! Your webhook signing secret is {} (^C to quit)": "other text beside whsec_",
    '{{"key":"{}"}}': "other text beside whsec_",
    "\ufeff{}": "not seen",
    "{}\u200b": "not seen",
    "{0},{0}": "whsec_ twice",
    "{};": "other text beside whsec_",
    "${{WEBHOOK_SECRET}}": "a placeholder",
    "'whsec_...'": "a placeholder",
}


@pytest.mark.parametrize("form", MISTAKES)
@pytest.mark.parametrize("sender", [sender for name, sender in SENDERS.items() if name != "ed25519"])
def test_mistake_in_a_secret_is_named(sender: Sender, form: str) -> None:
    """A secret that no vendor's library would take is refused with the mistake in words, and without the secret."""
    pasted = form.format(sender.secret)
    with pytest.raises(
        MissingSecretError, match=f"^secret 1 is not a valid signing secret: it .*{MISTAKES[form]}"
    ) as caught:
        sender.provider(pasted).verify(sender.headers(), BODY, now=NOW * 1000)
    assert sender.secret.removeprefix("whsec_")[:8] not in str(caught.value)


def test_api_key_is_no_issued_secret(sender: Sender) -> None:
    """An API key in place of a secret is named, unless people choose the secrets of this sender."""
    pasted = "sk_test_51abcdefghijklmnop"
    provider = sender.provider(pasted)
    if sender in (SENDERS["github"], SENDERS["hmac"]):
        assert rejection(provider, sender.headers()) == "no-match"
        return
    with pytest.raises(MissingSecretError, match=r"^secret 1 is not a valid signing secret: it is an API key"):
        provider.verify(sender.headers(), BODY, now=NOW * 1000)


@pytest.mark.parametrize("sender", [sender for name, sender in SENDERS.items() if name not in STANDARD_FAMILY])
def test_odd_secret_that_matches_is_right(sender: Sender) -> None:
    """A secret that looks like a mistake is accepted if the sender signs with it."""
    odd = '"quoted"'
    assert sender.provider(odd).verify(sender.headers(secret=odd), BODY, now=NOW * 1000).id == sender.event_id


def test_rejected_delivery_has_the_senders_status(sender: Sender) -> None:
    """A delivery that is not authentic has the status that its sender demands, and signed nonsense is 400."""
    provider = sender.provider()
    wanted = 401 if sender is SENDERS["shopify"] else 400
    headers = sender.headers()
    unsigned = {name: value for name, value in headers.items() if name not in sender.needed}
    forged = {**headers, **dict.fromkeys(sender.needed, "!")}
    for wrong, body in ((headers, BODY + b" "), (unsigned, BODY), (forged, BODY)):
        with pytest.raises(VerificationError) as caught:
            provider.verify(wrong, body, now=NOW * 1000)
        assert caught.value.status == provider.profile.rejected_status == wanted
    if sender is not SENDERS["github"]:
        with pytest.raises(VerificationError) as caught:
            provider.verify(sender.headers(body=b"nonsense"), b"nonsense", now=NOW * 1000)
        assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"\xff\xfe{}", b'{"id": "\xff"}'])
def test_body_that_is_not_utf8_is_rejected(sender: Sender, body: bytes) -> None:
    """A body that is not UTF-8 is rejected even if it is signed."""
    assert rejection(sender.provider(), sender.headers(body=body), body) in ("malformed", "no-match")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' * 65 + b"1" + b"}" * 65])
def test_deep_nesting_is_rejected(sender: Sender, body: bytes) -> None:
    """A signed body that is nested too deeply is rejected."""
    assert rejection(sender.provider(), sender.headers(body=body), body) == "malformed"


@pytest.mark.parametrize("body", [b'{"a":' * 65 + b"1" + b"}" * 65, b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_deep_nesting_is_named(body: bytes) -> None:
    """JSON that is nested too deeply is named as such, also beyond the stack of the interpreter."""
    with pytest.raises(VerificationError, match="more than 64 levels"):
        parse_json(body)


def test_signed_body_without_an_event_is_rejected(sender: Sender) -> None:
    """A signed body that is not a JSON object is malformed, except for GitHub, which may sign any text."""
    for body in (b"", b"[]", b"1", b"null", b'"text"', b"{", b"NaN"):
        if sender is SENDERS["github"]:
            sender.provider().verify(sender.headers(body=body), body)
            continue
        assert rejection(sender.provider(), sender.headers(body=body), body) == "malformed"


def test_signature_alone_can_be_verified(sender: Sender) -> None:
    """`verify_signature` verifies a body that contains no event."""
    headers = sender.headers(body=b"not an event")
    assert sender.provider().verify_signature(headers, b"not an event", now=NOW * 1000) == "secret 1"


def test_own_signature_is_the_senders(sender: Sender) -> None:
    """`sign` makes the same headers as the vendor's library, and the provider verifies them."""
    signed = sender.provider().sign(
        BODY, secret=sender.signing_secret, event_id=sender.event_id, event_type="order.paid", now=NOW * 1000 + 999
    )
    assert {name: signed[name] for name in sender.needed} == {name: sender.headers()[name] for name in sender.needed}
    event = sender.provider().verify(signed, BODY, now=NOW * 1000)
    assert (event.id, event.type) == (sender.event_id, "order.paid")
    assert signed["Content-Type"].startswith("application/json")


def test_profile_is_plausible(sender: Sender) -> None:
    """A profile has a timeout, a window for repeated deliveries, a success status and the page that documents it."""
    profile = sender.provider().profile
    assert timedelta(0) < profile.timeout <= timedelta(seconds=30)
    assert all(wait >= timedelta(0) for wait in profile.retries)
    assert profile.window >= sum(profile.retries, timedelta(0))
    assert profile.window > timedelta(0)
    assert 200 <= profile.stop_status < 300
    # The user says how a generic sender behaves; for all others there is a page that does.
    assert profile.source.startswith("https://") or sender is SENDERS["hmac"]


def test_signed_time_is_known(sender: Sender) -> None:
    """`signs_time` tells whether the provider signs a time."""
    assert sender.provider().signs_time is sender.timed


def test_signed_headers_cannot_be_changed(sender: Sender) -> None:
    """A change of any header that the profile lists as signed rejects the delivery."""
    signed = sender.provider().profile.signed
    assert "body" in signed
    names = [name for name in sender.headers() if name in signed]
    assert len(names) == len(signed) - 1
    for name in names:
        headers = sender.headers()
        headers[name] = headers[name].replace("1", "2")
        assert rejection(sender.provider(), headers) in ("no-match", "too-old", "too-new")


def test_fingerprint_recognises_a_fresh_id(sender: Sender) -> None:
    """A content has the same fingerprint under any id, and another content has another one."""
    provider = sender.provider()
    event = provider.verify(sender.headers(), BODY, now=NOW * 1000)
    assert provider.fingerprint(replace(event, id="fresh")) == provider.fingerprint(event)
    if not provider.profile.id_is_signed:
        again = provider.verify({**sender.headers(), provider.profile.id_from: "fresh"}, BODY, now=NOW * 1000)
        assert (again.id, provider.fingerprint(again)) == ("fresh", provider.fingerprint(event))
    other = BODY + b" "
    another = provider.verify(sender.headers(body=other), other, now=NOW * 1000)
    assert provider.fingerprint(another) != provider.fingerprint(event)
