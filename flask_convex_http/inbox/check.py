"""What the check of a deployment reports about its webhooks."""

from __future__ import annotations

from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.secret_notes import describe_secrets
from flask_convex_http.inbox.silence import describe_silence
from flask_convex_http.inbox.unknown_sources import describe_unknown_sources


def check_webhooks(inbox: Inbox, now: float, *, has_site_url: bool) -> tuple[list[str], list[str]]:
    """Return the problems and the notes about webhooks, one sentence for each.

    Args:
        inbox: The inbox.
        now: The current time in milliseconds since the epoch.
        has_site_url: Whether the setting CONVEX_SITE_URL is set.
    """
    problems, silent = describe_silence(inbox, now)
    notes = [*silent, *describe_unknown_sources(inbox), *describe_secrets(inbox.webhooks)]
    if inbox.webhooks and not has_site_url:  # senders of webhooks reach the app, so it is public
        notes.append(
            "CONVEX_SITE_URL is not set, and this app receives webhooks: links begin with the Host of a request, "
            "which the client chooses, and jobs and crons have no request; set it to the app's https:// URL"
        )
    return problems, notes
