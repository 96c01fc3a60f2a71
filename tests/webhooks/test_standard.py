"""Standard Webhooks and Svix: the documented vector, the kinds of secrets, and the names of headers."""

import base64
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks

from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.webhooks import StandardWebhooks, Svix, WebhookEvent
from tests.webhooks.senders import OTHER_PUBLIC_KEY, PRIVATE_KEYS, PUBLIC_KEY, key_pair, sign_ed25519, sign_standard

# The example of the specification and of Svix's manual.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
NOW = 1_614_265_330
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(prefix: str, *, message: str = ID, signature: str = SIGNATURE) -> dict[str, str]:
    """Return the headers of the documented example."""
    return {
        f"{prefix}-id": message,
        f"{prefix}-timestamp": str(NOW),
        f"{prefix}-signature": signature,
    }


def deliver_payload(payload: Any, message: str = ID) -> WebhookEvent:
    """Sign and verify a delivery with this payload."""
    body = json.dumps(payload)
    signature = standardwebhooks.Webhook(SECRET).sign(message, datetime.fromtimestamp(NOW, tz=UTC), body)
    received = headers("webhook", message=message, signature=signature)
    return StandardWebhooks(secret=SECRET).verify(received, body.encode(), now=NOW * 1000)


@pytest.mark.parametrize("prefix", ["svix", "webhook"])
def test_documented_vector_verifies(prefix: str) -> None:
    """The documented example verifies with Svix under either family of headers."""
    event = Svix(secret=SECRET).verify(headers(prefix), BODY, now=NOW * 1000)
    assert (event.id, event.type, event.provider) == (ID, "", "svix")


def test_standard_webhooks_reads_only_its_own_headers() -> None:
    """A Standard Webhooks endpoint does not read Svix's headers."""
    provider = StandardWebhooks(secret=SECRET)
    assert provider.verify(headers("webhook"), BODY, now=NOW * 1000).id == ID
    with pytest.raises(VerificationError, match="Missing webhook-id header"):
        provider.verify(headers("svix"), BODY, now=NOW * 1000)


def test_svix_headers_come_before_the_others() -> None:
    """If both families are present, Svix's own headers are verified, even if they are wrong."""
    mixed = headers("webhook") | headers("svix", signature="v1,AAAA")
    with pytest.raises(VerificationError, match="does not match"):
        Svix(secret=SECRET).verify(mixed, BODY, now=NOW * 1000)


def test_data_defaults_to_the_payload() -> None:
    """The data is the payload if the payload has no field `data`."""
    assert deliver_payload({"type": "a", "data": None}).data is None
    assert deliver_payload({"type": "a", "name": "b"}).data == {"type": "a", "name": "b"}


@pytest.mark.parametrize("kind", [1, None, "", ["a"]])
def test_type_is_a_text(kind: Any) -> None:
    """A type may be missing, and is malformed if it is not a text."""
    with pytest.raises(VerificationError, match=r"no text field 'type'"):
        deliver_payload({"type": kind})


@pytest.mark.parametrize("message", ["msg.1", "msg 1", "msg\u00e9", "msg\n1"])
def test_id_is_unambiguous(message: str) -> None:
    """An id is a printable word without a full stop, which could trade characters with the timestamp."""
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
        "not base64!",
        "whsec_MfKQ9r8GKYqr-wjUPD8ILPZIo2LaLa_w",
        "whsec_é",
    ],
)
def test_malformed_secret_is_named_but_not_shown(secret: str) -> None:
    """A secret that is not base64 raises MissingSecretError with its label and the mistake."""
    with pytest.raises(MissingSecretError, match=r"^secret 1 is not a valid signing secret: it (is|has) ") as caught:
        Svix(secret=secret).verify(headers("svix"), BODY, now=NOW * 1000)
    assert "MfKQ" not in str(caught.value)


@pytest.mark.parametrize("form", ["{}", "whsec_{}", "v1,whsec_{}", "whsec_{}\n"])
def test_secret_as_tools_print_it(form: str) -> None:
    """A secret without whsec_, which the vendor's library takes, or with the version before it is the same secret."""
    assert (
        Svix(secret=form.format(SECRET.removeprefix("whsec_"))).verify(headers("svix"), BODY, now=NOW * 1000).id == ID
    )


def test_secret_may_lack_padding() -> None:
    """A secret without its base64 padding is the same secret."""
    padded = "whsec_" + base64.b64encode(b"twenty-five bytes of key.").decode()
    signature = standardwebhooks.Webhook(padded).sign(ID, datetime.fromtimestamp(NOW, tz=UTC), BODY.decode())
    for secret in (padded, padded.rstrip("=")):
        received = headers("svix", signature=signature)
        assert Svix(secret=secret).verify(received, BODY, now=NOW * 1000).id == ID


# --- public keys -------------------------------------------------------------------------------------------------

PRIVATE_KEY = PRIVATE_KEYS[PUBLIC_KEY]
EVENT = b'{"type": "a"}'
#: A symmetric secret with the bytes of the public key, which is not secret.
SECRET_OF_THE_PUBLIC_KEY = PUBLIC_KEY.replace("whpk_", "whsec_")


def matched(secret: str | list[str], received: dict[str, str]) -> str | None:
    """Return the label of the secret that matched, or None."""
    try:
        return StandardWebhooks(secret=secret).verify(received, EVENT, now=NOW * 1000).secret_label
    except VerificationError as error:
        assert error.reason == "no-match"
        return None


def test_public_key_verifies_what_the_private_one_signed() -> None:
    """A whpk_ key verifies the v1a signature of its whsk_ key and of no other."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    assert matched(PUBLIC_KEY, received) == "secret 1"
    assert matched(OTHER_PUBLIC_KEY, received) is None


def test_private_key_stands_for_its_public_one() -> None:
    """A whsk_ key can sign and verify."""
    provider = StandardWebhooks(secret=PRIVATE_KEY)
    received = provider.sign(EVENT, secret=PRIVATE_KEY, event_id="msg_1", event_type="a", now=NOW * 1000)
    assert matched(PRIVATE_KEY, received) == matched(PUBLIC_KEY, received) == "secret 1"


def test_public_key_cannot_sign() -> None:
    """A whpk_ key cannot sign, and the error names the key that can."""
    with pytest.raises(MissingSecretError, match="whsk_ key that belongs to it"):
        StandardWebhooks(secret=PUBLIC_KEY).sign(b"", secret=PUBLIC_KEY, event_id="a", event_type="", now=0)


def test_public_key_is_never_the_key_of_an_hmac() -> None:
    """An HMAC made with the bytes of the public key, which is no secret, does not verify."""
    forged = sign_standard(SECRET_OF_THE_PUBLIC_KEY, EVENT, NOW)
    assert matched(PUBLIC_KEY, forged) is None
    digest = forged["webhook-signature"].removeprefix("v1,")
    assert matched(PUBLIC_KEY, {**forged, "webhook-signature": f"v1a,{digest}"}) is None


def test_signature_of_the_other_scheme_is_ignored() -> None:
    """A public key ignores v1 signatures, and a symmetric secret ignores v1a signatures."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    renamed = {**received, "webhook-signature": received["webhook-signature"].replace("v1a,", "v1,")}
    assert matched(PUBLIC_KEY, renamed) is None
    assert matched(SECRET_OF_THE_PUBLIC_KEY, received) is None
    symmetric = sign_standard(SECRET, EVENT, NOW)
    as_asymmetric = {**symmetric, "webhook-signature": symmetric["webhook-signature"].replace("v1,", "v1a,")}
    assert matched(SECRET, as_asymmetric) is None


def test_both_schemes_beside_each_other() -> None:
    """A list with signatures of both schemes verifies with either kind of secret."""
    symmetric, asymmetric = sign_standard(SECRET, EVENT, NOW), sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    both = f"{symmetric['webhook-signature']} {asymmetric['webhook-signature']}"
    for received in (symmetric, {**symmetric, "webhook-signature": both}):
        assert matched([SECRET, PUBLIC_KEY], received) == "secret 1"
        assert matched([OTHER_PUBLIC_KEY, SECRET], received) == "secret 2"
    assert matched([SECRET, PUBLIC_KEY], asymmetric) == "secret 2"
    assert matched(PUBLIC_KEY, {**symmetric, "webhook-signature": both}) == "secret 1"


@pytest.mark.parametrize("entry", ["v1a", "v1a,", "v1a,AAAA", "v1a,not base64!", "v1a,é", "v1a,v1a,", "", "v2,AAAA"])
def test_malformed_asymmetric_entry_is_ignored(entry: str) -> None:
    """A malformed entry beside a valid signature is ignored, and does not match alone."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    good = received["webhook-signature"]
    for both in (f"{entry} {good}", f"{good} {entry}"):
        assert matched(PUBLIC_KEY, {**received, "webhook-signature": both}) == "secret 1"
    assert matched(PUBLIC_KEY, {**received, "webhook-signature": entry or "v1a,"}) is None


def test_asymmetric_signature_has_one_spelling() -> None:
    """Base64 with other unused bits, or without its padding, does not match."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    good = received["webhook-signature"]
    assert good.endswith("==")
    other_bits = good[:-3] + chr(ord(good[-3]) + 1) + "=="
    assert base64.b64decode(other_bits[4:]) == base64.b64decode(good[4:])
    for spelling in (other_bits, good.rstrip("="), good[:9] + "!" + good[9:], good + "\n"):
        assert matched(PUBLIC_KEY, {**received, "webhook-signature": spelling}) is None


def test_only_ten_asymmetric_entries_are_checked() -> None:
    """Only the first ten v1a entries of a list are checked, so that a long list is cheap."""
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
        "whsk_AAAA",
        # the private key of one pair before the public key of another
        "whsk_" + base64.b64encode(base64.b64decode(PRIVATE_KEY[5:])[:32] + bytes(32)).decode(),
    ],
)
def test_malformed_key_is_named_but_not_shown(secret: str) -> None:
    """A key of another size, or whose halves do not fit, raises MissingSecretError with its label only."""
    with pytest.raises(MissingSecretError, match=r"^secret 1 is not a valid signing secret"):
        StandardWebhooks(secret=secret).verify(sign_ed25519(PUBLIC_KEY, EVENT, NOW), EVENT, now=NOW * 1000)


def test_missing_cryptography_is_reported_at_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the cryptography package a public key raises MissingSecretError unless another secret matches."""
    received = sign_ed25519(PUBLIC_KEY, EVENT, NOW)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for secret in (PUBLIC_KEY, PRIVATE_KEY):
        with pytest.raises(
            MissingSecretError, match=r"needs the cryptography package: pip install 'cryptography>=42'$"
        ):
            StandardWebhooks(secret=secret).verify(received, EVENT, now=NOW * 1000)
    assert matched([PUBLIC_KEY, SECRET], sign_standard(SECRET, EVENT, NOW)) == "secret 2"


def test_keys_have_the_specified_form() -> None:
    """A public key has 32 bytes, a private key 64 that end with the public key."""
    public, private = key_pair("any")
    assert len(base64.b64decode(public[5:])) == 32
    assert base64.b64decode(private[5:])[32:] == base64.b64decode(public[5:])


def test_secret_of_polar_is_its_text() -> None:
    """A `polar_whs_` secret is accepted as Polar shows it: its library passes the base64 of the text."""
    secret, when = "polar_whs_0123456789abcdef", datetime.fromtimestamp(NOW, tz=UTC)
    encoded = base64.b64encode(secret.encode()).decode()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": standardwebhooks.Webhook(encoded).sign("msg_1", when, BODY.decode()),
    }
    assert StandardWebhooks(secret=secret).verify(headers, BODY, now=NOW * 1000).id == "msg_1"
