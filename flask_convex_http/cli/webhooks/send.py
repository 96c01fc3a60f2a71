"""`flask convex webhooks send`: signed test deliveries over HTTP, without the sender and without the internet.

The command does not read the database. The app that receives the deliveries may run in another process or on another
machine.
"""

from __future__ import annotations

import http.client
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any
from urllib.parse import SplitResult, urlsplit

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.cli.local_url import DEFAULT_URL, local_url
from flask_convex_http.cli.options import WholeNumber, duration
from flask_convex_http.cli.output import counted, json_option, print_json, print_table, printable, shortened
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.search import find_webhook, sender_of
from flask_convex_http.inbox.tenants import with_secrets
from flask_convex_http.web.state import current_backend
from flask_convex_http.webhooks.samples import SENDERS, Faults, SignedDelivery, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from flask_convex_http.webhooks.samples.signed_deliveries import Verdict

#: The maximum number of duplicates that are sent at once. Each needs a thread and a connection.
_MOST = 200
#: The maximum number of bytes that are read of a response.
_LONGEST_RESPONSE = 64 * 1024
#: Statuses that reject a delivery. The package's own is 400; the app's error handler may choose another.
_REJECTIONS = (400, 401, 403)
#: The maximum number of characters of an id in the printed table.
_LONGEST_ID = 72


class _Attempt(msgspec.Struct):
    """One request and its response. `--json` prints all attributes.

    Attributes:
        type: The event's type.
        id: The event's id.
        expected: "accepted", or "refused" if the app should reject the delivery.
        as_expected: Whether the response is the expected one.
        meaning: An explanation of the response for people.
        status: The response's status, or None without a response.
        milliseconds: The time until the response or the failure.
        answer: The first line of the response's body, or the reason why there is no response.
        connected: Whether the connection to the app was opened.
        request_id: The response's `X-Request-Id`, or an empty string.
    """

    type: str
    id: str
    expected: Verdict
    as_expected: bool = False
    meaning: str = ""
    status: int | None = None
    milliseconds: float = 0
    answer: str = ""
    connected: bool = False
    request_id: str = ""

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_rejected(self) -> bool:
        return self.status in _REJECTIONS


@click.command("send")
@click.argument("name", metavar="[SOURCE|PROVIDER]", required=False)
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@click.option("--data", metavar="JSON", help="Changes of the sample events, merged deeply.")
@click.option(
    "--url",
    default=local_url,
    show_default=f"{DEFAULT_URL}, or where FLASK_RUN_HOST and FLASK_RUN_PORT say",
    help="The URL of the app, or the whole URL of the webhook.",
)
@click.option("--id", "event_id", metavar="ID", help="The id of the event, if it is only one. By default it is new.")
@click.option("--source", metavar="SOURCE", help="The webhook's source or path, if several have the provider.")
@click.option("--duplicate", type=WholeNumber(1, _MOST), default=1, metavar="N", help="Send it N times at once.")
@click.option("--reorder", is_flag=True, help="Send several events in another order than they happened.")
@click.option("--seed", type=int, help="With --reorder: chooses the order.")
@click.option("--late", type=duration, metavar="DURATION", help="Make and sign the event as of that long ago.")
@click.option("--tamper", is_flag=True, help="Change the body after it was signed.")
@click.option("--old-secret", is_flag=True, help="Sign with the last of several secrets, or with a wrong one.")
@click.option("--fresh-id", is_flag=True, help="Send it again under another id, without the secret.")
@click.option("--list", "is_list", is_flag=True, help="List the sample events, and send nothing.")
@json_option
@with_appcontext
def send(
    name: str | None,
    types: Sequence[str],
    data: str | None,
    url: str,
    event_id: str | None,
    source: str | None,
    is_list: bool,
    as_json: bool,
    **faults: Any,
) -> None:
    """Send signed test deliveries to the running app.

    The webhook is given by its source, path or provider, or by a sender such as clerk or resend. --data is a JSON
    object that is merged into the sample: for Stripe into data.object, for Slack into event, for senders whose events
    have data into that, and otherwise into the whole payload. With --data any TYPE is allowed. The exit status is 1 if
    a genuine delivery is not accepted or a forged one is not rejected.

    \b
    Examples:
      flask convex webhooks send stripe checkout.session.completed
      flask convex webhooks send stripe checkout.session.completed --data '{"amount_total": 950}' --duplicate 5
      flask convex webhooks send stripe invoice.paid --id evt_1Qx2Yz
      flask convex webhooks send clerk user.created user.updated user.deleted --reorder
      flask convex webhooks send github push --tamper --url https://shop.example
      flask convex webhooks send --list
    """
    if is_list:
        _list(name, as_json)
        return
    if name is None or not types:
        raise click.UsageError("Give a webhook and event types, such as stripe invoice.paid. --list prints the types.")
    if faults["seed"] is not None and not faults["reorder"]:
        raise click.UsageError("--seed goes with --reorder.")
    if event_id is not None and (len(types) > 1 or not event_id.strip()):
        raise click.UsageError("--id is the id of one event; give one TYPE.")
    webhook = _webhook(name, source)
    address = _address(url, webhook.path)
    target = address.geturl()
    deliveries = _deliveries(
        webhook, sender_of(webhook, name), types, _parsed(data), Faults(**faults), event_id, target
    )
    timeout = webhook.provider.profile.timeout.total_seconds()
    attempts = [attempt for delivery in deliveries for attempt in _send(address, timeout, delivery)]
    _report(attempts, address, as_json)


def _list(name: str | None, as_json: bool) -> None:
    if name is not None and name not in SENDERS:
        name = _webhook(name, None).provider.name
    listed = {sender: event_types(sender) for sender in ([name] if name else SENDERS)}
    if as_json:
        print_json(listed)
        return
    print_table(("SENDER", "TYPE"), [(sender, type) for sender, types in listed.items() for type in types])


def _parsed(data: str | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except ValueError as error:
        raise click.BadParameter(f"{printable(str(error))}: write a JSON object.", param_hint="'--data'") from error


def _webhook(name: str, source: str | None) -> Webhook:
    try:
        backend = current_backend()
        return with_secrets(backend.runtime, find_webhook(backend.webhooks, name, source))
    except ValueError as error:
        raise click.UsageError(f"{printable(str(error))}.") from error


def _deliveries(
    webhook: Webhook,
    sender: str,
    types: Sequence[str],
    data: dict[str, Any] | None,
    faults: Faults,
    event_id: str | None,
    url: str,
) -> list[SignedDelivery]:
    now = current_backend().clock()
    try:
        return make_deliveries(
            webhook.provider, types, faults, now=now, sender=sender, data=data, event_id=event_id, url=url
        )
    except (ValueError, NotImplementedError) as error:
        raise click.ClickException(printable(str(error))) from error


def _address(url: str, path: str) -> SplitResult:
    """Return the URL to send to.

    Args:
        url: The URL of the app or of the webhook.
        path: The webhook's path, which is appended unless the URL ends with it.
    """
    address = urlsplit(url)
    try:
        is_usable = address.scheme in ("http", "https") and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:  # the port is not a number
        is_usable = False
    if not is_usable:
        raise click.BadParameter(f"{url!r} is not a URL such as {DEFAULT_URL}.", param_hint="'--url'")
    base = address.path.rstrip("/")
    return address if address.path.endswith(path) else address._replace(path=base + path)


# --- sending ---------------------------------------------------------------------------------------------------------


def _send(address: SplitResult, timeout: float, delivery: SignedDelivery) -> list[_Attempt]:
    """Send a delivery `delivery.count` times at once, and return the attempts."""
    barrier = Barrier(delivery.count)

    def attempt(_: int) -> _Attempt:
        made = _Attempt(delivery.type, delivery.id, delivery.verdict)
        barrier.wait()
        started = time.perf_counter()
        try:
            _post(address, timeout, delivery, made)
        except TimeoutError:
            made.answer = "no response within the sender's timeout"
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a valid host or header
            made.answer = f"no {'response' if made.connected else 'connection'}: {error or type(error).__name__}"
        made.milliseconds = round((time.perf_counter() - started) * 1000, 1)
        return made

    with ThreadPoolExecutor(delivery.count) as threads:
        attempts = list(threads.map(attempt, range(delivery.count)))
    first = next((attempt for attempt in attempts if attempt.is_accepted), None)
    for made in attempts:
        made.as_expected, made.meaning = _judgement(delivery, made, first)
    return attempts


def _post(address: SplitResult, timeout: float, delivery: SignedDelivery, attempt: _Attempt) -> None:
    connection_class = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    with closing(connection_class(address.hostname or "", address.port, timeout=timeout)) as connection:
        connection.connect()
        attempt.connected = True
        target = urlsplit(delivery.url)._replace(scheme="", netloc="", fragment="").geturl()
        connection.request("POST", target, delivery.body, dict(delivery.headers))
        response = connection.getresponse()
        attempt.answer = response.read(_LONGEST_RESPONSE).decode("utf-8", "replace").partition("\n")[0].strip()
        attempt.request_id = response.headers.get("X-Request-Id", "")
        attempt.status = response.status


# --- judging ---------------------------------------------------------------------------------------------------------


def _judgement(delivery: SignedDelivery, attempt: _Attempt, first: _Attempt | None) -> tuple[bool, str]:
    """Return whether a response is as expected, and its meaning.

    Args:
        delivery: The delivery that was sent.
        attempt: The attempt to judge.
        first: The first accepted attempt of the same delivery, which the others must equal, or None.
    """
    is_genuine = delivery.verdict == "accepted"
    if attempt.is_accepted and not is_genuine:
        return False, f"ACCEPTED, and it should be rejected: {delivery.reason}"
    if attempt.is_accepted and first is not None and attempt is not first:
        if (attempt.status, attempt.answer) == (first.status, first.answer):
            return True, "duplicate: the same response"
        return False, "duplicate: ANOTHER RESPONSE, so the handler may have run twice"
    if attempt.is_accepted:
        return True, f"accepted, as expected: {delivery.reason}"
    if attempt.is_rejected and is_genuine:
        return False, "REJECTED, and it is genuine: see the response"
    if attempt.is_rejected:
        return True, f"rejected, as expected: {delivery.reason}"
    return False, _other_meaning(attempt.status)


def _other_meaning(status: int | None) -> str:
    if status is None:
        return "no response"
    if status in (404, 405):
        return "there is no such webhook at this URL"
    if 300 <= status < 400:
        return "redirected, and senders do not follow redirects: give the URL it leads to"
    if status in (429, 503):
        return "the app cannot accept it now; the sender would retry"
    return "the app failed; the sender would retry" if status >= 500 else "neither accepted nor rejected"


def _report(attempts: list[_Attempt], address: SplitResult, as_json: bool) -> None:
    """Print the responses.

    Raises:
        click.ClickException: A response is not as expected.
    """
    if as_json:
        print_json(attempts)
    else:
        print_table(("TYPE", "ID", "STATUS", "TIME", "RESPONSE", "MEANING"), list(map(_row, attempts)))
    unexpected = [attempt for attempt in attempts if not attempt.as_expected]
    if unexpected:
        verb = "is" if len(unexpected) == 1 else "are"
        responses = f"{len(unexpected)} of {counted(len(attempts), 'response')} from {address.geturl()}"
        raise click.ClickException(printable(f"{responses} {verb} not as expected{_hint(attempts, unexpected)}"))


def _row(attempt: _Attempt) -> tuple[str, ...]:
    return (
        shortened(attempt.type, 40),
        shortened(attempt.id, _LONGEST_ID),
        str(attempt.status or ""),
        f"{attempt.milliseconds:.0f} ms",
        shortened(_error_in(attempt.answer)),
        attempt.meaning,
    )


def _hint(attempts: list[_Attempt], unexpected: list[_Attempt]) -> str:
    if not any(attempt.connected for attempt in attempts):
        return ". Is the app running? `flask run` starts it; --url says where it is"
    rejected = next((attempt for attempt in unexpected if attempt.is_rejected and attempt.request_id), None)
    if rejected is not None:
        return f". Where the app runs, `flask convex webhooks doctor {shlex.quote(rejected.request_id)}` explains why"
    failed = next((attempt for attempt in unexpected if attempt.status == 500), None)
    if failed is not None:
        return f". Where the app runs, `flask convex webhooks show {shlex.quote(failed.id)}` has the error"
    return ""


def _error_in(line: str) -> str:
    """Return the `error` of a JSON response of this package, or the line itself if it is none."""
    try:
        return msgspec.json.decode(line, type=dict[str, str]).get("error", line)
    except (ValueError, RecursionError):
        return line
