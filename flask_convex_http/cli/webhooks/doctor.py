"""What was wrong with a webhook delivery that was refused: `flask convex webhooks doctor`.

What is printed holds no secret, no value of a header and nothing of a body, so it can be shown to others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, BinaryIO

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
from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Snapshot
from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.rejections import Refusal
from flask_convex_http.inbox.search import named
from flask_convex_http.schema.system_tables import WebhookDelivery
from flask_convex_http.web.state import current_backend
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.diagnosis.diagnose import diagnose, signed_at
from flask_convex_http.webhooks.diagnosis.findings import Finding

#: How many received deliveries are looked through for a request's id, which no index has.
_LOOKED_THROUGH = 1000
_SHOWN = 20
_LARGEST_FILE = 64 * 1024 * 1024


class _Refused(msgspec.Struct):
    """A refusal, as programs read it.

    Attributes:
        request_id: See `Refusal`, as for the others.
        received_at: In milliseconds since the epoch.
        headers: The names of its headers.
    """

    request_id: str
    received_at: float
    source: str
    path: str
    reason: str
    message: str
    event_id: str
    event_type: str
    size: int
    others: int
    headers: list[str]


@click.command("doctor")
@click.argument("delivery_id", metavar="[ID]", required=False)
@click.option("--source", metavar="NAME", help="The webhook that --headers and --body are for: its source or provider.")
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
    """Say why a delivery was refused, and what to do.

    ID is the X-Request-Id of the answer, or the id of the event. Without it the deliveries that were refused lately are
    listed. The newest hundred are kept. A delivery that you have copied from its sender's page goes in with --source,
    --headers and --body; it is looked at as of the time it was signed.

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


# --- the list --------------------------------------------------------------------------------------------------------


def _list(backend: Backend, as_json: bool) -> None:
    found = backend.refusals.recent()
    counts: Counter[tuple[str, str]] = Counter()
    for refusal in found:
        counts[refusal.source, refusal.reason] += 1 + refusal.others
    if as_json:
        totals = [{"source": source, "reason": reason, "count": count} for (source, reason), count in counts.items()]
        print_json({"refusals": [_as_program_reads(refusal) for refusal in found], "counts": totals})
        return
    if not found:
        click.echo("No webhook delivery was refused lately.")
        return
    rows = [
        (refusal.request_id, moment(refusal.received_at), refusal.source, refusal.reason, shortened(refusal.message))
        for refusal in found[:_SHOWN]
    ]
    print_table(("REQUEST ID", "RECEIVED", "SOURCE", "REASON", "MESSAGE"), rows)
    click.echo()
    print_table(("SOURCE", "REASON", "COUNT"), [(*key, str(count)) for key, count in counts.most_common()])
    note("`flask convex webhooks doctor ID` says what was wrong with one of them.")


# --- one delivery ----------------------------------------------------------------------------------------------------


def _explain(backend: Backend, delivery_id: str, as_json: bool) -> None:
    refusal = backend.refusals.find(delivery_id) or _claiming(backend, delivery_id)
    if refusal is not None:
        _report(refusal, _findings(backend, refusal), as_json)
        return
    with backend.engine.read() as snapshot:
        received = _received(backend, snapshot, delivery_id)
    if received is None:
        raise click.ClickException(
            f"No delivery with the id {printable(delivery_id)!r} was refused lately or received; "
            "`flask convex webhooks doctor` lists those that were refused"
        )
    _tell_received(received, as_json)


def _claiming(backend: Backend, event_id: str) -> Refusal | None:
    """The newest refused delivery that says it has an event's id; nobody reads that while it is refused."""
    return next((refusal for refusal in backend.refusals.recent() if _claimed_id(backend, refusal) == event_id), None)


def _claimed_id(backend: Backend, refusal: Refusal) -> str | None:
    webhook = backend.webhooks.get(refusal.source)
    if webhook is None:
        return None
    try:
        return webhook.provider.event(refusal.headers, refusal.body, received_at=refusal.received_at).id
    except VerificationError:
        return None


def _findings(backend: Backend, refusal: Refusal) -> list[Finding]:
    webhook = backend.webhooks.get(refusal.source)
    if webhook is None:
        sentence = f"This app has no webhook {refusal.source!r} any more: its source or path was changed since."
        return [Finding("unknown-webhook", sentence, True)]
    if refusal.reason == "too-large":
        sentence = (
            "Its body is larger than the route takes, and was not read: give the webhook a larger max_body_bytes=."
        )
        return [Finding("too-large", sentence, True)]
    if _is_unread(refusal):
        return [_missing_secret(webhook.provider)]
    return diagnose(
        webhook.provider,
        refusal.headers,
        refusal.body,
        refusal.received_at,
        _others(backend, webhook),
        is_whole=refusal.is_whole,
        had_secret=refusal.reason not in ("missing-secret", "too-large"),
    )


def _is_unread(refusal: Refusal) -> bool:
    """Whether it was refused before its body was read."""
    return not refusal.size and refusal.reason in ("missing-secret", "too-large")


def _missing_secret(provider: Provider) -> Finding:
    try:
        provider.require_secret()
    except MissingSecretError as error:
        sentence = f"{error}: set it where the app runs, then have the delivery sent again."
    else:
        sentence = (
            "No secret was set where the app ran, and here one is: if it was set since, have the delivery sent again; "
            "else set it where the app runs."
        )
    return Finding("missing-secret", sentence, True)


def _others(backend: Backend, webhook: Webhook) -> list[tuple[str, Provider]]:
    return [(other.source, other.provider) for other in backend.webhooks if other is not webhook]


def _examine(backend: Backend, webhook: Webhook, headers: dict[str, str], body: bytes, as_json: bool) -> None:
    """What is wrong with a delivery that somebody has copied."""
    time = signed_at(webhook.provider, headers, body)
    received_at = backend.clock() if time is None else time
    found = diagnose(webhook.provider, headers, body, received_at, _others(backend, webhook))
    if as_json:
        print_json({"source": webhook.source, "received_at": received_at, "findings": found})
        return
    if time is not None:
        note(f"Looked at as of {moment(time)}, when it says it was signed.")
    _print_findings(found)


# --- what has been received after all ----------------------------------------------------------------------------


def _received(backend: Backend, snapshot: Snapshot, delivery_id: str) -> WebhookDelivery | None:
    deliveries = backend.inbox.deliveries
    found = named(deliveries, snapshot, delivery_id)
    if found:
        return max(found, key=lambda delivery: delivery.creation_time)
    newest = Query(snapshot, deliveries.table, deliveries.table.indexes["by_creation_time"]).order("desc")
    by_request = (delivery for delivery in newest.take(_LOOKED_THROUGH) if delivery.request_id == delivery_id)
    return next(by_request, None)


_FATES = {
    "pending": "a worker is to run its handler",
    "done": "its handler has run and its effects are committed",
    "failed": "its handler has failed, and runs again when the sender sends it again",
    "dead": "its handler has failed for good",
}


def _tell_received(delivery: WebhookDelivery, as_json: bool) -> None:
    if as_json:
        names = ("source", "event_id", "type", "state", "received", "completed_time", "request_id")
        print_json({"delivery": {"_id": delivery.id} | {name: getattr(delivery, name) for name in names}})
        return
    facts = {
        "Received": f"{moment(delivery.received)} by {delivery.source}",
        "Event": f"{delivery.type} {delivery.event_id}".strip(),
        "State": f"{delivery.state}: {_FATES[delivery.state]}",
        "Error": delivery.error or "",
    }
    _print_facts(facts)
    click.echo("It was not refused: nothing is wrong with its signature.")


# --- printing --------------------------------------------------------------------------------------------------------


def _report(refusal: Refusal, findings: list[Finding], as_json: bool) -> None:
    if as_json:
        print_json({"refusal": _as_program_reads(refusal), "findings": findings})
        return
    more = f", and {counted(refusal.others, 'other')} like it since the one before" if refusal.others else ""
    facts = {
        "Refused": f"{moment(refusal.received_at)} by {refusal.source}{more}",
        "Reason": f"{refusal.reason}: {refusal.message}",
        "Request": refusal.request_id,
        "Event": f"{refusal.event_type} {refusal.event_id}".strip(),
        "Headers": ", ".join(sorted(refusal.headers)),
        "Body": "not read" if _is_unread(refusal) else counted(refusal.size, "byte"),
    }
    _print_facts(facts)
    click.echo()
    _print_findings(findings)


def _print_facts(facts: dict[str, str]) -> None:
    for name, fact in facts.items():
        if fact:
            click.echo(printable(f"{name + ':':<10}{shortened(fact, 500)}").replace("\n", "\\n"))


def _print_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        doubt = "" if finding.is_certain else " (perhaps)"
        click.echo(printable(f"{finding.word}{doubt}: {finding.sentence}"))


def _as_program_reads(refusal: Refusal) -> _Refused:
    named = {name: getattr(refusal, name) for name in _Refused.__struct_fields__ if name != "headers"}
    return _Refused(**named, headers=sorted(refusal.headers))


# --- reading what was copied -----------------------------------------------------------------------------------------


def _webhook(backend: Backend, name: str) -> Webhook:
    found = backend.webhooks.find(name)
    if len(found) == 1:
        return found[0]
    known = ", ".join(webhook.source for webhook in found or backend.webhooks) or "none"
    if found:
        raise click.UsageError(f"{len(found)} webhooks are of {name!r}; name one of them: {known}.")
    raise click.UsageError(f"There is no webhook {name!r}. Those of this app: {known}.")


def _content(file: BinaryIO) -> bytes:
    content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise click.UsageError(f"{file.name} is longer than 64 MiB.")
    return content


def _headers(file: BinaryIO) -> dict[str, str]:
    """The headers in a file: a JSON object, or a line for each as HTTP or `curl -v` writes them."""
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
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError("--headers begins like JSON and is none.") from None
    # Some pages write a list for each, as a header may be sent twice.
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in found.items()
    }
