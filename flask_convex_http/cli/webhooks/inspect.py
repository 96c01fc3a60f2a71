"""`flask convex webhooks list` and `show`: inspect the inbox."""

from __future__ import annotations

import hashlib

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
from flask_convex_http.cli.webhooks.filters import (
    Chosen,
    Time,
    moment_of,
    one_of,
    since_option,
    source_option,
    sources_named,
    status_option,
    type_option,
)
from flask_convex_http.engines.base import Snapshot
from flask_convex_http.inbox.deliveries import NEVER, STATES
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.rejections import Refusal
from flask_convex_http.inbox.replay import Step
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookAttempt, WebhookDelivery, WebhookRequest
from flask_convex_http.web.state import current_backend
from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS

_REFUSED = "refused"
#: Characters of the longest sender's id that is listed: of a digest in hexadecimal, and what stands before it.
_LONGEST_ID = 72


class _Refused(msgspec.Struct):
    """A refused delivery, as programs read it; see `Refusal`."""

    request_id: str
    received_at: float
    source: str
    path: str
    reason: str
    message: str
    size: int
    others: int


class _Shown(msgspec.Struct):
    """All there is of a delivery, as programs read it.

    Attributes:
        delivery: Its row.
        headers: As received, without credentials; None if they are not kept any more.
        sha256: The digest of its body, hexadecimal.
        body: The body, if it was asked for.
        body_expires: When its headers and body may be forgotten.
        scheduled: The scheduled function that runs its handler.
        behind: The delivery that it waits for.
    """

    delivery: WebhookDelivery
    headers: dict[str, str] | None
    sha256: str | None
    body: bytes | None
    body_expires: float | None
    scheduled: ScheduledFunction | None
    behind: str | None


# --- list ------------------------------------------------------------------------------------------------------------


@click.command("list")
@source_option
@since_option
@status_option(*STATES, _REFUSED)
@type_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many at most.")
@json_option
@with_appcontext
def list_deliveries(
    source: str | None, since: Time | None, status: str | None, event_type: str | None, limit: int, as_json: bool
) -> None:
    """List the deliveries that were received, newest first.

    The first column has the senders' ids, which all commands take, or ours where a sender's cannot be typed. What was
    refused is not in the database: only the newest hundred are kept, in a folder beside it, and `--status refused`
    lists them. All times are in UTC.

    \b
    Examples:
      flask convex webhooks list
      flask convex webhooks list --source stripe --since 2h --type 'invoice.*'
      flask convex webhooks list --status failed --json
      flask convex webhooks list --status refused
    """
    backend = current_backend()
    if status == _REFUSED:
        if event_type is not None:
            raise click.UsageError("--type does not go with --status refused: nobody reads what is not genuine.")
        _print_refusals(_refusals(backend, source, since)[:limit], as_json)
        return
    states = tuple(state for state in STATES if status in (None, state))
    chosen = Chosen(source=source, since=since, type=event_type)
    with backend.engine.read() as snapshot:
        found = chosen.filter(backend, snapshot, states).newest(backend.inbox.deliveries, snapshot, limit)
    if as_json:
        print_json(found)
        return
    if found:
        headings = ("EVENT", "RECEIVED", "SOURCE", "TYPE", "STATE", "ATTEMPTS", "ERROR")
        print_table(headings, [_line(delivery) for delivery in found])
    else:
        click.echo("There are no such deliveries.")
    if status is None and event_type is None:
        _note_refused(backend, source, since)


def _note_refused(backend: Backend, source: str | None, since: Time | None) -> None:
    """What somebody looks for here may never have come in."""
    count = sum(1 + refusal.others for refusal in _refusals(backend, source, since))
    if count:
        were = "was" if count == 1 else "were"
        note(f"{count} {were} refused lately; `flask convex webhooks doctor` says which.")


def _line(delivery: WebhookDelivery) -> tuple[str, ...]:
    return (
        _typeable(delivery),
        moment(delivery.received),
        shortened(delivery.source, 40),
        shortened(delivery.type, 40),
        delivery.state,
        str(len(delivery.attempts) or ""),
        shortened(delivery.error or ""),
    )


def _typeable(delivery: WebhookDelivery) -> str:
    """The sender's id, whole, or ours if that one cannot be copied from a terminal."""
    event_id = delivery.event_id
    is_short = 0 < len(event_id) <= _LONGEST_ID and event_id == event_id.strip()
    return event_id if is_short and event_id.isprintable() else delivery.id


def _refusals(backend: Backend, source: str | None, since: Time | None) -> list[Refusal]:
    found = backend.refusals.recent()
    if source is not None:
        found = _of_source(backend, found, source)
    if since is not None:
        start = moment_of(since, backend.clock())
        found = [refusal for refusal in found if refusal.received_at >= start]
    return found


def _of_source(backend: Backend, refusals: list[Refusal], source: str) -> list[Refusal]:
    with backend.engine.read() as snapshot:
        sources = sources_named(backend, snapshot, source, [refusal.source for refusal in refusals]) or ()
    return [refusal for refusal in refusals if refusal.source in sources]


def _print_refusals(found: list[Refusal], as_json: bool) -> None:
    if as_json:
        names = _Refused.__struct_fields__
        print_json([_Refused(**{name: getattr(refusal, name) for name in names}) for refusal in found])
        return
    if not found:
        click.echo("No such delivery was refused lately.")
        return
    rows = [
        (refusal.request_id, moment(refusal.received_at), refusal.source, refusal.reason, shortened(refusal.message))
        for refusal in found
    ]
    print_table(("REQUEST ID", "RECEIVED", "SOURCE", "REASON", "MESSAGE"), rows)


# --- show ------------------------------------------------------------------------------------------------------------


@click.command("show")
@click.argument("name", metavar="ID")
@source_option
@click.option("--body", "with_body", is_flag=True, help="Print the body, byte for byte, and nothing else.")
@json_option
@with_appcontext
def show(name: str, source: str | None, with_body: bool, as_json: bool) -> None:
    """Show all there is of a delivery: attempts, answer, error, headers, and until when it is remembered.

    ID is ours, or the sender's id of the event. Values of headers that are credentials are not shown.

    \b
    Examples:
      flask convex webhooks show evt_1Qx2Yz
      flask convex webhooks show _webhooks_0190f3a1b2c3d4e5f60718293a4b5c6d --body > body.json
    """
    backend = current_backend()
    with backend.engine.read() as snapshot:
        delivery = one_of(backend, snapshot, name, source)
        if isinstance(delivery, Step):
            raise click.ClickException(printable(delivery.sentence))
        request = backend.inbox.deliveries.request(snapshot, delivery.id)
        shown = _shown(backend, snapshot, delivery, request, with_body)
    if as_json:
        print_json(shown)
    elif not with_body:
        _print(shown, backend.webhooks.get(delivery.source))
    elif request is None:
        raise click.ClickException("Its headers and body were forgotten.")
    else:
        click.echo(request.body, nl=False)


def _shown(
    backend: Backend, snapshot: Snapshot, delivery: WebhookDelivery, request: WebhookRequest | None, with_body: bool
) -> _Shown:
    first = None
    if delivery.state == "pending" and delivery.lane is not None:
        first = backend.inbox.deliveries.first_in(snapshot, delivery.source, delivery.lane)
    return _Shown(
        delivery=delivery,
        headers=None if request is None else dict(map(_header, request.headers, request.headers.values())),
        sha256=None if request is None else hashlib.sha256(request.body).hexdigest(),
        body=request.body if request is not None and with_body else None,
        body_expires=None if request is None else delivery.due,
        scheduled=None if delivery.job is None else backend.jobs.get(snapshot, delivery.job),
        behind=None if first == delivery.id else first,
    )


def _header(name: str, value: str) -> tuple[str, str]:
    return name, "(not shown)" if name.lower() in CREDENTIAL_HEADERS else value


def _print(shown: _Shown, webhook: Webhook | None) -> None:
    delivery = shown.delivery
    facts = {
        "ID": delivery.id,
        "Source": f"{delivery.source} ({delivery.provider})",
        "Event": f"{delivery.type} {delivery.event_id}".strip(),
        "State": delivery.state,
        "Received": f"{moment(delivery.received)}, request {delivery.request_id}",
        "Secret": delivery.secret_label,
        "Ended": moment(delivery.completed_time, "not yet"),
        "Error": delivery.error or "",
        "Answer": _answer(delivery, webhook),
        "Lane": (delivery.lane or "") + (f", behind {shown.behind}" if shown.behind else ""),
        "Scheduled": _scheduled(shown),
        "Forgotten": "not before it is done" if delivery.expires >= NEVER else f"from {moment(delivery.expires)} on",
        "Body": _body(shown),
    }
    for name, fact in facts.items():
        if fact:
            click.echo(printable(f"{name + ':':<11}{fact}").replace("\n", "\\n"))
    if delivery.attempts:
        click.echo()
        rows = [_attempt(number, attempt) for number, attempt in enumerate(delivery.attempts, 1)]
        print_table(("ATTEMPT", "STARTED", "ENDED", "BY", "OUTCOME", "ERROR"), rows)
    if shown.headers:
        click.echo()
        print_table(("HEADER", "VALUE"), sorted(shown.headers.items()))


def _answer(delivery: WebhookDelivery, webhook: Webhook | None) -> str:
    """What a copy is answered, as the first one was."""
    if delivery.state == "failed":
        return "none yet: its handler runs again when it is sent again"
    answer = delivery.answer
    if answer is not None:
        return f"{answer.status}, {counted(len(answer.body), 'byte')}"
    if webhook is not None and webhook.provider.profile.shows_answers:
        return "200, 0 bytes"
    return "202 Accepted" if _is_queued(delivery, webhook) else "200 OK"


def _is_queued(delivery: WebhookDelivery, webhook: Webhook | None) -> bool:
    """Whether it is, or was, a worker's; of a webhook that is not there any more, as far as its row tells."""
    if delivery.state == "pending" or webhook is None:
        return delivery.state == "pending" or delivery.job is not None
    return webhook.mode == "enqueue"


def _scheduled(shown: _Shown) -> str:
    job = shown.scheduled
    if job is None:
        return ""
    return f"{job.id}, next try at {moment(job.due)}" if job.state == "pending" else f"{job.id}, {job.state}"


def _body(shown: _Shown) -> str:
    if shown.body_expires is None:
        return f"{counted(shown.delivery.size, 'byte')}, forgotten"
    size = f"{counted(shown.delivery.size, 'byte')}, sha256 {shown.sha256}"
    return size if shown.delivery.state == "pending" else f"{size}, forgotten from {moment(shown.body_expires)} on"


def _attempt(number: int, attempt: WebhookAttempt) -> tuple[str, ...]:
    times = moment(attempt.started), moment(attempt.ended)
    return str(number), *times, attempt.by, attempt.outcome, attempt.error or ""
