"""The webhooks of an application: their paths, senders, options and handlers.

Registering a router fills the registry. The inbox, the workers and the commands read it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote

from flask_convex_http.error_texts import plain
from flask_convex_http.errors import RegistrationError, WebhookFailedError
from flask_convex_http.log import logger_of
from flask_convex_http.retry import Retry
from flask_convex_http.runtime import MutationCtx
from flask_convex_http.schema.system_tables import StoredResponse
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import KEPT_HEADERS, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at

logger = logger_of("webhooks")

Mode = Literal["transaction", "enqueue"]
Dedupe = Literal["id", "content"]
OrderBy = str | Callable[[WebhookEvent], Any]

MODES: tuple[Mode, ...] = ("transaction", "enqueue")
DEDUPES: tuple[Dedupe, ...] = ("id", "content")
#: The retries of a handler that a worker runs: about two days in all.
DEFAULT_RETRY = Retry(max_attempts=12, backoff=timedelta(seconds=10), max_backoff=timedelta(hours=12))
#: Retention of bodies and ids. Ids identify duplicates, so they are kept longer than any sender retries. If no time is
#: signed, anyone may send a duplicate at any time.
DEFAULT_BODIES = timedelta(days=30)
DEFAULT_IDS = timedelta(days=90)
UNTIMED_IDS = timedelta(days=400)

_LONGEST_LANE = 300
_LONGEST_EXPECTATION = timedelta(days=30)


class DeclinedError(Exception):
    """A handler returned an error status: roll back its effects and send its response.

    Args:
        answer: The response.
    """

    def __init__(self, answer: StoredResponse) -> None:
        super().__init__(f"The handler answered {answer.status}")
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a webhook.

    Attributes:
        source: The name in the inbox, by default the path.
        mode: "transaction" runs the handler before the response, "enqueue" lets a worker run it later.
        retry: The retries of the worker.
        order_by: The lane of an event: a path into its payload, such as `data.object.customer`, or a function of it.
        keep_ids: How long a delivery is remembered.
        keep_bodies: How long its headers and body are kept.
        dedupe: "id" takes a delivery with a known id for a duplicate, "content" also one with a known type and body.
        dedupe_window: With "content", how long after the first delivery an equal one is a duplicate. By default as long
            as ids are kept.
        expect_every: How often a delivery is expected at least. `flask convex check` and the health check report a
            webhook that has received nothing for longer.

    Raises:
        RegistrationError: A value cannot work, or not together with the others.
    """

    source: str | None = None
    mode: Mode = "transaction"
    retry: Retry | None = None
    order_by: OrderBy | None = None
    keep_ids: timedelta | None = None
    keep_bodies: timedelta | None = None
    dedupe: Dedupe = "id"
    dedupe_window: timedelta | None = None
    expect_every: timedelta | None = None

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
        if self.dedupe not in DEDUPES:
            raise RegistrationError(f'dedupe={self.dedupe!r} must be "id" or "content"')
        if self.dedupe_window is not None:
            _check_window(self.dedupe, self.dedupe_window)
        for name in ("keep_ids", "keep_bodies"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, timedelta) and value >= timedelta(0)):
                raise RegistrationError(f"{name}={value!r} must be a timedelta of 0 or more")
        _check_expected(self.expect_every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook of an application.

    Attributes:
        source: The name in the inbox, unique in the application.
        path: The path of its URL.
        provider: The sender.
        name_for: Returns the name of the handler for a type of event, or None if there is none.
        run: Runs the handler and returns its result.
        mode: See `Options`.
        retry: See `Options`.
        lane: Returns the lane of an event, or None.
        keep_ids: How long a delivery is remembered, in milliseconds.
        keep_bodies: How long its headers and body are kept, in milliseconds.
        content_window: How long an equal content is a duplicate, in milliseconds. None if only the id decides.
        expect_every: How often a delivery is expected at least, in milliseconds. None if any silence is fine.
        tenant: The tenant, for the webhook of one tenant; see `per_tenant`.
    """

    source: str
    path: str
    provider: Provider
    name_for: Callable[[str], str | None]
    run: Callable[[MutationCtx, WebhookEvent], StoredResponse]
    mode: Mode = "transaction"
    retry: Retry = DEFAULT_RETRY
    lane: Callable[[WebhookEvent], str | None] = lambda event: None
    keep_ids: float = DEFAULT_IDS.total_seconds() * 1000
    keep_bodies: float = DEFAULT_BODIES.total_seconds() * 1000
    content_window: float | None = None
    expect_every: float | None = None
    tenant: str | None = None

    @classmethod
    def of(
        cls,
        path: str,
        provider: Provider,
        name_for: Callable[[str], str | None],
        run: Callable[[MutationCtx, WebhookEvent], StoredResponse],
        options: Options,
    ) -> Webhook:
        """Return the webhook for its options.

        Raises:
            RegistrationError: Deliveries would be purged before the sender stops retrying.
        """
        keep_ids = options.keep_ids if options.keep_ids is not None else _ids_of(provider)
        keep_bodies = options.keep_bodies if options.keep_bodies is not None else min(DEFAULT_BODIES, keep_ids)
        window = options.dedupe_window
        _check_kept(path, provider, options.mode, keep_ids, keep_bodies)
        if window is not None and window > keep_ids:
            raise RegistrationError(f"{path}: dedupe_window={window} is longer than keep_ids={keep_ids}")
        return cls(
            source=options.source or path,
            path=path,
            provider=provider,
            name_for=name_for,
            run=run,
            mode=options.mode,
            retry=options.retry or DEFAULT_RETRY,
            lane=_lane(options.order_by, path),
            keep_ids=keep_ids.total_seconds() * 1000,
            keep_bodies=keep_bodies.total_seconds() * 1000,
            content_window=_content_window(options),
            expect_every=options.expect_every.total_seconds() * 1000 if options.expect_every else None,
        )

    def of_tenant(self, tenant: str, provider: Provider) -> Webhook:
        """Return the webhook of one tenant, with a source and a path of its own.

        Args:
            tenant: The tenant.
            provider: The provider, with the tenant's secrets if they are known.
        """
        path = self._variable().sub(lambda _: quote(tenant), self.path)
        return replace(self, source=self.tenant_source(tenant), path=path, provider=provider, tenant=tenant)

    def tenant_source(self, tenant: str) -> str:
        """Return the source of one tenant: the source with the tenant in place of the variable, or after it."""
        if self._variable().search(self.source):
            return self._variable().sub(lambda _: tenant, self.source)
        return f"{self.source}/{tenant}"

    def tenant_in(self, source: str) -> str | None:
        """Return the tenant of a source, or None if it is not that of a tenant of this webhook."""
        if self.provider.tenants is None or self.tenant is not None:
            return None
        before, after = (*self._variable().split(self.source, maxsplit=1), "")[:2]
        before += "" if self._variable().search(self.source) else "/"
        tenant = source[len(before) : len(source) - len(after)]
        return tenant if tenant and before + tenant + after == source else None

    def _variable(self) -> re.Pattern[str]:
        name = self.provider.tenants.variable if self.provider.tenants else ""
        return re.compile(rf"<(?:[^<>]*:)?{name}>")

    def handles(self, event_type: str) -> bool:
        """Return whether there is a handler for a type of event."""
        return self.name_for(event_type) is not None

    def handler_name(self, event_type: str) -> str:
        """Return the name of the handler for a type of event, for people."""
        return self.name_for(event_type) or "handler"

    def handle(self, ctx: MutationCtx, event: WebhookEvent) -> StoredResponse:
        """Run the handler, and return the response.

        Raises:
            DeclinedError: The handler returned an error status.
            WebhookFailedError: The handler returned a status that the sender treats as a failure.
            Exception: Any exception of the handler.
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
        #: The names of the headers that any of the senders needs, without those that contain a secret.
        self.kept_headers: frozenset[str] = KEPT_HEADERS
        self._credential_headers: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Webhook]:
        """Yield all webhooks in the order of their sources."""
        return iter([self._webhooks[source] for source in sorted(self._webhooks)])

    def __len__(self) -> int:
        return len(self._webhooks)

    def add(self, webhook: Webhook, endpoint: str = "") -> None:
        """Add a webhook.

        Args:
            webhook: The webhook.
            endpoint: The endpoint of its route.

        Raises:
            RegistrationError: Another webhook has its source.
        """
        other = self._webhooks.setdefault(webhook.source, webhook)
        if other.path != webhook.path or other.provider is not webhook.provider:
            raise RegistrationError(
                f"The webhooks {other.path} and {webhook.path} have one source, {webhook.source!r}: what one has "
                "received the other would take for a copy; give each its own source="
            )
        self._check_tenants(webhook)
        self._webhooks[webhook.source] = webhook
        self._by_endpoint[endpoint] = webhook
        self._credential_headers |= webhook.provider.credential_headers
        self.kept_headers = (self.kept_headers | webhook.provider.kept_headers) - self._credential_headers

    def at(self, endpoint: str) -> Webhook:
        """Return the webhook of a route."""
        return self._by_endpoint[endpoint]

    def get(self, source: str) -> Webhook | None:
        """Return the webhook with this source, or that of the tenant with this source, or None."""
        return self._webhooks.get(source) or next(self._of_tenants(source), None)

    def find(self, name: str) -> list[Webhook]:
        """Return the webhook with this source or path, or else all webhooks of this provider."""
        exact = [webhook for webhook in self if name in (webhook.source, webhook.path)]
        exact = exact or list(self._of_tenants(name))
        return exact or [webhook for webhook in self if webhook.provider.name == name]

    def _of_tenants(self, source: str) -> Iterator[Webhook]:
        for webhook in self:
            tenant = webhook.tenant_in(source)
            if tenant is not None:
                yield webhook.of_tenant(tenant, webhook.provider)

    def _check_tenants(self, webhook: Webhook) -> None:
        for other in self:
            if other.source != webhook.source and (other.tenant_in(webhook.source) or webhook.tenant_in(other.source)):
                raise RegistrationError(
                    f"The sources {other.source!r} and {webhook.source!r} are not distinct, since one has tenants: "
                    "give one of the webhooks another source="
                )


def _content_window(options: Options) -> float | None:
    """Return how long an equal content is a duplicate: for the window, or for as long as its delivery is kept."""
    if options.dedupe != "content":
        return None
    return math.inf if options.dedupe_window is None else options.dedupe_window.total_seconds() * 1000


def _check_window(dedupe: Dedupe, window: timedelta) -> None:
    if dedupe != "content":
        raise RegistrationError('dedupe_window= needs dedupe="content": ids are remembered for keep_ids=')
    if not isinstance(window, timedelta) or window <= timedelta(0):
        raise RegistrationError(
            f"dedupe_window={window!r} must be a timedelta of more than 0, such as timedelta(hours=1)"
        )


def _check_expected(period: timedelta | None) -> None:
    if period is not None and not (isinstance(period, timedelta) and timedelta(0) < period <= _LONGEST_EXPECTATION):
        raise RegistrationError(
            f"expect_every={period!r} must be a timedelta of more than 0, up to 30 days, such as timedelta(hours=6)"
        )


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
            unseen.clear()  # one warning is enough to show a misspelt path
            logger.warning(
                "Webhook %s: order_by=%r is not in a payload of type %r; such deliveries have no order",
                *(path, order_by, event.type),
            )
        return found

    return lane


def _as_lane(value: Any) -> str | None:
    """Return the name of a lane, or None for a value that is no text or number, or is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return None
    return plain(str(value))[:_LONGEST_LANE]
