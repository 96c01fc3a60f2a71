"""The options of `flask convex webhooks` that select deliveries, and the search for the selected ones."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flask_convex_http.backend import Backend
from flask_convex_http.cli import options
from flask_convex_http.cli.output import printable
from flask_convex_http.inbox.deliveries import State
from flask_convex_http.inbox.reader import InboxReader
from flask_convex_http.inbox.rerun_results import RerunResult, unknown
from flask_convex_http.inbox.search import DeliveryFilter

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import WebhookDelivery

F = TypeVar("F", bound=Callable[..., Any])
Time = datetime.timedelta | datetime.datetime

source_option = click.option("--source", metavar="NAME", help="Only this webhook: its source, path or provider.")
type_option = click.option("--type", "event_type", metavar="TYPE", help="Only this type, or several: `invoice.*`.")
since_option = click.option(
    "--since", type=options.time, metavar="TIME", help="Only those received since then: 2h, or a date like 2026-01-31."
)


def status_option(*states: str) -> Callable[[F], F]:
    """Return the option `--status` with these choices."""
    return click.option("--status", type=_StatusChoice(states), help="Only those in this state.")


class _StatusChoice(click.Choice[str]):
    """A choice that also accepts "refused", the former name of "rejected"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert("rejected" if value == "refused" else value, param, ctx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The deliveries that the arguments and options of a command select.

    Attributes:
        names: Ids of deliveries, or the senders' ids of events.
        source: The value of `--source`.
        since: The value of `--since`.
        status: The value of `--status`.
        type: The value of `--type`.
    """

    names: Sequence[str] = ()
    source: str | None = None
    since: Time | None = None
    status: State | None = None
    type: str | None = None

    def check(self) -> None:
        """Refuse ids together with filters, and neither of both.

        Raises:
            click.UsageError: The combination is refused.
        """
        filters = (self.since, self.status, self.type)
        if self.names and any(part is not None for part in filters):
            raise click.UsageError("Give ids (and --source, if several webhooks received one), or filters.")
        if not self.names and self.source is None and all(part is None for part in filters):
            raise click.UsageError("Give the ids of deliveries, or filters such as --source and --since.")

    def conditions(self, backend: Backend, states: tuple[State, ...]) -> DeliveryFilter:
        """Return the conditions that the options set.

        Args:
            backend: The application's backend.
            states: The states to select without `--status`.

        Raises:
            click.UsageError: The source is unknown.
        """
        return DeliveryFilter(
            sources=requested_sources(backend, self.source),
            states=states if self.status is None else (self.status,),
            type=self.type,
            since=None if self.since is None else in_milliseconds(self.since, backend.clock()),
        )

    def ids(
        self, backend: Backend, states: tuple[State, ...], limit: int | None = None
    ) -> tuple[list[str], list[RerunResult]]:
        """Return the ids of the selected deliveries, and a result for each given id that is unknown or ambiguous.

        Args:
            backend: The application's backend.
            states: The states to select without `--status`.
            limit: The maximum number of deliveries that filters select.

        Raises:
            click.UsageError: The source is unknown.
        """
        if not self.names:
            return list(InboxReader(backend.inbox).ids(self.conditions(backend, states), limit)), []
        found: dict[str, None] = {}
        problems: list[RerunResult] = []
        for name in dict.fromkeys(self.names):
            delivery = find_one(backend, name, self.source)
            if isinstance(delivery, RerunResult):
                problems.append(delivery)
            else:
                found[delivery.id] = None
        return list(found), problems


def find_one(backend: Backend, name: str, source: str | None) -> WebhookDelivery | RerunResult:
    """Return the delivery with an id, or a result that says that the id is unknown or ambiguous.

    Raises:
        click.UsageError: The source is unknown.
    """
    found = InboxReader(backend.inbox).find(name, requested_sources(backend, source))
    if len(found) == 1:
        return found[0]
    if not found:
        return unknown(name)
    receivers = ", ".join(delivery.source for delivery in found)
    sentence = f"Several webhooks have received {name!r}; give --source, one of {receivers}"
    return RerunResult(printable(name), "refused", sentence)


def requested_sources(backend: Backend, name: str | None, others: Iterable[str] = ()) -> frozenset[str] | None:
    """Return the sources that `--source` selects, or None if it was not given.

    Args:
        backend: The application's backend.
        name: The value of `--source`.
        others: Further known sources.

    Raises:
        click.UsageError: The source is unknown.
    """
    if name is None:
        return None
    try:
        return InboxReader(backend.inbox).sources(name, others)
    except ValueError as error:
        raise click.UsageError(printable(f"{error}.")) from error


def in_milliseconds(time: Time, now: float) -> float:
    """Return a date, or a length of time before now, in milliseconds since the epoch."""
    if isinstance(time, datetime.timedelta):
        return now - time.total_seconds() * 1000
    return time.timestamp() * 1000


def counted_deliveries(count: int) -> str:
    """Return a number of deliveries in words: "1 delivery", "2 deliveries"."""
    return f"{count} deliver{'y' if count == 1 else 'ies'}"
