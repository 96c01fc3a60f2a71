"""`flask convex webhooks doctor`: why a delivery was rejected.

The output contains no secret, no value of a header and nothing of a body, so it can be shown to other people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.backend import Backend
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
from flask_convex_http.cli.webhooks.rejections import print_rejections, rejection_as_json
from flask_convex_http.inbox.explanations import claimed_event, explain_rejection, is_unread, other_providers
from flask_convex_http.inbox.reader import InboxReader
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.rejections import Rejection
from flask_convex_http.inbox.search import find_webhook
from flask_convex_http.inbox.tenants import with_secrets
from flask_convex_http.web.state import current_backend
from flask_convex_http.webhooks.diagnosis import Finding, diagnose, signed_at

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import WebhookDelivery

#: How many rejected deliveries are listed.
_LISTED = 20
_LARGEST_FILE = 64 * 1024 * 1024


@click.command("doctor")
@click.argument("delivery_id", metavar="[ID]", required=False)
@click.option("--source", metavar="NAME", help="The webhook of --headers and --body: its source, path or provider.")
@click.option("--headers", "headers_file", type=click.File("rb"), help='JSON, or lines such as "Name: value".')
@click.option("--body", "body_file", type=click.File("rb"), help="The body, byte for byte.")
@json_option
@with_appcontext
def doctor(
    delivery_id: str | None,
    source: str | None,
    headers_file: BinaryIO | None,
    body_file: BinaryIO | None,
    as_json: bool,
) -> None:
    """Explain why a delivery was rejected, and how to fix it.

    ID is the X-Request-Id of the response, or the event's id. Without it the recently rejected deliveries are listed;
    the newest 100 are kept. To diagnose a delivery copied from the sender's page, give --source, --headers and --body.
    Its time is checked as of the moment it was signed.

    \b
    Examples:
      flask convex webhooks doctor
      flask convex webhooks doctor evt_1Qx2Yz
      flask convex webhooks doctor --source stripe --headers headers.txt --body body.json
    """
    backend = current_backend()
    is_copied = any(part is not None for part in (source, headers_file, body_file))
    if delivery_id is not None and is_copied:
        raise click.UsageError("Give an ID, or --source, --headers and --body.")
    if headers_file is not None and body_file is not None and source is not None:
        _examine(backend, _webhook(backend, source), _headers(headers_file), _content(body_file), as_json)
    elif is_copied:
        raise click.UsageError("--source, --headers and --body go together.")
    elif delivery_id is None:
        _list(backend, as_json)
    else:
        _explain(backend, delivery_id.encode("utf-8", "replace").decode(), as_json)


def _list(backend: Backend, as_json: bool) -> None:
    rejections = backend.rejections.recent()
    counts: Counter[tuple[str, str]] = Counter()
    for rejection in rejections:
        counts[rejection.source, rejection.reason] += 1 + rejection.others
    if as_json:
        totals = [{"source": source, "reason": reason, "count": count} for (source, reason), count in counts.items()]
        listed = [rejection_as_json(backend.webhooks, rejection) for rejection in rejections]
        print_json({"refusals": listed, "counts": totals})
        return
    if not rejections:
        click.echo("No webhook delivery was rejected recently.")
        return
    print_rejections(rejections[:_LISTED])
    click.echo()
    print_table(("SOURCE", "REASON", "COUNT"), [(*key, str(count)) for key, count in counts.most_common()])
    note("`flask convex webhooks doctor ID` explains one of them.")


# --- one delivery ----------------------------------------------------------------------------------------------------


def _explain(backend: Backend, delivery_id: str, as_json: bool) -> None:
    rejection = backend.rejections.find(delivery_id) or _with_event(backend, delivery_id)
    if rejection is not None:
        _report(backend, rejection, as_json)
        return
    received = _received(backend, delivery_id)
    if received is None:
        raise click.ClickException(
            f"No delivery with the id {printable(delivery_id)!r} was rejected recently or received; "
            "`flask convex webhooks doctor` lists the rejected ones"
        )
    _report_received(received, as_json)


def _with_event(backend: Backend, event_id: str) -> Rejection | None:
    """Return the newest rejected delivery that claims to have this event id, or None."""
    events = ((rejection, claimed_event(backend.webhooks, rejection)) for rejection in backend.rejections.recent())
    return next((rejection for rejection, event in events if event is not None and event.id == event_id), None)


def _received(backend: Backend, delivery_id: str) -> WebhookDelivery | None:
    """Return the newest delivery in the inbox with this id, event id or request id, or None."""
    reader = InboxReader(backend.inbox)
    found = reader.find(delivery_id)
    return max(found, key=lambda delivery: delivery.creation_time) if found else reader.find_request(delivery_id)


def _examine(backend: Backend, webhook: Webhook, headers: dict[str, str], body: bytes, as_json: bool) -> None:
    """Diagnose a delivery that was copied from the sender's page."""
    try:
        webhook = with_secrets(backend.runtime, webhook)
    except ValueError as error:
        raise click.UsageError(f"{printable(str(error))}.") from error
    time = signed_at(webhook.provider, headers, body)
    received_at = backend.clock() if time is None else time
    findings = diagnose(webhook.provider, headers, body, received_at, other_providers(backend.webhooks, webhook))
    if as_json:
        print_json({"source": webhook.source, "received_at": received_at, "findings": findings})
        return
    if time is not None:
        note(f"Diagnosed as of {moment(time)}, when it was signed.")
    _print_findings(findings)


# --- printing --------------------------------------------------------------------------------------------------------


def _report(backend: Backend, rejection: Rejection, as_json: bool) -> None:
    findings = explain_rejection(backend.inbox, rejection)
    fields = rejection_as_json(backend.webhooks, rejection)
    if as_json:
        print_json({"refusal": fields, "findings": findings})
        return
    others = f", and {counted(rejection.others, 'other')} like it since the one before" if rejection.others else ""
    facts = {
        "Rejected": f"{moment(rejection.received_at)} by {rejection.source}{others}",
        "Reason": f"{rejection.reason}: {rejection.message}",
        "Request": rejection.request_id,
        "Event": f"{fields['event_type']} {fields['event_id']}".strip(),
        "Headers": ", ".join(fields["headers"]),
        "Body": "not read" if is_unread(rejection) else counted(rejection.size, "byte"),
    }
    for name, fact in facts.items():
        if fact:
            click.echo(printable(f"{name + ':':<10}{shortened(fact, 500)}").replace("\n", "\\n"))
    click.echo()
    _print_findings(findings)


def _report_received(delivery: WebhookDelivery, as_json: bool) -> None:
    if as_json:
        names = ("source", "event_id", "type", "state", "received", "completed_time", "request_id")
        print_json({"delivery": {"_id": delivery.id} | {name: getattr(delivery, name) for name in names}})
        return
    click.echo(
        printable(
            f"It was not rejected: {delivery.source} received it at {moment(delivery.received)}, and it is "
            f"{delivery.state}. `flask convex webhooks show {delivery.id}` shows its attempts."
        )
    )


def _print_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        doubt = "" if finding.is_certain else " (perhaps)"
        click.echo(printable(f"{finding.word}{doubt}: {finding.sentence}"))


# --- reading the options ---------------------------------------------------------------------------------------------


def _webhook(backend: Backend, name: str) -> Webhook:
    try:
        return find_webhook(backend.webhooks, name)
    except ValueError as error:
        raise click.UsageError(f"{printable(str(error))}.") from error


def _content(file: BinaryIO) -> bytes:
    content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise click.UsageError(f"{file.name} is larger than 64 MiB.")
    return content


def _headers(file: BinaryIO) -> dict[str, str]:
    """Read headers written as a JSON object, or one on each line as HTTP and `curl -v` write them."""
    text = _content(file).decode("utf-8-sig", "replace").strip()
    if text.startswith("{"):
        return _json_headers(text)
    lines = (line.strip().lstrip("<>").partition(":") for line in text.splitlines())
    found = {name.strip(): value.strip() for name, colon, value in lines if colon and name.strip()}
    if not found:
        raise click.UsageError('--headers must hold a JSON object, or lines such as "Content-Type: application/json".')
    return found


def _json_headers(text: str) -> dict[str, str]:
    try:
        found = msgspec.json.decode(text, type=dict[str, str | list[str]])
    except (ValueError, RecursionError):
        raise click.UsageError("--headers starts with { but is not a JSON object of headers.") from None
    # Some senders' pages show a list of values for each header.
    return {name: ", ".join(value) if isinstance(value, list) else value for name, value in found.items()}
