"""Which webhook of an application a test delivery is for, by the names that people have for it.

What is sent, and how, is `samples/signed_deliveries.py`; who sends it is the command line, or `testing`.
"""

from __future__ import annotations

from flask_convex_http.inbox.registry import Webhook, Webhooks
from flask_convex_http.webhooks.samples.events import SENDERS


def find_target(webhooks: Webhooks, name: str, source: str | None = None) -> Webhook:
    """The webhook that is meant.

    Args:
        webhooks: Those of the application.
        name: Its source or path, its provider's name, or a sender such as clerk. Of several with one provider it is the
            one whose source ends in that name, as `/webhooks/clerk` does.
        source: Its source or path, where the name alone is not enough.

    Raises:
        ValueError: There is none, or more than one.
    """
    if source is not None:
        return _of_source(webhooks, name, source)
    found = webhooks.find(name) or webhooks.find(SENDERS.get(name, name))
    if len(found) > 1:
        found = [webhook for webhook in found if webhook.source.rpartition("/")[2] == name] or found
    if not found:
        raise ValueError(f"This app has no webhook {name!r}. {_listed(webhooks)}")
    if len(found) > 1:
        sources = ", ".join(webhook.source for webhook in found)
        raise ValueError(f"This app has several webhooks {name!r}: choose a source, one of {sources}")
    return found[0]


def sender_of(webhook: Webhook, name: str) -> str:
    """Whose events a webhook takes: clerk, where that is what it was called, and else its provider."""
    provider = webhook.provider.name
    return name if SENDERS.get(name) == provider else provider


def _of_source(webhooks: Webhooks, name: str, source: str) -> Webhook:
    webhook = next((webhook for webhook in webhooks if source in (webhook.source, webhook.path)), None)
    if webhook is None:
        raise ValueError(f"This app has no webhook with the source {source!r}. {_listed(webhooks)}")
    provider = webhook.provider.name
    if name not in (webhook.source, webhook.path) and SENDERS.get(name, name) != provider:
        raise ValueError(f"The webhook {source!r} takes deliveries of {provider}, not of {name}")
    return webhook


def _listed(webhooks: Webhooks) -> str:
    if not len(webhooks):
        return "It has none: see @http.webhook(...)"
    return "It has " + ", ".join(f"{webhook.source} ({webhook.provider.name})" for webhook in webhooks)
