"""`flask convex webhooks send`: signed test deliveries over HTTP, without the provider and without the internet.

The deliveries are made in `samples/signed_deliveries.py`. Nothing is read from the database here: the app that answers
may be another process, or on another machine.
"""

from __future__ import annotations

import datetime
import http.client
import re
import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any
from urllib.parse import SplitResult, urlsplit

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.cli.options import duration
from flask_convex_http.cli.output import json_option, print_json, print_table, printable, shortened
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.search import find_webhook, sender_of
from flask_convex_http.web.state import current_backend
from flask_convex_http.webhooks.samples import events as samples
from flask_convex_http.webhooks.samples.signed_deliveries import Faults, SignedDelivery, Verdict, signed

_BASE = "http://127.0.0.1:5000"
#: How many copies come at once at most: each is a thread and a connection.
_MOST_COPIES = 200
#: How much of an answer is read.
_MOST_BYTES = 64 * 1024
#: Answers that refuse a delivery for what it is. The package's own is 400; an error handler may choose another.
_REFUSALS = (400, 401, 403)
#: Characters of an id that is shown.
_LONGEST_ID = 72
#: What is in the answer if no secret is set, and in those that are about neither secrets nor times.
_ABOUT_SECRETS = re.compile("environment variable|signing secret", re.IGNORECASE)
_ABOUT_CONTENT = re.compile(r"malformed|missing|\bheader\b|webhook (body|form)", re.IGNORECASE)


class _Attempt(msgspec.Struct):
    """One request and what came back, as programs read it.

    Attributes:
        type: The event's type.
        id: The event's id.
        expected: What the app was to do.
        as_expected: Whether it did.
        meaning: What that means, for people.
        status: The answer's status; None if there was no answer.
        milliseconds: How long the answer took.
        answer: The first line of its body, or why there is none.
        connected: Whether there was anybody to answer.
        request_id: The `X-Request-Id` of the answer; empty if it has none.
    """

    type: str
    id: str
    expected: Verdict
    as_expected: bool
    meaning: str
    status: int | None
    milliseconds: float
    answer: str
    connected: bool
    request_id: str

    @property
    def is_refused(self) -> bool:
        """Whether the app has kept it for `doctor`, as far as its answer tells."""
        has_no_secret = self.status == 503 and bool(_ABOUT_SECRETS.search(self.answer))
        return bool(self.request_id) and (self.status in (*_REFUSALS, 413) or has_no_secret)


class _Reply(msgspec.Struct):
    status: int | None
    milliseconds: float
    line: str
    connected: bool = True
    request_id: str = ""

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@click.command("send")
@click.argument("name", metavar="[SOURCE|PROVIDER]", required=False)
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@click.option("--data", metavar="JSON", help="What is to be otherwise in the events; merged deeply.")
@click.option("--url", default=_BASE, show_default=True, help="Where the app is, or the webhook's whole URL.")
@click.option("--source", metavar="SOURCE", help="Which webhook, if several have the provider.")
@click.option("--duplicate", type=click.IntRange(1, _MOST_COPIES), default=1, metavar="N", help="N copies at once.")
@click.option("--reorder", is_flag=True, help="Several events in another order than they happened.")
@click.option("--seed", type=int, help="With --reorder: which order.")
@click.option("--late", type=duration, metavar="DURATION", help="As if it had happened and been signed that long ago.")
@click.option("--tamper", is_flag=True, help="Change the body after it was signed.")
@click.option("--old-secret", is_flag=True, help="Sign with the last of several secrets, or with a wrong one.")
@click.option("--fresh-id", is_flag=True, help="Repeat it under another id, without the secret.")
@click.option("--list", "is_list", is_flag=True, help="List the events there are, and send nothing.")
@json_option
@with_appcontext
def send(
    name: str | None,
    types: Sequence[str],
    data: str | None,
    url: str,
    source: str | None,
    duplicate: int,
    reorder: bool,
    seed: int | None,
    late: datetime.timedelta | None,
    tamper: bool,
    old_secret: bool,
    fresh_id: bool,
    is_list: bool,
    as_json: bool,
) -> None:
    """Send signed test deliveries to the running app, as the provider would.

    The webhook is named by its source, its path or its provider; clerk and resend are senders too. --data goes into
    Stripe's data.object, Slack's event, the data of senders that have data, and else into the payload; with it TYPE may
    be any. The exit code is 1 if an answer is not what it should be: a forgery accepted, or a genuine delivery refused.

    \b
    Examples:
      flask convex webhooks send stripe checkout.session.completed
      flask convex webhooks send stripe checkout.session.completed --data '{"amount_total": 950}' --duplicate 5
      flask convex webhooks send clerk user.created user.updated user.deleted --reorder
      flask convex webhooks send github push --tamper --url https://shop.example
      flask convex webhooks send --list
    """
    if is_list:
        _list(name, as_json)
        return
    if name is None or not types:
        raise click.UsageError("Say which webhook, and the types of the events: stripe invoice.paid. See --list.")
    if seed is not None and not reorder:
        raise click.UsageError("--seed goes with --reorder.")
    faults = Faults(
        duplicate=duplicate,
        reorder=reorder,
        seed=seed,
        late=late,
        tamper=tamper,
        old_secret=old_secret,
        fresh_id=fresh_id,
    )
    _check_types(types)
    webhook = _found(name, source)
    deliveries = _made(webhook, sender_of(webhook, name), types, _parsed(data), faults)
    address = _address(url, webhook.path)
    _report(_send_all(address, webhook, deliveries), address, as_json)


def _check_types(types: Sequence[str]) -> None:
    for type in types:
        try:
            type.encode()
        except UnicodeEncodeError:  # what the shell was given is no UTF-8
            raise click.BadParameter(f"{printable(repr(type))} is not text.", param_hint="'[TYPE]...'") from None


def _list(name: str | None, as_json: bool) -> None:
    if name is not None and name not in samples.SENDERS:
        name = _found(name, None).provider.name
    listed = {sender: samples.names(sender) for sender in ([name] if name else samples.SENDERS)}
    if as_json:
        print_json(listed)
        return
    print_table(("SENDER", "TYPE"), [(sender, type) for sender, types in listed.items() for type in types])


def _parsed(data: str | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except ValueError as error:  # also what is JSON but no object, or no text
        what = "It is not text" if isinstance(error, UnicodeEncodeError) else str(error)
        raise click.BadParameter(f"{printable(what)}: write a JSON object.", param_hint="'--data'") from error


def _made(
    webhook: Webhook, sender: str, types: Sequence[str], data: dict[str, Any] | None, faults: Faults
) -> list[SignedDelivery]:
    now = current_backend().clock()
    try:
        made = samples.events(sender, types, data, now=faults.sent_at(now))
        return signed(webhook.provider, made, faults, now=now)
    except (ValueError, NotImplementedError) as error:
        raise click.ClickException(printable(str(error))) from error


def _found(name: str, source: str | None) -> Webhook:
    try:
        return find_webhook(current_backend().webhooks, name, source)
    except ValueError as error:
        raise click.UsageError(f"{printable(str(error))}.") from error


# --- over HTTP -------------------------------------------------------------------------------------------------------


def _address(url: str, path: str) -> SplitResult:
    """The webhook's URL, from that or from where the app is."""
    address = urlsplit(url)
    try:
        usable = address.scheme in ("http", "https") and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:  # a port that is none
        usable = False
    if not usable:
        raise click.BadParameter(f"{url!r} is not a URL such as {_BASE}.", param_hint="'--url'")
    base = address.path.rstrip("/")
    return address if address.path.endswith(path) else address._replace(path=base + path)


def _send_all(address: SplitResult, webhook: Webhook, deliveries: list[SignedDelivery]) -> list[_Attempt]:
    patience = webhook.provider.profile.timeout.total_seconds()
    return [
        attempt for delivery in deliveries for attempt in _judged(delivery, _send_copies(address, patience, delivery))
    ]


def _send_copies(address: SplitResult, patience: float, delivery: SignedDelivery) -> list[_Reply]:
    together = Barrier(delivery.copies)

    def one(_: int) -> _Reply:
        return _post(address, patience, delivery, together)

    with ThreadPoolExecutor(delivery.copies) as threads:
        return list(threads.map(one, range(delivery.copies)))


def _post(address: SplitResult, patience: float, delivery: SignedDelivery, together: Barrier) -> _Reply:
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=patience)
    with closing(connection):
        problem = _problem(connection.connect)
        together.wait()  # for those too that could not connect: else nobody would go on
        if problem:
            return _Reply(None, 0, f"no connection: {problem}", connected=False)
        reply = _Reply(None, 0, "")
        started = time.perf_counter()
        problem = _problem(lambda: _exchange(connection, address, delivery, reply))
        reply.milliseconds = (time.perf_counter() - started) * 1000
        reply.line = f"no answer: {problem}" if problem else reply.line
        return reply


def _exchange(
    connection: http.client.HTTPConnection, address: SplitResult, delivery: SignedDelivery, reply: _Reply
) -> None:
    target = address._replace(scheme="", netloc="", fragment="").geturl()
    connection.request("POST", target, delivery.body, dict(delivery.headers))
    answer = connection.getresponse()
    reply.line = answer.read(_MOST_BYTES).decode("utf-8", "replace").partition("\n")[0].strip()
    reply.request_id = answer.headers.get("X-Request-Id", "")
    reply.status = answer.status


def _problem(do: Callable[[], None]) -> str:
    """What went wrong with the connection; nothing, if nothing did."""
    try:
        do()
    except TimeoutError:
        return "the sender would have given up by now"
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: what cannot be a host or a header
        return str(error) or type(error).__name__
    return ""


# --- what it means ---------------------------------------------------------------------------------------------------


def _judged(delivery: SignedDelivery, replies: list[_Reply]) -> list[_Attempt]:
    """Each copy's attempt. Which one had the effect nobody can tell from outside: it is told of the first."""
    first = next((reply for reply in replies if reply.is_accepted), None)
    return [
        _attempt(delivery, reply, _meaning(delivery, reply) if reply is first else _of_copy(delivery, reply, first))
        for reply in replies
    ]


def _attempt(delivery: SignedDelivery, reply: _Reply, judgement: tuple[bool, str]) -> _Attempt:
    as_expected, meaning = judgement
    return _Attempt(
        type=delivery.type,
        id=delivery.id,
        expected=delivery.verdict,
        as_expected=as_expected,
        meaning=meaning,
        status=reply.status,
        milliseconds=round(reply.milliseconds, 1),
        answer=reply.line,
        connected=reply.connected,
        request_id=reply.request_id,
    )


def _of_copy(delivery: SignedDelivery, reply: _Reply, first: _Reply | None) -> tuple[bool, str]:
    if first is None or not reply.is_accepted or delivery.verdict == "refused":
        return _meaning(delivery, reply)
    if (reply.status, reply.line) == (first.status, first.line):
        return True, "copy: the same answer"
    return False, "copy: ANOTHER ANSWER, so the handler may have run twice"


def _meaning(delivery: SignedDelivery, reply: _Reply) -> tuple[bool, str]:
    status = reply.status
    if status is None:
        return False, "not answered"
    accepted, refused = reply.is_accepted, status in _REFUSALS
    if delivery.verdict == "accepted" and accepted:
        return True, f"accepted, as it should be: {delivery.reason}"
    if delivery.verdict == "refused" and refused:
        return True, f"refused, as it should be: {delivery.reason}"
    if delivery.verdict == "refused" and accepted:
        return False, f"ACCEPTED, and it should have been refused: {delivery.reason}"
    if refused and _ABOUT_CONTENT.search(reply.line):
        return False, "REFUSED, and not for its secret or time: see the answer"
    if refused:
        return False, "REFUSED, and it is genuine: has the app the same secret, and the same time?"
    return False, _otherwise(status)


def _otherwise(status: int) -> str:
    if status in (404, 405):
        return "there is no such webhook at this URL"
    if 300 <= status < 400:
        return "redirected, which senders do not follow: give the URL it leads to"
    if status in (429, 503):
        return "the app cannot take it now; the sender would send it again"
    return "the app failed; the sender would send it again" if status >= 500 else "neither accepted nor refused"


def _report(attempts: list[_Attempt], address: SplitResult, as_json: bool) -> None:
    """Say what came back; the exit status is 1 if something is not as it should be."""
    if as_json:
        print_json(attempts)
    else:
        print_table(("TYPE", "ID", "STATUS", "TIME", "ANSWER", "MEANING"), list(map(_row, attempts)))
    wrong = [attempt for attempt in attempts if not attempt.as_expected]
    if wrong:
        sentence = f"{len(wrong)} of {len(attempts)} answers of {address.geturl()} are not as they should be"
        raise click.ClickException(printable(sentence + _hint(attempts, wrong)))


def _row(attempt: _Attempt) -> tuple[str, ...]:
    request = f" (request {shortened(attempt.request_id)})" if attempt.is_refused else ""
    return (
        shortened(attempt.type, 40),
        shortened(attempt.id, _LONGEST_ID),
        str(attempt.status or ""),
        f"{attempt.milliseconds:.0f} ms",
        shortened(_error_in(attempt.answer)),
        attempt.meaning + request,
    )


def _hint(attempts: list[_Attempt], wrong: list[_Attempt]) -> str:
    if not any(attempt.connected for attempt in attempts):
        return ". Is the app running? `flask run` starts it; --url says where it is"
    refused = next((attempt for attempt in wrong if attempt.is_refused), None)
    if refused is None:
        return ""
    return f". Where the app runs, `flask convex webhooks doctor {shlex.quote(refused.request_id)}` says why"


def _error_in(line: str) -> str:
    """An error's own words, if they are in JSON as this package writes them."""
    try:
        return msgspec.json.decode(line, type=dict[str, str]).get("error", line)
    except (ValueError, RecursionError):
        return line
