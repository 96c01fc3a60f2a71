"""ElevenLabs' webhooks: `ElevenLabs-Signature` with a time and an HMAC of the time and the body, `t=...,v0=...`.

An event has no id. Its id is the digest of its body, which has the time of the event.
Rules: https://elevenlabs.io/docs/eleven-api/resources/webhooks

Stricter than the `elevenlabs` package: a timestamp may not be far in the future, and has only digits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import SignatureOptions, TimedHmacSender
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "ElevenLabs-Signature"


class ElevenLabs(TimedHmacSender):
    """Webhooks of ElevenLabs. The data of an event is its `data`, such as the conversation.

    Args:
        secret: The webhook's shared secret, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future. By default 30 minutes,
            as in the vendor's package.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "elevenlabs"
    issues_secrets = True
    object_field = "data"
    profile = Profile(
        signed=("body", _HEADER),  # the t= in it
        id_from="body",
        id_is_signed=True,
        # ElevenLabs does not publish its timeout.
        timeout=timedelta(seconds=10),
        # An option of the webhook, for post_call_transcription only.
        retries=tuple(timedelta(seconds=seconds) for seconds in (0, 30, 120, 480, 1800)),
        source="https://elevenlabs.io/docs/eleven-api/resources/webhooks",
    )
    signature: ClassVar[SignatureOptions] = {
        "header": _HEADER,
        "signed": "{timestamp}.{body}",
        "timestamp_name": "t",
        "signature_name": "v0",
        "type_field": "type",
    }

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = timedelta(minutes=30),
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)
