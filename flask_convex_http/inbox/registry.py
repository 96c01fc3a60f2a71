"""The webhooks an application receives: where each comes in, who sends, and how its handler is to be run.

A registry of them is filled when routers are registered, and read by the inbox, the workers and the command line. What
is done with a delivery is `inbox`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from flask_convex_http.errors import RegistrationError, WebhookFailedError, plain
from flask_convex_http.retry import Retry
from flask_convex_http.runtime.context import MutationCtx
from flask_convex_http.schema.system_tables import Answer
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import WebhookEvent
from flask_convex_http.webhooks.parsing import field_at

logger = logging.getLogger("flask_convex_http")

Mode = Literal["transaction", "enqueue"]
OrderBy = str | Callable[[WebhookEvent], Any]

MODES: tuple[Mode, ...] = ("transaction", "enqueue")
#: How a handler is tried again that a worker runs: about two days in all.
DEFAULT_RETRY = Retry(max_attempts=12, backoff=timedelta(seconds=10), max_backoff=timedelta(hours=12))
#: How long bodies and ids are kept. Ids are what tells a copy from a new delivery, so they are kept longer than any
#: sender repeats one; where no time is signed a copy may come from anybody at any time.
DEFAULT_BODIES = timedelta(days=30)
DEFAULT_IDS = timedelta(days=90)
UNTIMED_IDS = timedelta(days=400)

_LONGEST_LANE = 300


class DeclinedError(Exception):
    """A handler has answered an error: what it has written is to be undone, and its answer sent.

    Args:
        answer: The answer.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"The handler answered {answer.status}")
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the deliveries of one webhook are dealt with.

    Attributes:
        source: Its name in the inbox; its path if not given.
        mode: "transaction": the handler runs before the sender is answered. "enqueue": a worker runs it afterwards.
        retry: How often the worker tries.
        order_by: The lane of an event: a path into its payload, such as `data.object.customer`, or a function of it.
        keep_ids: How long a delivery is remembered.
        keep_bodies: How long its headers and body are kept.

    Raises:
        RegistrationError: A value cannot work, or not with the others.
    """

    source: str | None = None
    mode: Mode = "transaction"
    retry: Retry | None = None
    order_by: OrderBy | None = None
    keep_ids: timedelta | None = None
    keep_bodies: timedelta | None = None

    def __post_init__(self) -> None:
        if self.source is not None and not _is_name(self.source):
            raise RegistrationError(f"source={self.source!r} must be 1 to 200 printable characters, such as 'stripe'")
        if self.mode not in MODES:
            raise RegistrationError(f'mode={self.mode!r} must be "transaction" or "enqueue"')
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise RegistrationError(f"retry={self.retry!r} must be a Retry(max_attempts=...)")
        for name in ("retry", "order_by"):
            if self.mode != "enqueue" and getattr(self, name) is not None:
                raise RegistrationError(f'{name}= needs mode="enqueue": else the sender decides when to try again')
        if not (self.order_by is None or callable(self.order_by) or _is_path(self.order_by)):
            raise RegistrationError(
                f"order_by={self.order_by!r} must be a path into the payload such as 'data.object.customer', or a "
                "function of the event"
            )
        for name in ("keep_ids", "keep_bodies"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, timedelta) and value >= timedelta(0)):
                raise RegistrationError(f"{name}={value!r} must be a timedelta of 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook of an application.

    Attributes:
        source: Its name in the inbox, unique in the application.
        path: Its URL's path.
        provider: Who sends.
        name: The handler's name, for people.
        run: Runs the handler and answers what it answers.
        mode: See `Options`.
        retry: See `Options`.
        lane: Answers the lane of an event, None if it has none.
        keep_ids: How long a delivery is remembered, in milliseconds.
        keep_bodies: How long its headers and body are kept, in milliseconds.
    """

    source: str
    path: str
    provider: Provider
    name: str
    run: Callable[[MutationCtx, WebhookEvent], Answer]
    mode: Mode = "transaction"
    retry: Retry = DEFAULT_RETRY
    lane: Callable[[WebhookEvent], str | None] = lambda event: None
    keep_ids: float = DEFAULT_IDS.total_seconds() * 1000
    keep_bodies: float = DEFAULT_BODIES.total_seconds() * 1000

    @classmethod
    def of(
        cls,
        path: str,
        provider: Provider,
        name: str,
        run: Callable[[MutationCtx, WebhookEvent], Answer],
        options: Options,
    ) -> Webhook:
        """A webhook with what its options say.

        Raises:
            RegistrationError: Deliveries would be forgotten before the sender has stopped repeating them.
        """
        keep_ids = options.keep_ids if options.keep_ids is not None else _ids_of(provider)
        keep_bodies = options.keep_bodies if options.keep_bodies is not None else min(DEFAULT_BODIES, keep_ids)
        _check_kept(path, provider, options.mode, keep_ids, keep_bodies)
        return cls(
            source=options.source or path,
            path=path,
            provider=provider,
            name=name,
            run=run,
            mode=options.mode,
            retry=options.retry or DEFAULT_RETRY,
            lane=_lane(options.order_by, path),
            keep_ids=keep_ids.total_seconds() * 1000,
            keep_bodies=keep_bodies.total_seconds() * 1000,
        )

    def handle(self, ctx: MutationCtx, event: WebhookEvent) -> Answer:
        """Run the handler.

        Raises:
            DeclinedError: It has answered an error.
            WebhookFailedError: It has answered what the sender would take for no answer yet.
            Exception: What it raises.
        """
        answer = self.run(ctx, event)
        if answer.status < 200:
            raise WebhookFailedError(f"The handler answered {answer.status}, after which a client waits on: answer 200")
        if answer.status >= 400:
            raise DeclinedError(answer)
        return answer


class Webhooks:
    """The webhooks of an application, by source."""

    def __init__(self) -> None:
        self._webhooks: dict[str, Webhook] = {}
        self._by_endpoint: dict[str, Webhook] = {}

    def __iter__(self) -> Iterator[Webhook]:
        """All, in the order of their sources."""
        return iter([self._webhooks[source] for source in sorted(self._webhooks)])

    def __len__(self) -> int:
        return len(self._webhooks)

    def add(self, webhook: Webhook, endpoint: str = "") -> None:
        """Register one.

        Args:
            webhook: The webhook.
            endpoint: What the web framework calls its route.

        Raises:
            RegistrationError: Another one has its source.
        """
        other = self._webhooks.setdefault(webhook.source, webhook)
        if other.path != webhook.path or other.provider is not webhook.provider:
            raise RegistrationError(
                f"The webhooks {other.path} and {webhook.path} have one source, {webhook.source!r}: what one has "
                "received the other would take for a copy; give each its own source="
            )
        self._webhooks[webhook.source] = webhook
        self._by_endpoint[endpoint] = webhook

    def at(self, endpoint: str) -> Webhook:
        """The webhook of a route."""
        return self._by_endpoint[endpoint]

    def get(self, source: str) -> Webhook | None:
        """The webhook of a source."""
        return self._webhooks.get(source)

    def find(self, name: str) -> list[Webhook]:
        """The webhook whose source or path this is, or else all whose provider it is."""
        exact = [webhook for webhook in self if name in (webhook.source, webhook.path)]
        return exact or [webhook for webhook in self if webhook.provider.name == name]


def _ids_of(provider: Provider) -> timedelta:
    return max(DEFAULT_IDS if provider.signs_time else UNTIMED_IDS, 2 * provider.window)


def _check_kept(path: str, provider: Provider, mode: Mode, keep_ids: timedelta, keep_bodies: timedelta) -> None:
    window = provider.window
    if keep_ids <= window:
        raise RegistrationError(
            f"{path}: keep_ids={keep_ids} is too short: {provider.name} may send a delivery again for {window}, "
            "or anybody within the tolerance, and it would be taken for a new one; keep ids longer"
        )
    if keep_bodies > keep_ids:
        raise RegistrationError(f"{path}: keep_bodies={keep_bodies} is longer than keep_ids={keep_ids}")
    if mode == "enqueue" and not keep_bodies:
        raise RegistrationError(f"{path}: with mode='enqueue' the body must be kept until its handler has run")


def _is_name(source: object) -> bool:
    return isinstance(source, str) and 0 < len(source) <= 200 and source.isprintable()


def _is_path(order_by: object) -> bool:
    return isinstance(order_by, str) and bool(order_by) and all(order_by.split("."))


def _lane(order_by: OrderBy | None, path: str) -> Callable[[WebhookEvent], str | None]:
    if order_by is None:
        return lambda event: None
    if callable(order_by):
        return lambda event: _as_lane(order_by(event))
    unseen = [order_by]

    def lane(event: WebhookEvent) -> str | None:
        found = _as_lane(field_at(event.payload, order_by))
        if found is None and unseen:
            unseen.clear()  # once is enough to show a misspelt path
            logger.warning(
                "Webhook %s: order_by=%r is not in a payload of type %r; such deliveries have no order",
                *(path, order_by, event.type),
            )
        return found

    return lane


def _as_lane(value: Any) -> str | None:
    """A lane's name; what is no text or number, or says nothing, has none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return None
    return plain(str(value))[:_LONGEST_LANE]
