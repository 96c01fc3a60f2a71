"""HubSpot's webhooks: signatures of version 3, an HMAC of the method, the URL, the body and the time.

A body is an array of up to a hundred events, each of which is a delivery of its own. HubSpot does not guarantee that
an `eventId` is unique, and a retry has another `attemptNumber`. So the id is the `eventId` with a digest of the rest.
Rules: https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation

Differences from the `hubspot-api-client` package:

* The encoded characters that HubSpot's page lists are decoded in the URL. The package takes the URL as it is given.
* A timestamp may not be far in the future, and has only digits.
* Signatures of versions 1 and 2 are not accepted: they have no time, and version 1 is no HMAC.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import msgspec

from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.hmac_signature import HmacSignature
from flask_convex_http.webhooks.parsing import parse_json
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_TIMESTAMP = "X-HubSpot-Request-Timestamp"
#: The characters that HubSpot signs decoded: `:/?@!$'()*,;`
_DECODED = re.compile("%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


class HubSpot(HmacSignature):
    """Webhooks of HubSpot. The type of an event is its `subscriptionType`, and the data is the event itself.

    Args:
        secret: The client secret of the app, `from_env(...)`, or a list of these.
        url: The target URL as it is written at HubSpot, without a query string, if the app sees another one behind a
            proxy. By default the URL of the request.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "hubspot"
    issues_secrets = True
    profile = Profile(
        signed=("body", "url", "method", _TIMESTAMP),
        id_from="body.eventId",
        id_is_signed=True,
        timeout=timedelta(seconds=5),
        # HubSpot publishes ten retries within 24 hours, but not the waits.
        retries=tuple(timedelta(minutes=minutes) for minutes in (1, 3, 10, 30, 60, 120, 200, 250, 300, 400)),
        source="https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        url: str | None = None,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(
            secret=secret,
            header="X-HubSpot-Signature-v3",
            encoding="base64",
            signed="{method}{url}{body}{timestamp}",
            timestamp_header=_TIMESTAMP,
            time_format="milliseconds",
            url=url,
            batch=True,
            tolerance=tolerance,
            future_tolerance=future_tolerance,
        )

    def payload(self, delivery: Delivery) -> Any:
        """Return the parsed body, which is always JSON."""
        return parse_json(delivery.body)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event. What a workflow sends is no event of a subscription, so it has no type."""
        fields = element if isinstance(element, dict) else {}
        given = fields.get("subscriptionType", fields.get("eventType"))
        return Content(
            id=_id(element, fields), type=given if isinstance(given, str) else "", data=element, payload=element
        )

    def _signed_url(self, delivery: Delivery) -> str:
        return _DECODED.sub(lambda found: unquote(found[0]), super()._signed_url(delivery))


def _id(element: Any, fields: dict[str, Any]) -> str:
    same = {name: value for name, value in fields.items() if name != "attemptNumber"} or element
    rest = hashlib.sha256(msgspec.json.encode(same, order="sorted")).hexdigest()
    number = fields.get("eventId")
    return f"{number}-{rest[:32]}" if isinstance(number, int) and not isinstance(number, bool) else rest
