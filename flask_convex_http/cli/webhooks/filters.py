"""Options of `flask convex webhooks` that say which deliveries are meant, and the ids that people give."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from flask_convex_http.backend import Backend
from flask_convex_http.cli import options
from flask_convex_http.cli.output import printable
from flask_convex_http.engines.base import Snapshot
from flask_convex_http.inbox.deliveries import State
from flask_convex_http.inbox.replay import Step, unknown
from flask_convex_http.inbox.search import DeliveryFilter, named, sources_of, stored_sources
from flask_convex_http.schema.system_tables import WebhookDelivery

F = TypeVar("F", bound=Callable[..., Any])
Time = datetime.timedelta | datetime.datetime

source_option = click.option("--source", metavar="NAME", help="Those of this webhook: its source, path or provider.")
type_option = click.option("--type", "event_type", metavar="TYPE", help="Those of this type; `invoice.*` for several.")
since_option = click.option(
    "--since", type=options.time, metavar="TIME", help="Those received since: 2h ago, or a date such as 2026-01-31."
)


def status_option(*states: str) -> Callable[[F], F]:
    """The option `--status`."""
    return click.option("--status", type=click.Choice(states), help="Those in this state.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the options and arguments of a command have named.

    Attributes:
        names: Ids, ours or the senders'.
        source: See the options, as for the others.
        since: When, or how long ago.
        status: A state.
        type: A type.
    """

    names: Sequence[str] = ()
    source: str | None = None
    since: Time | None = None
    status: State | None = None
    type: str | None = None

    def check(self) -> None:
        """Refuse ids and filters together, and none of both.

        Raises:
            click.UsageError: It is so.
        """
        filters = (self.since, self.status, self.type)
        if self.names and any(part is not None for part in filters):
            raise click.UsageError("Give ids (and --source, if several webhooks know one), or filters.")
        if not self.names and self.source is None and all(part is None for part in filters):
            raise click.UsageError("Give the ids of deliveries, or filters such as --source and --since.")

    def filter(self, backend: Backend, snapshot: Snapshot, states: tuple[State, ...]) -> DeliveryFilter:
        """What is asked of a delivery.

        Args:
            backend: Whose deliveries they are.
            snapshot: Where they are read.
            states: The states that are meant if none was named.

        Raises:
            click.UsageError: Nobody has the source.
        """
        return DeliveryFilter(
            sources=sources_named(backend, snapshot, self.source),
            states=states if self.status is None else (self.status,),
            type=self.type,
            since=None if self.since is None else moment_of(self.since, backend.clock()),
        )

    def ids(
        self, backend: Backend, states: tuple[State, ...], limit: int | None = None
    ) -> tuple[list[str], list[Step]]:
        """The ids of ours that are meant, in the order in which the deliveries came, and what cannot be meant.

        Raises:
            click.UsageError: Nobody has the source.
        """
        with backend.engine.read() as snapshot:
            if not self.names:
                meant = self.filter(backend, snapshot, states)
                return list(meant.ids(backend.inbox.deliveries, snapshot, limit)), []
            found: dict[str, None] = {}
            problems: list[Step] = []
            for name in dict.fromkeys(self.names):
                one = one_of(backend, snapshot, name, self.source)
                if isinstance(one, Step):
                    problems.append(one)
                else:
                    found[one.id] = None
            return list(found), problems


def one_of(backend: Backend, snapshot: Snapshot, name: str, source: str | None) -> WebhookDelivery | Step:
    """The one delivery that an id means, or why that cannot be said.

    Raises:
        click.UsageError: Nobody has the source.
    """
    found = named(backend.inbox.deliveries, snapshot, name, sources_named(backend, snapshot, source))
    if len(found) == 1:
        return found[0]
    if not found:
        return unknown(name)
    sources = ", ".join(delivery.source for delivery in found)
    return Step(printable(name), "refused", f"Several webhooks have received {name!r}; say --source, one of {sources}")


def sources_named(
    backend: Backend, snapshot: Snapshot, name: str | None, others: Iterable[str] = ()
) -> frozenset[str] | None:
    """The sources that `--source` means, all if it was not given.

    Args:
        backend: Whose deliveries they are.
        snapshot: Where they are read.
        name: What was given.
        others: Sources that are known from somewhere else.

    Raises:
        click.UsageError: Nobody has it.
    """
    if name is None:
        return None
    stored = {*others, *stored_sources(backend.inbox.deliveries, snapshot)}
    found = sources_of(stored, backend.webhooks, name)
    if not found:
        known = ", ".join(sorted(stored | {webhook.source for webhook in backend.webhooks}))
        raise click.UsageError(
            printable(f"No webhook and no delivery has the source {name!r}; there are {known or 'none'}.")
        )
    return found


def moment_of(time: Time, now: float) -> float:
    """A time in the past, in milliseconds since the epoch."""
    if isinstance(time, datetime.timedelta):
        return now - time.total_seconds() * 1000
    return time.timestamp() * 1000
