"""The order of the checks of a delivery, for every provider.

The order is: required headers, timestamp, signature. Only then is the body parsed. What the methods of a provider raise
besides the typed errors, such as a `UnicodeDecodeError`, is translated here, in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_convex_http.errors import MissingSecretError, VerificationError, VerificationUnavailableError
from flask_convex_http.webhooks import batches
from flask_convex_http.webhooks.events import Delivery, WebhookEvent, check_texts
from flask_convex_http.webhooks.headers import METHOD, URL
from flask_convex_http.webhooks.keys import Keys

if TYPE_CHECKING:
    from flask_convex_http.webhooks.base import Provider

NO_MATCH = "Webhook signature does not match"


def judge(provider: Provider, keys: Keys, delivery: Delivery) -> WebhookEvent | VerificationError:
    """Verify a delivery and read its event.

    Args:
        provider: The sender.
        keys: The keys of its secrets.
        delivery: The delivery.

    Returns:
        The verified event, or the error for which the delivery is rejected. An exception would cost more.

    Raises:
        MissingSecretError: No secret matches and one is malformed.
        VerificationUnavailableError: The sender's public keys cannot be fetched.
    """
    label = authenticate(provider, keys, delivery)
    if isinstance(label, VerificationError):
        return label
    try:
        return event_of(provider, delivery, label)
    except VerificationError as error:
        return error.with_traceback(None)


def authenticate(provider: Provider, keys: Keys, delivery: Delivery) -> str | VerificationError:
    """Return the label of the secret that signed a delivery, or the error for which it is rejected; see `judge`."""
    try:
        label = _label(provider, keys, delivery)
    except (MissingSecretError, VerificationUnavailableError):
        raise
    except VerificationError as error:
        error.status = provider.profile.rejected_status  # type: ignore[misc]  # see VerificationError
        return error.with_traceback(None)
    except Exception as error:
        rejection = VerificationError("malformed", "Webhook is malformed", provider.profile.rejected_status)
        rejection.__cause__ = error
        return rejection
    if label is not None:
        return label
    # Only now: a malformed secret must not reject a delivery that another secret verifies.
    if keys.problem is not None:
        raise keys.problem.error()
    return VerificationError("no-match", NO_MATCH, provider.profile.rejected_status)


def _label(provider: Provider, keys: Keys, delivery: Delivery) -> str | None:
    for names in provider.required_headers:
        delivery.header(*names)
    timestamp = provider.timestamp(delivery)
    if timestamp is not None:
        provider.tolerance.check(timestamp, delivery.now)
    for label, key in keys.usable:
        if provider.matches(delivery, key):
            return label
    return None


def event_of(provider: Provider, delivery: Delivery, label: str) -> WebhookEvent:
    """Read the event of a delivery that is verified.

    Args:
        provider: The sender.
        delivery: The delivery.
        label: The label of the secret that matched.

    Raises:
        VerificationError: The body contains no event.
    """
    try:
        content = batches.read(provider, delivery) if provider.batches else provider.read(delivery)
    except (VerificationError, MissingSecretError):
        raise
    except Exception as error:
        raise VerificationError("malformed", "Webhook is malformed") from error
    check_texts(content)
    return WebhookEvent(
        id=content.id,
        type=content.type,
        data=content.data,
        payload=content.payload,
        body=delivery.body,
        headers=_kept(provider, delivery),
        provider=provider.name,
        received_at=delivery.now,
        secret_label=label,
    )


def _kept(provider: Provider, delivery: Delivery) -> dict[str, str]:
    """Return the headers that are stored, with the method and the URL for a sender that signs them."""
    kept = provider.kept_headers
    headers = {name: value for name, value in delivery.headers.items() if name in kept}
    if URL in kept:
        headers |= {METHOD: delivery.method, URL: delivery.url}
    return headers
