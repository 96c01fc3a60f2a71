"""`flask convex webhooks list` and `show`: inspect the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
from flask_convex_http.cli.options import WholeNumber
from flask_convex_http.cli.output import (
    counted,
    json_option,
    moment,
    note,
    print_json,
    print_table,
    printable,
    shortened,
)
from flask_convex_http.cli.webhooks.filters import (
    Selection,
    Time,
    counted_deliveries,
    find_one,
    in_milliseconds,
    requested_sources,
    since_option,
    source_option,
    status_option,
    type_option,
)
from flask_convex_http.cli.webhooks.rejections import print_rejections, rejection_as_json
from flask_convex_http.inbox.deliveries import NEVER, STATES
from flask_convex_http.inbox.reader import DeliveryDetails, InboxReader
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.rejections import Rejection
from flask_convex_http.inbox.rerun_results import RerunResult
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import WebhookAttempt, WebhookDelivery

_REJECTED = "rejected"
#: Characters of the longest event id that is listed: a digest in hexadecimal and its prefix.
_LONGEST_ID = 72


# --- list ------------------------------------------------------------------------------------------------------------


@click.command("list")
@source_option
@since_option
@status_option(*STATES, _REJECTED)
@type_option
@click.option("--unhandled", is_flag=True, help="Only those without a handler for their type.")
@click.option("--limit", type=WholeNumber(1, 100_000), default=20, show_default=True, help="The maximum number.")
@json_option
@with_appcontext
def list_deliveries(
    source: str | None,
    since: Time | None,
    status: str | None,
    event_type: str | None,
    unhandled: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List the deliveries in the inbox, newest first.

    The first column is the sender's id of the event, or the delivery's own id where that one cannot be typed. Every
    command accepts both. Rejected deliveries are not in the database: the newest 100 are kept in a folder beside it,
    and `--status rejected` lists them. All times are in UTC.

    \b
    Examples:
      flask convex webhooks list
      flask convex webhooks list --source stripe --since 2h --type 'invoice.*'
      flask convex webhooks list --status failed --json
      flask convex webhooks list --unhandled
      flask convex webhooks list --status rejected
    """
    backend = current_backend()
    if unhandled and status not in (None, "unhandled"):
        raise click.UsageError(f"--unhandled does not go with --status {status}.")
    status = "unhandled" if unhandled else status
    if status == _REJECTED:
        if event_type is not None:
            raise click.UsageError("--type does not go with --status rejected: their events are not verified.")
        _print_rejections(backend, _rejections(backend, source, since)[:limit], as_json)
        return
    states = tuple(state for state in STATES if status in (None, state))
    selection = Selection(source=source, since=since, type=event_type)
    found = InboxReader(backend.inbox).newest(selection.conditions(backend, states), limit)
    if as_json:
        print_json(found)
        return
    if found:
        headings = ("EVENT", "RECEIVED", "SOURCE", "TYPE", "STATE", "ATTEMPTS", "ERROR")
        print_table(headings, [_row(delivery) for delivery in found])
    else:
        click.echo("No deliveries match.")
    if status is None and event_type is None:
        _note_rejections(backend, source, since)


def _note_rejections(backend: Backend, source: str | None, since: Time | None) -> None:
    """Mention rejected deliveries: a missing delivery may be one of them."""
    count = sum(1 + rejection.others for rejection in _rejections(backend, source, since))
    if count:
        note(
            f"{counted_deliveries(count)} {'was' if count == 1 else 'were'} rejected recently; "
            "`flask convex webhooks doctor` lists them."
        )


def _row(delivery: WebhookDelivery) -> tuple[str, ...]:
    return (
        _typeable_id(delivery),
        moment(delivery.received),
        shortened(delivery.source, 40),
        shortened(delivery.type, 40),
        delivery.state,
        str(len(delivery.attempts) or ""),
        shortened(delivery.error or ""),
    )


def _typeable_id(delivery: WebhookDelivery) -> str:
    """Return the sender's id of the event, or the delivery's own id if that one cannot be copied from a terminal."""
    event_id = delivery.event_id
    is_short = 0 < len(event_id) <= _LONGEST_ID and event_id == event_id.strip()
    return event_id if is_short and event_id.isprintable() else delivery.id


def _rejections(backend: Backend, source: str | None, since: Time | None) -> list[Rejection]:
    """Return the rejected deliveries that `--source` and `--since` select, newest first."""
    found = backend.rejections.recent()
    if source is not None:
        sources = requested_sources(backend, source, [rejection.source for rejection in found]) or ()
        found = [rejection for rejection in found if rejection.source in sources]
    if since is not None:
        start = in_milliseconds(since, backend.clock())
        found = [rejection for rejection in found if rejection.received_at >= start]
    return found


def _print_rejections(backend: Backend, rejections: list[Rejection], as_json: bool) -> None:
    if as_json:
        print_json([rejection_as_json(backend.webhooks, rejection) for rejection in rejections])
    elif rejections:
        print_rejections(rejections)
    else:
        click.echo("No rejected deliveries match.")


# --- show ------------------------------------------------------------------------------------------------------------


@click.command("show")
@click.argument("name", metavar="ID")
@source_option
@click.option("--body", "with_body", is_flag=True, help="Print the body, byte for byte, and nothing else.")
@json_option
@with_appcontext
def show(name: str, source: str | None, with_body: bool, as_json: bool) -> None:
    """Show one delivery with its attempts, response and headers.

    ID is the sender's id of the event, or the delivery's own id. The values of credential headers are not shown.

    \b
    Examples:
      flask convex webhooks show evt_1Qx2Yz
      flask convex webhooks show _webhooks_0190f3a1b2c3d4e5f60718293a4b5c6d --body > body.json
    """
    backend = current_backend()
    delivery = find_one(backend, name, source)
    if isinstance(delivery, RerunResult):
        raise click.ClickException(printable(delivery.sentence))
    details = InboxReader(backend.inbox).details(delivery, with_body=with_body)
    if as_json:
        print_json(details)
    elif not with_body:
        _print_details(details, backend.webhooks.get(delivery.source))
    elif details.body is None:
        raise click.ClickException("Its headers and body were purged.")
    else:
        click.echo(details.body, nl=False)


def _print_details(details: DeliveryDetails, webhook: Webhook | None) -> None:
    delivery = details.delivery
    facts = {
        "ID": delivery.id,
        "Source": f"{delivery.source} ({delivery.provider})",
        "Event": f"{delivery.type} {delivery.event_id}".strip(),
        "State": delivery.state,
        "Received": f"{moment(delivery.received)}, request {delivery.request_id}",
        "Secret": delivery.secret_label,
        "Ended": moment(delivery.completed_time, "not yet"),
        "Error": delivery.error or "",
        "Response": _response(delivery, webhook),
        "Lane": (delivery.lane or "") + (f", behind {details.behind}" if details.behind else ""),
        "Job": _job(details),
        "Kept": "until it is done or dead" if delivery.expires >= NEVER else f"until {moment(delivery.expires)}",
        "Body": _body(details),
    }
    for name, fact in facts.items():
        if fact:
            click.echo(printable(f"{name + ':':<11}{fact}").replace("\n", "\\n"))
    if delivery.attempts:
        click.echo()
        rows = [_attempt(number, attempt) for number, attempt in enumerate(delivery.attempts, 1)]
        print_table(("ATTEMPT", "STARTED", "ENDED", "BY", "OUTCOME", "ERROR"), rows)
    if details.headers:
        click.echo()
        print_table(("HEADER", "VALUE"), sorted(details.headers.items()))


def _response(delivery: WebhookDelivery, webhook: Webhook | None) -> str:
    """Return the response that a duplicate gets, which is the first delivery's."""
    if delivery.state == "failed":
        return "none yet: the next delivery of this event runs the handler again"
    stored = delivery.answer
    if stored is not None:
        return f"{stored.status}, {counted(len(stored.body), 'byte')}"
    if webhook is not None and webhook.provider.profile.shows_answers:
        return "200, 0 bytes"
    return "202 Accepted" if _is_queued(delivery, webhook) else "200 OK"


def _is_queued(delivery: WebhookDelivery, webhook: Webhook | None) -> bool:
    """Return whether a worker runs the delivery, or ran it. For a removed webhook the row tells, as far as it can."""
    if delivery.state == "pending" or webhook is None:
        return delivery.state == "pending" or delivery.job is not None
    return webhook.mode == "enqueue"


def _job(details: DeliveryDetails) -> str:
    job = details.scheduled
    if job is None:
        return ""
    return f"{job.id}, next attempt at {moment(job.due)}" if job.state == "pending" else f"{job.id}, {job.state}"


def _body(details: DeliveryDetails) -> str:
    size = counted(details.delivery.size, "byte")
    if details.body_expires is None:
        return f"{size}, purged"
    size = f"{size}, sha256 {details.sha256}"
    return size if details.delivery.state == "pending" else f"{size}, kept until {moment(details.body_expires)}"


def _attempt(number: int, attempt: WebhookAttempt) -> tuple[str, ...]:
    times = moment(attempt.started), moment(attempt.ended)
    return str(number), *times, attempt.by, attempt.outcome, attempt.error or ""
