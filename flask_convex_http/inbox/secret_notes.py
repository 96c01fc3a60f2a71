"""Notes on the signing secrets of webhooks, as the check of a deployment reports them. No note contains a secret."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from flask_convex_http.errors import MissingSecretError
from flask_convex_http.inbox.registry import Webhook, Webhooks
from flask_convex_http.webhooks.secrets import LabelledSecret

#: Bytes of the shortest key that nobody can guess from a signature.
_SHORTEST_KEY = 16


def describe_secrets(webhooks: Webhooks) -> list[str]:
    """Return one sentence for each secret that is unset, malformed, short, or given to several webhooks.

    Args:
        webhooks: The application's webhooks. Their variables are those of this process.
    """
    notes: list[str] = []
    users: defaultdict[str, list[tuple[Webhook, LabelledSecret]]] = defaultdict(list)
    for webhook in webhooks:
        if webhook.provider.tenants is not None:  # they are the application's data
            continue
        try:
            secrets = webhook.provider.available_secrets()
        except MissingSecretError as error:
            notes.append(f"{error} here: where that is so, {webhook.source} responds with 503 to each delivery")
            continue
        notes += [note for secret in secrets for note in _describe(webhook, secret)]
        for secret in secrets:
            users[secret.value].append((webhook, secret))
    return notes + [_describe_shared(sharing) for sharing in users.values() if len(sharing) > 1]


def _describe(webhook: Webhook, secret: LabelledSecret) -> Iterator[str]:
    mistake = webhook.provider.mistake(secret.value)
    if mistake:
        yield f"{secret.label} of {webhook.source} {mistake}: if it is wrong, no delivery verifies"
        return
    try:
        size = len(webhook.provider.key(secret.value))
    except (ValueError, MissingSecretError):
        yield f"{secret.label} of {webhook.source} is not a valid signing secret: no delivery verifies"
        return
    if size < _SHORTEST_KEY:
        yield (
            f"{secret.label} of {webhook.source} has fewer than {_SHORTEST_KEY} bytes: whoever has seen a delivery can "
            "guess it and sign others; let the sender make a longer one"
        )


def _describe_shared(sharing: list[tuple[Webhook, LabelledSecret]]) -> str:
    names = " and ".join(f"{webhook.source} ({secret.label})" for webhook, secret in sharing)
    return (
        f"{names} have one signing secret: what one of them has received can be sent to the other and runs there; give "
        "each its own, or let the handlers check the type"
    )
