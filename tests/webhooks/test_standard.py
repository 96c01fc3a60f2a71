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
