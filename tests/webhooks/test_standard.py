"""What is Standard Webhooks' and Svix's own: their vector, their secrets, their header names."""

import base64
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks

from flask_convex_http.errors import ConfigurationError, MissingSecretError, VerificationError
from flask_convex_http.webhooks import StandardWebhooks, Svix, WebhookEvent
from tests.webhooks.senders import OTHER_PUBLIC_KEY, PRIVATE_KEYS, PUBLIC_KEY, key_pair, sign_ed25519, sign_standard

# The example of the specification and of Svix's manual.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
NOW = 1_614_265_330
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(prefix: str, *, message: str = ID, signature: str = SIGNATURE) -> dict[str, str]:
    return {
        f"{prefix}-id": message,
        f"{prefix}-timestamp": str(NOW),
        f"{prefix}-signature": signature,
    }


def deliver_payload(payload: Any, message: str = ID) -> WebhookEvent:
    body = json.dumps(payload)
    signature = standardwebhooks.Webhook(SECRET).sign(message, datetime.fromtimestamp(NOW, tz=UTC), body)
    received = headers("webhook", message=message, signature=signature)
    return StandardWebhooks(secret=SECRET).verify(received, body.encode(), now=NOW * 1000)


@pytest.mark.parametrize("prefix", ["svix", "webhook"])
def test_documented_vector_verifies(prefix: str) -> None:
    """The documented example verifies, under either family of headers for Svix."""
    event = Svix(secret=SECRET).verify(headers(prefix), BODY, now=NOW * 1000)
    assert (event.id, event.type, event.provider) == (ID, "", "svix")


def test_standard_webhooks_reads_only_its_own_headers() -> None:
    """Svix's headers are nothing to a Standard Webhooks endpoint."""
    provider = StandardWebhooks(secret=SECRET)
    assert provider.verify(headers("webhook"), BODY, now=NOW * 1000).id == ID
    with pytest.raises(VerificationError, match="Missing webhook-id header"):
        provider.verify(headers("svix"), BODY, now=NOW * 1000)


def test_svix_headers_come_before_the_others() -> None:
    """When both families are there, Svix's own are judged, even when they are wrong."""
    mixed = headers("webhook") | headers("svix", signature="v1,AAAA")
    with pytest.raises(VerificationError, match="does not match"):
        Svix(secret=SECRET).verify(mixed, BODY, now=NOW * 1000)


def test_data_is_the_payload_when_there_is_none() -> None:
    """Some senders put the event's data at the top of the payload."""
    assert deliver_payload({"type": "a", "data": None}).data is None
    assert deliver_payload({"type": "a", "name": "b"}).data == {"type": "a", "name": "b"}


@pytest.mark.parametrize("kind", [1, None, "", ["a"]])
def test_type_is_text_when_there_is_one(kind: Any) -> None:
    """A type may be left out, and is malformed when it is not text."""
    with pytest.raises(VerificationError, match=r"no text field 'type'"):
        deliver_payload({"type": kind})


@pytest.mark.parametrize("message", ["msg.1", "msg 1", "msg\u00e9", "msg\n1"])
def test_id_is_one_unambiguous_word(message: str) -> None:
    """An id with a full stop could trade characters with the timestamp, and others are no ids."""
    with pytest.raises(VerificationError, match="webhook-id header") as caught:
        deliver_payload({"type": "a"}, message)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_",
        "whsec_====",
        "whsec_not base64!",
        "whsec_MfKQ9r8G!!!!",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "plain",
        "whsec_é",
    ],
)
def test_secret_in_another_form_is_named_but_not_shown(secret: str) -> None:
    """A secret that is not whsec_ and base64 is a 503 that names its label only."""
    with pytest.raises(MissingSecretError, match=r"^secret 1 is not a valid signing secret$"):
        Svix(secret=secret).verify(headers("svix"), BODY, now=NOW * 1000)


def test_secret_may_lack_padding() -> None:
    """A secret whose base64 padding was cut off is the same secret."""
    padded = "whsec_" + base64.b64encode(b"twenty-five bytes of key.").decode()
    signature = standardwebhooks.Webhook(padded).sign(ID, datetime.fromtimestamp(NOW, tz=UTC), BODY.decode())
    for secret in (padded, padded.rstrip("=")):
        received = headers("svix", signature=signature)
        assert Svix(secret=secret).verify(received, BODY, now=NOW * 1000).id == ID


@pytest.mark.parametrize("provider", [Svix, StandardWebhooks])
def test_package_missing_is_said_when_built(
    monkeypatch: pytest.MonkeyPatch, provider: type[Svix | StandardWebhooks]
) -> None:
    """Without the standardwebhooks package the error says which extra to install."""
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    with pytest.raises(ConfigurationError) as caught:
        provider(secret=SECRET)
    assert str(caught.value).startswith(f"{provider.__name__}() needs the standardwebhooks package: pip install")


# --- public keys -------------------------------------------------------------------------------------------------

PRIVATE_KEY = PRIVATE_KEYS[PUBLIC_KEY]
EVENT = b'{"type": "a"}'
#: The secret of an HMAC whose bytes are those of the public key, which everybody may know.
SECRET_OF_THE_PUBLIC_KEY = PUBLIC_KEY.replace("whpk_", "whsec_")


def matched(secret: str | list[str], received: dict[str, str]) -> str | None:
    """The label of the secret that matched, if one did."""
    try:
        return StandardWebhooks(secret=secret).verify(received, EVENT, now=NOW * 1000).secret_label
    except VerificationError as error:
        assert error.reason == "no-match"
        return None


def test_public_key_verifies_what_the_private_one_signed() -> None:
    """A whpk_ key verifies the v1a signature of its own whsk_ key, and no other's."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    assert matched(PUBLIC_KEY, received) == "secret 1"
    assert matched(OTHER_PUBLIC_KEY, received) is None


def test_private_key_stands_for_its_public_one() -> None:
    """A test that has only the whsk_ key can sign and verify with it."""
    provider = StandardWebhooks(secret=PRIVATE_KEY)
    received = provider.sign(EVENT, secret=PRIVATE_KEY, event_id="msg_1", event_type="a", now=NOW * 1000)
    assert matched(PRIVATE_KEY, received) == matched(PUBLIC_KEY, received) == "secret 1"


def test_public_key_cannot_sign() -> None:
    """Who only has the public key is told which one signs."""
    with pytest.raises(MissingSecretError, match="whsk_ key that belongs to it"):
        StandardWebhooks(secret=PUBLIC_KEY).sign(b"", secret=PUBLIC_KEY, event_id="a", event_type="", now=0)


def test_public_key_is_never_the_key_of_an_hmac() -> None:
    """Knowing the public key, which is no secret, does not help to forge: an HMAC made with its bytes is nothing."""
    forged = sign_standard(SECRET_OF_THE_PUBLIC_KEY, EVENT, NOW)
    assert matched(PUBLIC_KEY, forged) is None
    digest = forged["webhook-signature"].removeprefix("v1,")
    assert matched(PUBLIC_KEY, {**forged, "webhook-signature": f"v1a,{digest}"}) is None


def test_signature_of_one_scheme_is_nothing_in_the_other() -> None:
    """A v1a signature named v1 is not looked at by a public key, and a symmetric secret looks at no v1a."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    renamed = {**received, "webhook-signature": received["webhook-signature"].replace("v1a,", "v1,")}
    assert matched(PUBLIC_KEY, renamed) is None
    assert matched(SECRET_OF_THE_PUBLIC_KEY, received) is None
    symmetric = sign_standard(SECRET, EVENT, NOW)
    as_asymmetric = {**symmetric, "webhook-signature": symmetric["webhook-signature"].replace("v1,", "v1a,")}
    assert matched(SECRET, as_asymmetric) is None


def test_both_schemes_beside_each_other() -> None:
    """While a sender moves from one scheme to the other, its list has both, and either receiver finds its own."""
    symmetric, asymmetric = sign_standard(SECRET, EVENT, NOW), sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    both = f"{symmetric['webhook-signature']} {asymmetric['webhook-signature']}"
    for received in (symmetric, {**symmetric, "webhook-signature": both}):
        assert matched([SECRET, PUBLIC_KEY], received) == "secret 1"
        assert matched([OTHER_PUBLIC_KEY, SECRET], received) == "secret 2"
    assert matched([SECRET, PUBLIC_KEY], asymmetric) == "secret 2"
    assert matched(PUBLIC_KEY, {**symmetric, "webhook-signature": both}) == "secret 1"


@pytest.mark.parametrize("entry", ["v1a", "v1a,", "v1a,AAAA", "v1a,not base64!", "v1a,é", "v1a,v1a,", "", "v2,AAAA"])
def test_malformed_asymmetric_entry_spoils_nothing(entry: str) -> None:
    """Beside the good signature a malformed one is ignored, and alone it does not match."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    good = received["webhook-signature"]
    for both in (f"{entry} {good}", f"{good} {entry}"):
        assert matched(PUBLIC_KEY, {**received, "webhook-signature": both}) == "secret 1"
    assert matched(PUBLIC_KEY, {**received, "webhook-signature": entry or "v1a,"}) is None


def test_asymmetric_signature_has_one_spelling() -> None:
    """Base64 whose last bits differ, or without its padding, is not what the sender wrote."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    good = received["webhook-signature"]
    assert good.endswith("==")
    other_bits = good[:-3] + chr(ord(good[-3]) + 1) + "=="
    assert base64.b64decode(other_bits[4:]) == base64.b64decode(good[4:])
    for spelling in (other_bits, good.rstrip("="), good[:9] + "!" + good[9:], good + "\n"):
        assert matched(PUBLIC_KEY, {**received, "webhook-signature": spelling}) is None


def test_long_list_is_not_verified_to_its_end() -> None:
    """Of a list's asymmetric signatures the first ten count, so that a long list costs the receiver nothing."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    good, bad = received["webhook-signature"], "v1a," + base64.b64encode(bytes(64)).decode()
    assert matched(PUBLIC_KEY, {**received, "webhook-signature": f"{bad} " * 9 + good}) == "secret 1"
    assert matched(PUBLIC_KEY, {**received, "webhook-signature": f"{bad} " * 10 + good}) is None


@pytest.mark.parametrize(
    "secret",
    [
        "whpk_",
        "whpk_AAAA",
        "whpk_not base64!",
        PUBLIC_KEY + "AAAA",
        PUBLIC_KEY.removeprefix("whpk_"),
        "whsk_AAAA",
        # the private key of one pair before the public key of another
        "whsk_" + base64.b64encode(base64.b64decode(PRIVATE_KEY[5:])[:32] + bytes(32)).decode(),
    ],
)
def test_damaged_key_is_named_but_not_shown(secret: str) -> None:
    """A key of another size, or whose halves do not belong together, is a 503 that names its label only."""
    with pytest.raises(MissingSecretError, match=r"^secret 1 is not a valid signing secret$"):
        StandardWebhooks(secret=secret).verify(sign_ed25519(PUBLIC_KEY, EVENT, NOW), EVENT, now=NOW * 1000)


def test_cryptography_missing_is_said_when_a_key_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the cryptography package a public key is a 503 naming the extra, unless another secret verifies."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for secret in (PUBLIC_KEY, PRIVATE_KEY):
        with pytest.raises(MissingSecretError, match=r'needs the cryptography package: pip install ".*\[ed25519\]"$'):
            StandardWebhooks(secret=secret).verify(received, EVENT, now=NOW * 1000)
    assert matched([PUBLIC_KEY, SECRET], sign_standard(SECRET, EVENT, NOW)) == "secret 2"


def test_keys_are_read_as_they_are_written() -> None:
    """The two keys of a pair are those of the specification: 32 bytes, and 64 with the public ones last."""
    public, private = key_pair("any")
    assert len(base64.b64decode(public[5:])) == 32
    assert base64.b64decode(private[5:])[32:] == base64.b64decode(public[5:])
