"""`flask convex webhooks reconcile`: import deliveries that a sender recorded and the inbox lacks."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import click
from flask.cli import with_appcontext

from flask_convex_http.cli.options import duration
from flask_convex_http.cli.output import json_option, print_json, print_table, printable
from flask_convex_http.cli.webhooks.filters import counted_deliveries
from flask_convex_http.errors import MissingSecretError
from flask_convex_http.inbox.reconcile import Imported, import_delivery, missing_deliveries
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.search import find_webhook
from flask_convex_http.web.state import current_backend
from flask_convex_http.webhooks.github_api import API, GitHubApi, GitHubApiError, RecordedDelivery

_TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")


@click.command("reconcile")
@click.argument("sender", type=click.Choice(["github"]))
@click.option("--repo", "repository", metavar="OWNER/NAME", required=True, help="The repository with the webhook.")
@click.option("--hook", type=int, metavar="ID", help="The webhook at GitHub. By default the one with this app's path.")
@click.option("--source", metavar="SOURCE", help="The webhook of this app, if several receive from GitHub.")
@click.option("--since", type=duration, default="3d", show_default=True, help="How far back to look.")
@click.option("--dry-run", is_flag=True, help="Show which deliveries are missing, and import nothing.")
@json_option
@with_appcontext
def reconcile(
    sender: str, repository: str, hook: int | None, source: str | None, since: timedelta, dry_run: bool, as_json: bool
) -> None:
    """Import deliveries that GitHub recorded and this app lacks.

    GitHub does not retry. It keeps deliveries for three days, and its API has their payloads. Each missing one is
    processed as if it had just arrived: in the order in which they were sent, and each once. The token is read from
    GITHUB_TOKEN, and needs the permission to read webhooks of the repository. GITHUB_API_URL is the API of GitHub
    Enterprise. The exit status is 1 if a handler failed.

    \b
    Examples:
      flask convex webhooks reconcile github --repo acme/shop --dry-run
      flask convex webhooks reconcile github --repo acme/shop --hook 12345678
    """
    webhook = _webhook(sender, source)
    try:
        found = _reconcile(webhook, repository, hook, datetime.now(UTC) - since, dry_run)
    except (GitHubApiError, MissingSecretError) as error:
        raise click.ClickException(printable(str(error))) from error
    _report(found, as_json)


def _reconcile(webhook: Webhook, repository: str, hook: int | None, since: datetime, dry_run: bool) -> list[Imported]:
    backend = current_backend()
    api = GitHubApi(_token(), os.environ.get("GITHUB_API_URL") or API)
    number = _hook_of(api, repository, webhook) if hook is None else hook
    missing = missing_deliveries(backend.inbox, webhook, api.deliveries(repository, number), since=since)
    if dry_run:
        return [_missing(delivery) for delivery in missing]
    found: list[Imported] = []
    for delivery in missing:
        headers, payload = api.request(repository, number, delivery.id)  # before any transaction begins
        found.append(
            import_delivery(backend.inbox, webhook, delivery, headers, payload, backend.caller, backend.clock())
        )
    return found


def _webhook(name: str, source: str | None) -> Webhook:
    try:
        webhook = find_webhook(current_backend().webhooks, name, source)
    except ValueError as error:
        raise click.UsageError(f"{printable(str(error))}.") from error
    if webhook.provider.name != name:
        raise click.UsageError(f"The webhook {webhook.source!r} does not receive deliveries of {name}.")
    return webhook


def _token() -> str:
    token = next((value for name in _TOKENS if (value := os.environ.get(name, "").strip())), "")
    if not token or not token.isascii() or not token.isprintable():
        raise click.UsageError("Set GITHUB_TOKEN to a token that may read the webhooks of the repository.")
    return token


def _hook_of(api: GitHubApi, repository: str, webhook: Webhook) -> int:
    """Return the number of the webhook at GitHub that delivers to this app's path.

    Raises:
        GitHubApiError: None or several do.
    """
    hooks = api.hooks(repository)
    found = [hook for hook in hooks if hook.url.partition("?")[0].endswith(webhook.path)]
    if len(found) == 1:
        return found[0].id
    listed = ", ".join(f"{hook.id} ({hook.url})" for hook in found or hooks) or "none"
    which = "Several webhooks deliver" if found else "No webhook delivers"
    raise GitHubApiError(f"{which} to {webhook.path}; name one with --hook: {listed}")


def _missing(delivery: RecordedDelivery) -> Imported:
    return Imported(id=delivery.guid, type=delivery.event, delivered_at=delivery.delivered_at, outcome="missing")


def _report(found: list[Imported], as_json: bool) -> None:
    if as_json:
        print_json(found)
    elif found:
        rows = [(one.id, one.type, one.delivered_at, one.outcome, one.error or "") for one in found]
        print_table(("ID", "TYPE", "DELIVERED", "OUTCOME", "ERROR"), rows)
    else:
        click.echo("No deliveries are missing.")
    failed = [one for one in found if one.outcome == "failed"]
    if failed:
        raise click.ClickException(
            f"The handlers of {counted_deliveries(len(failed))} failed; `flask convex webhooks retry` runs them again"
        )
