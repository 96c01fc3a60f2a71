"""What `HttpRouter.webhook` returns: it decorates one function, or one function for each type of event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask_convex_http.errors import RegistrationError
from flask_convex_http.runtime import MutationCtx
from flask_convex_http.web.handlers.route_checks import LIMITED, mark
from flask_convex_http.web.webhooks.event_handlers import ANY, EventHandler, checked_pattern, name_of
from flask_convex_http.web.webhooks.webhooks import WebhookRoute
from flask_convex_http.webhooks.events import WebhookEvent

#: A handler of every event.
E = TypeVar("E", bound=Callable[[MutationCtx, WebhookEvent], Any])
#: A handler of some types, which may take the sender's object.
O = TypeVar(  # noqa: E741
    "O", bound=Callable[[MutationCtx, WebhookEvent], Any] | Callable[[MutationCtx, WebhookEvent, Any], Any]
)


class WebhookHandlers:
    """The handlers of a webhook, as `HttpRouter.webhook` returns it.

    It decorates one function, which handles every event. Or `on` and `otherwise` decorate one function for each type.

    Args:
        rule: The path of the webhook.
        webhook: The webhook.
        add_route: Adds the route of the webhook to the router, when it gets its first handler. It takes the handler if
            that is the only one, or else None.
        is_registered: Returns whether the router was registered on an app.
    """

    def __init__(
        self,
        rule: str,
        webhook: WebhookRoute,
        add_route: Callable[[Callable[..., Any] | None], None],
        is_registered: Callable[[], bool],
    ) -> None:
        self._rule = rule
        self._webhook = webhook
        self._add_route = add_route
        self._is_registered = is_registered
        self._only: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"<WebhookHandlers {self._rule} ({self._webhook.provider.name})>"

    def __call__(self, handler: E) -> E:
        """Register one function for every event. It takes the ctx and the event.

        Args:
            handler: The function.

        Raises:
            RegistrationError: The function cannot be a handler, or the webhook has one already.
        """
        found = EventHandler.of(ANY, handler, may_take_object=False)
        if self._only is not None:
            raise RegistrationError(
                f"The webhook {self._rule} is registered already, for {name_of(self._only)!r}; a path has one handler "
                "for a method"
            )
        if self._webhook.handlers.by_pattern:
            raise RegistrationError(self._mixed(name_of(handler)))
        self._add([found], handler)
        self._only = handler
        return handler

    def on(self, pattern: str, *patterns: str) -> Callable[[O], O]:
        """Register a function for types of events.

        The function takes the ctx, the event, and optionally the sender's object in it, such as Stripe's
        `data.object`. The object is converted to the annotation of the third parameter. An event whose object does not
        match is a failed delivery: the response is 500, the inbox has the error with the field, and the sender retries.

        A type itself beats a pattern with `*`, and the longest pattern wins. An event for which no function is
        registered is acknowledged and recorded as unhandled.

        Args:
            pattern: A type such as `invoice.paid`, or the beginning of types followed by `*`, such as `invoice.*`.
            patterns: More of them.

        Raises:
            RegistrationError: The function cannot be a handler, or another one has an equal pattern.
        """
        checked = [checked_pattern(each) for each in (pattern, *patterns)]

        def decorate(handler: O) -> O:
            self._add_for_types(handler, checked)
            return handler

        return decorate

    def otherwise(self, handler: O) -> O:
        """Register a function for all types that no other function is registered for.

        Args:
            handler: The function. Like that of `on`, it may take the sender's object.

        Raises:
            RegistrationError: The function cannot be a handler, or there is one already.
        """
        self._add_for_types(handler, [ANY])
        return handler

    def check(self) -> None:
        """Check that there is a handler, when the router is registered.

        Raises:
            RegistrationError: There is none.
        """
        if not self._webhook.handlers.by_pattern:
            raise RegistrationError(
                f"The webhook {self._rule} has no handler: decorate a function that takes every event with "
                f"@http.webhook({self._rule!r}, ...), or write hook = http.webhook(...) and decorate one with "
                '@hook.on("invoice.paid") for each type'
            )

    def _add_for_types(self, handler: Callable[..., Any], patterns: list[str]) -> None:
        found = [EventHandler.of(pattern, handler) for pattern in patterns]
        if self._only is not None:
            raise RegistrationError(self._mixed(name_of(self._only)))
        if self._is_registered():
            raise RegistrationError(
                f"{name_of(handler)} is added to {self._rule} after its router was registered on an app; import its "
                "module before register_blueprint()"
            )
        self._add(found, None)

    def _add(self, handlers: list[EventHandler], only: Callable[..., Any] | None) -> None:
        table, handler = self._webhook.handlers, handlers[0].handler
        if self._webhook.options.mode == "enqueue" and hasattr(handler, LIMITED):
            raise RegistrationError(
                f'{name_of(handler)} has a rate limit, which needs the request, and mode="enqueue", which runs it '
                "without one; drop one of them"
            )
        if not table.by_pattern:
            self._add_route(only)
        for found in handlers:
            table.add(found)
        mark(handler)

    def _mixed(self, name: str) -> str:
        return (
            f"The webhook {self._rule} has {name} for every event, and handlers for some types as well: write "
            f"@hook.otherwise above {name}, or give all events to one function"
        )
