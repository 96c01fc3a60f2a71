"""WorkOS's webhooks: `WorkOS-Signature` with a time in milliseconds and an HMAC, `t=..., v1=...`.

Rules: https://workos.com/docs/events/data-syncing/webhooks, and `workos/webhooks/_verification.py` of the package

Stricter than the package: the items of the header have the names `t` and `v1`, and a time has only digits. The package
cuts off two and three characters, whatever they are. More lenient: the time may be five minutes from now, not three.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import SignatureOptions, TimedHmacSender

_HEADER = "WorkOS-Signature"


class WorkOS(TimedHmacSender):
    """Webhooks of WorkOS. The data of an event is its `data`, such as the user.

    Args:
        secret: The secret of the webhook endpoint, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "workos"
    issues_secrets = True
    object_field = "data"
    profile = Profile(
        signed=("body", _HEADER),  # the t= in it
        id_from="body.id",
        id_is_signed=True,
        # WorkOS does not publish its timeout.
        timeout=timedelta(seconds=10),
        # WorkOS publishes six retries in three days with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 5, 10, 18, 36)),
        source="https://workos.com/docs/events/data-syncing/webhooks",
    )
    signature: ClassVar[SignatureOptions] = {
        "header": _HEADER,
        "signed": "{timestamp}.{body}",
        "time_format": "milliseconds",
        "timestamp_name": "t",
        "signature_name": "v1",
        "separator": ", ",
        "id_field": "id",
        "type_field": "event",
    }
