"""Webhooks over HTTP: the view behind `HttpRouter.webhook`, from the bytes of a request to the inbox and back.

The view checks the secret, the size of the body and the signature, in this order. Only then is the database used.
Rejected deliveries are recorded outside the database (`inbox.rejections`). What anyone can cause, an error for which
nothing can be verified included, is recorded and logged within the same bounds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import Flask, Request, Response, current_app
from werkzeug.exceptions import HTTPException, NotFound

from flask_convex_http.backend import Backend
from flask_convex_http.errors import (
    ConvexError,
    ConvexHTTPError,
    MissingSecretError,
    PayloadTooLargeError,
    RateLimitedError,
    RegistrationError,
    VerificationError,
    VerificationUnavailableError,
    WebhookFailedError,
)
from flask_convex_http.functions.function import QueryFunction
from flask_convex_http.inbox.batches import receive_batch
from flask_convex_http.inbox.inbox import plain_response
from flask_convex_http.inbox.registry import Options, Webhook
from flask_convex_http.inbox.tenants import webhook_of_tenant
from flask_convex_http.runtime import Caller, MutationCtx
from flask_convex_http.schema.system_tables import StoredResponse
from flask_convex_http.web.matching import path_of, variables_of
from flask_convex_http.web.requests.body_streams import read_body
from flask_convex_http.web.requests.limits import Limits
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.requests.requests import refuse_compressed
from flask_convex_http.web.responses.responses import to_response
from flask_convex_http.web.responses.stored_responses import as_response, stored
from flask_convex_http.web.state import EXTENSION, backend_of, site_of, webhooks_of
from flask_convex_http.web.webhooks.event_handlers import EventHandler, EventHandlers
from flask_convex_http.web.webhooks.floods import note_rejection
from flask_convex_http.web.webhooks.handshakes import handshake_response
from flask_convex_http.web.webhooks.rejected_deliveries import greeted, record, rejected, unread
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import Delivery, WebhookEvent
from flask_convex_http.webhooks.headers import WsgiHeaders
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.tenant_secrets import TenantSecrets
from flask_convex_http.webhooks.verification import judge


@dataclass(frozen=True, slots=True)
class WebhookRoute:
    """A webhook of a router, whose full path is known when the router is registered.

    Attributes:
        provider: The sender.
        options: The options of `HttpRouter.webhook`.
        handlers: The handlers, each with its pattern.
    """

    provider: Provider
    options: Options
    handlers: EventHandlers

    @classmethod
    def of(cls, rule: str, provider: Provider, options: Options) -> WebhookRoute:
        """Return a webhook without handlers, with its options checked.

        Raises:
            RegistrationError: The webhook cannot work.
        """
        if not isinstance(getattr(provider, "profile", None), Profile):
            raise RegistrationError(
                f"{type(provider).__name__} has no profile, which says how its sender behaves; give the class "
                "profile = Profile(...)"
            )
        _check_variables(rule, provider, is_whole=False)
        provider.check_secrets(start=False)
        route = cls(provider, options, EventHandlers(provider))
        route._webhook(rule)  # checks the options now
        return route

    @property
    def events(self) -> tuple[EventHandler, ...]:
        """The handlers in the order of their registration, with their patterns, types and docstrings."""
        return tuple(self.handlers.by_pattern.values())

    def register(self, app: Flask, endpoint: str, path: str) -> None:
        """Add the webhook to an app's inbox, under its full path.

        Raises:
            RegistrationError: Another webhook has its source, the annotation of a handler cannot work, or the value of
                a variable is no secret of this sender.
        """
        path = path_of(app, endpoint, path)
        _check_variables(path, self.provider)
        self.provider.check_secrets(start=True)
        if EXTENSION in app.extensions:  # otherwise the first delivery does so
            self.handlers.bind(backend_of(app).schema)
        webhooks_of(app).add(self._webhook(path), endpoint)

    def _webhook(self, path: str) -> Webhook:
        run = _run(self.handlers, self.provider)
        return Webhook.of(path, self.provider, self.handlers.name_for, run, self.options)

    def receive(self, app: Flask, request: Request, limits: Limits) -> Response:
        """Receive a delivery; the view.

        Args:
            app: The app.
            request: The request.
            limits: The limits of the body.
        """
        backend = backend_of(app)
        webhook = webhooks_of(app).at(request.endpoint or "")
        if webhook.provider.tenants is not None:
            webhook = _of_tenant(backend, webhook, request, webhook.provider.tenants)
        refuse_compressed(request.environ)
        if request.method != "POST":
            return greeted(app, backend, webhook, request)
        provider, body = webhook.provider, b""
        try:
            keys = provider.current_keys()  # before the body is read: without a secret nothing can be verified
            most_bytes = limits.body_bytes(app, backend.settings)
            body = read_body(request, most_bytes)
            event = judge(provider, keys, Delivery(WsgiHeaders(request.environ), body, backend.clock()))
        except (MissingSecretError, PayloadTooLargeError) as error:
            return unread(app, request, error, is_logged=record(backend, webhook, request, body, error))
        except VerificationUnavailableError as error:
            is_logged = backend.rejections.admit(webhook.source, "unavailable") is not None
            return unread(app, request, error, is_logged=is_logged)
        if isinstance(event, VerificationError):
            response = rejected(app, backend, webhook, request, body, event)
            note_rejection(app, webhook, request, limits)
            return response
        limits.apply(request, app, backend.settings)  # for a handler that reads the request itself
        return _accepted(app, backend, webhook, request, event)


def _accepted(app: Flask, backend: Backend, webhook: Webhook, request: Request, event: WebhookEvent) -> Response:
    """Return the response to a verified delivery."""
    greeting = webhook.provider.handshake(event)
    if greeting is not None:
        return handshake_response(app, greeting)
    try:
        events = webhook.provider.split(event)
    except VerificationError as error:  # of an element
        return rejected(app, backend, webhook, request, event.body, error)
    try:
        answer = _run_events(backend, webhook, request, event, events)
    except ConvexHTTPError as error:
        if error.status < 500 and not isinstance(error, ConvexError | RateLimitedError):
            raise WebhookFailedError("A webhook's handler failed") from error  # the delivery itself is valid
        raise
    return to_response(app, as_response(app, answer))


def _check_variables(path: str, provider: Provider, *, is_whole: bool = True) -> None:
    """Check the variables of a path: none, or the one of `per_tenant`.

    Args:
        path: The path.
        provider: The provider.
        is_whole: Whether the path has the prefixes of all blueprints.

    Raises:
        RegistrationError: There is another variable, or that of the tenant is missing.
    """
    tenants = provider.tenants
    others = variables_of(path) - ({tenants.variable} if tenants else set())
    if others:
        raise RegistrationError(
            f"The webhook {path} has a variable, {', '.join(sorted(others))}: a webhook is one sender at one URL; "
            "register one for each, or give the provider secret=per_tenant(...)"
        )
    if tenants is None:
        return
    if is_whole and tenants.variable not in variables_of(path):
        raise RegistrationError(
            f"The webhook {path} has no variable {tenants.variable}, which per_tenant({tenants.variable!r}, ...) "
            f"needs; write {path.rstrip('/')}/<{tenants.variable}>"
        )
    _check_query(tenants)


def _check_query(tenants: TenantSecrets) -> None:
    query, variable = tenants.query, tenants.variable
    if not isinstance(query, QueryFunction | str):
        raise RegistrationError(
            f"per_tenant({variable!r}, {query!r}) takes a query: decorate a function with @internal_query"
        )
    if isinstance(query, str):
        return
    try:
        inspect.signature(query.handler).bind(None, **{variable: ""})
    except TypeError:
        raise RegistrationError(
            f"The query {query.name} of per_tenant() must take {variable}: write "
            f"def {query.name.rpartition(':')[2]}(ctx: QueryCtx, *, {variable}: str) -> str | None"
        ) from None


def _of_tenant(backend: Backend, webhook: Webhook, request: Request, tenants: TenantSecrets) -> Webhook:
    """Return the webhook of the tenant in the URL.

    Raises:
        NotFound: The application does not know the tenant.
    """
    tenant = (request.view_args or {}).get(tenants.variable)
    found = None if tenant is None else webhook_of_tenant(backend.runtime, webhook, str(tenant))
    if found is None:
        raise NotFound
    return found


def _run_events(
    backend: Backend, webhook: Webhook, request: Request, event: WebhookEvent, events: Sequence[WebhookEvent]
) -> StoredResponse:
    """Pass an event to the inbox, or each event of a batch, and return the response."""

    def caller() -> Caller:
        return backend.caller(site=lambda: site_of(request), request_id=request_id(request))

    if len(events) == 1 and events[0] is event:
        return backend.inbox.receive(webhook, event, caller(), request_id(request))
    return receive_batch(backend.inbox, webhook, events, caller, request_id(request))


def _run(handlers: EventHandlers, provider: Provider) -> Callable[[MutationCtx, WebhookEvent], StoredResponse]:
    """Return a handler whose result is a response that can be stored."""

    def run(ctx: MutationCtx, event: WebhookEvent) -> StoredResponse:
        if not handlers.is_bound:
            handlers.bind(backend_of(current_app).schema)
        try:
            value = handlers.run(ctx, event)
        except HTTPException as error:
            _check_error(error)
            raise
        return plain_response(provider) if value is None else stored(to_response(current_app, value))

    return run


def _check_error(error: HTTPException) -> None:
    """Check that an exception has an error status.

    With another status the sender would not retry, although the effects are rolled back.

    Raises:
        WebhookFailedError: The status is below 400.
    """
    status = error.code if error.response is None else error.response.status_code
    if status is not None and status < 400:
        raise WebhookFailedError(f"abort() was given an answer of {status}, which is no error: return it") from error
