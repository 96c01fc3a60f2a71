"""`HttpRouter`: a Flask blueprint whose routes match as Convex's do.

Routes are real Werkzeug rules, so that `url_for`, `flask routes`, converters and `url_prefix` work. Two converters of
`matching` prevent what Werkzeug does differently: redirects at a slash, merged slashes, and one view for `/x` and
`/x/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Unpack, overload

from flask import Flask, Request, Response

from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import QueryFunction
from flask_convex_http.inbox.registry import Dedupe, Mode, Options, OrderBy
from flask_convex_http.retry import Retry
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.schema.documents import Document
from flask_convex_http.web.cors import CorsOption, cors_policy
from flask_convex_http.web.guards.auth import require_api_key
from flask_convex_http.web.guards.rate_limit_headers import LIMIT_HEADERS
from flask_convex_http.web.handlers.handlers import uniform
from flask_convex_http.web.handlers.operations import Operation
from flask_convex_http.web.handlers.route_checks import (
    LIMITED,
    checked_methods,
    checked_path,
    mark,
)
from flask_convex_http.web.idempotent import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    Idempotent,
    IdempotentOption,
    OneMutation,
)
from flask_convex_http.web.matching import apply_cors, prepare
from flask_convex_http.web.requests.limits import Limits
from flask_convex_http.web.requests.requests import checked_content_types
from flask_convex_http.web.responses.responses import handle_error
from flask_convex_http.web.routing.flask_cors_checks import refuse_cors_of_router, refuse_cross_origin
from flask_convex_http.web.routing.http_methods import H, HttpMethods, M
from flask_convex_http.web.routing.route_table import RouteTable
from flask_convex_http.web.routing.routes import IdempotentOptions, Route, RouteOptions, RuleOptions
from flask_convex_http.web.routing.views import handler_view, webhook_view
from flask_convex_http.web.state import EXTENSION
from flask_convex_http.web.streams.changes import ChangeStreams
from flask_convex_http.web.streams.live import EVENTS, handler_of, streaming
from flask_convex_http.web.webhooks.webhook_handlers import WebhookHandlers
from flask_convex_http.web.webhooks.webhooks import WebhookRoute
from flask_convex_http.webhooks.base import Provider


class HttpRouter(HttpMethods):
    """A blueprint whose handlers take `(ctx, request, ...)`.

    A handler may also take `body`, `query` or `form`, and the variables of its path. Each is converted to its
    annotation. A mismatch is 400 with the path of the field, or 404 for a variable. `ctx` and `request` may be left
    out.

    An exact path beats a prefix, and the longest prefix wins. `/x` and `/x/` differ, and nothing redirects. HEAD runs
    GET. A path without a route for the method is 405 with `Allow`.

    Args:
        name: The name of the blueprint.
        import_name: `__name__`.
        cors: The CORS policy of routes without their own.
        max_body_bytes: The largest body, in bytes, for routes without a limit of their own.
        max_json_bytes: The largest JSON body, in bytes, for routes without a limit of their own.
        max_form_bytes: The largest text of a form, in bytes, for routes without a limit of their own.
        max_form_fields: The largest number of fields of a form, for routes without a limit of their own.
        options: Options of `flask.Blueprint`.
    """

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        cors: CorsOption = None,
        max_body_bytes: int | None = None,
        max_json_bytes: int | None = None,
        max_form_bytes: int | None = None,
        max_form_fields: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, import_name, **options)
        self._table = RouteTable(self)
        self.routes = self._table.routes
        self._webhooks: list[WebhookHandlers] = []
        self._cors = cors_policy(cors, None)
        self._limits = Limits.of(max_body_bytes, max_json_bytes, max_form_bytes, max_form_fields)
        self._preflights_added = False
        self.register_error_handler(Exception, handle_error)

    # The options are closed, unlike a blueprint's, so that type checkers report a misspelt one.
    @overload  # type: ignore[override]
    def route(
        self,
        rule: str | None = None,
        *,
        method: str | None = None,
        methods: Iterable[str] | None = None,
        **options: Unpack[RouteOptions],
    ) -> Callable[[H], H]: ...
    @overload
    def route(
        self,
        rule: str | None = None,
        *,
        idempotent: OneMutation,
        method: str | None = None,
        methods: Iterable[str] | None = None,
        **options: Unpack[IdempotentOptions],
    ) -> Callable[[M], M]: ...
    def route(
        self,
        rule: str | None = None,
        *,
        path_prefix: str | None = None,
        method: str | None = None,
        methods: Iterable[str] | None = None,
        cors: CorsOption = None,
        status: int | None = None,
        content_types: Sequence[str] | None = None,
        openapi_body: Mapping[str, Any] | None = None,
        idempotent: IdempotentOption = False,
        keep: timedelta | None = None,
        max_body_bytes: int | None = None,
        max_json_bytes: int | None = None,
        max_form_bytes: int | None = None,
        max_form_fields: int | None = None,
        endpoint: str | None = None,
        **options: Unpack[RuleOptions],
    ) -> Callable[[H], H]:
        """Register a handler for an exact path, or for every path below a prefix.

        The handler takes the ctx and the request first, then any of `body`, `query`, `form` and the variables of the
        path. Its annotations are the validators.

        Args:
            rule: The exact path, which may contain Flask's converters.
            path_prefix: The start of the paths, instead of an exact path. The handler also gets `suffix`, the rest.
            method: The method, by default GET.
            methods: Several methods.
            cors: The CORS policy: "*", origins, a `Cors`, or False for none. With a policy, preflights get a response.
            status: The status of the response, unless the handler returns one of its own. The default is 200, or 204
                if the handler's return annotation is None.
            content_types: Content types that `body` accepts beside JSON's, such as `["text/plain"]`.
            openapi_body: The types, by content type, of a body that the handler reads from the request itself. They are
                for the OpenAPI document only, and no body is checked against them.
            idempotent: Run the handler as one mutation, whose ctx is a `MutationCtx`, once for each `Idempotency-Key`
                of a caller. A retry gets the stored response. A request without the header is 400, unless this is
                "optional".
            keep: How long an idempotency key is kept, by default a day.
            max_body_bytes: The largest body in bytes, by default the setting CONVEX_MAX_BODY_BYTES.
            max_json_bytes: The largest body that is parsed as JSON, in bytes; by default CONVEX_MAX_JSON_BYTES.
            max_form_bytes: The largest text of a form in bytes, without its files; by default CONVEX_MAX_FORM_BYTES.
            max_form_fields: The largest number of fields and files of a form; by default CONVEX_MAX_FORM_FIELDS.
            endpoint: The name of the endpoint, by default the handler's.
            options: Options of `flask.Blueprint.route`.

        Raises:
            RegistrationError: The path, the method, the policy or the handler's signature cannot work, or path and
                method are registered already.
        """
        path = checked_path(rule, path_prefix)
        chosen = checked_methods(method, methods)
        limits = Limits.of(max_body_bytes, max_json_bytes, max_form_bytes, max_form_fields).or_else(self._limits)
        policy = cors_policy(cors, self._cors)
        accepted = checked_content_types(content_types or ())
        idempotency = Idempotent.of(idempotent, keep, chosen)

        def decorate(handler: H) -> H:
            call = uniform(handler)
            operation = Operation.of(
                call,
                path,
                chosen,
                status=status,
                content_types=accepted,
                idempotent=idempotent,
                described_body=openapi_body,
                url_prefix=self.url_prefix or "",
                defaults=(options.get("defaults") or {}).keys(),
                may_drop_variables=bool(self.url_value_preprocessors),
            )
            if policy is None:
                refuse_cross_origin(handler, path)
            name = self._table.endpoint(handler, endpoint)
            self._table.check_free(path, chosen)
            runs = call if idempotency is None else idempotency.wrap(call, operation.status)
            view = handler_view(runs, operation, limits)
            takes = () if idempotency is None else REQUEST_HEADERS
            sends = (RESPONSE_HEADERS if idempotency else ()) + (LIMIT_HEADERS if hasattr(call, LIMITED) else ())
            route = Route(path, chosen, name, policy, operation=operation, takes=takes, sends=sends)
            self._table.add(route, view, dict(options))
            mark(handler)
            return handler

        return decorate

    @overload
    def live(self, rule: str, function: QueryFunction[..., Any], /, **options: Unpack[RouteOptions]) -> None: ...
    @overload
    def live(self, rule: str, /, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def live(self, rule: str, function: Any = None, /, **options: Any) -> Any:
        """Register a query, or a handler that returns a `LiveQuery`, whose results are server-sent events.

        The first event has the present result, and each change of it is another event. An event "failure" has the
        error of a query that fails, and the stream goes on. The connection leaves the server, so it holds no thread.

        Args:
            rule: The exact path.
            function: A query that needs no arguments. Without it, `live` decorates a handler.
            options: Options of `route`.

        Raises:
            RegistrationError: See `route`, or the function is not a query, or needs arguments.
        """

        def decorate(handler: H) -> H:
            self.route(rule, method="GET", **{"endpoint": handler.__name__, **options})(streaming(handler))
            return handler

        if function is None:
            return decorate
        handler = handler_of(function)
        name = getattr(function, "__name__", "live")
        self.route(rule, method="GET", **{"endpoint": f"live_{name}", **options})(streaming(handler))
        return None

    def changes(
        self,
        rule: str,
        *,
        guard: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
        tables: Sequence[type[Document]] | None = None,
        seconds: float | None = None,
        max_clients: int | None = None,
        cors: CorsOption = None,
        endpoint: str = "changes",
    ) -> None:
        """Serve the commits of the app with the documents that they changed, as server-sent events.

        Each event is one commit. A client reconnects with `Last-Event-ID`, as browsers do, or begins with `?since=` and
        the number of a commit. It then gets every later commit once. If these are purged, the response is 410.

        Args:
            rule: The exact path.
            guard: Decides which clients may connect, as a decorator of handlers. The default is
                `require_api_key(scopes=["changes"])`.
            tables: The classes of the documents; other changes are left out. None for all.
            seconds: Seconds after which a response ends and the client reconnects. By default 15 minutes, or 30 seconds
                where a response takes a thread: on a server that does not lend its connections, such as granian.
            max_clients: The largest number of clients of a process; the response to another one is 503. By default as
                many as CONVEX_LIVE_CONNECTIONS says, or 4 where a response takes a thread.
            cors: The CORS policy, as for `route`.
            endpoint: The name of the endpoint.

        Raises:
            RegistrationError: An option cannot work, or the path is registered already.
        """
        streams = ChangeStreams(tables, seconds, max_clients)

        def changes(ctx: ActionCtx, request: Request) -> Annotated[Response, EVENTS]:
            """Send the commits of the app as server-sent events."""
            return streams.respond(ctx, request)

        protect = require_api_key(scopes=["changes"]) if guard is None else guard
        self.get(rule, cors=cors, endpoint=endpoint)(protect(changes))

    def webhook(
        self,
        rule: str,
        provider: Provider,
        *,
        source: str | None = None,
        mode: Mode = "transaction",
        retry: Retry | None = None,
        order_by: OrderBy | None = None,
        keep_ids: timedelta | None = None,
        keep_bodies: timedelta | None = None,
        dedupe: Dedupe = "id",
        dedupe_window: timedelta | None = None,
        expect_every: timedelta | None = None,
        max_body_bytes: int | None = None,
        endpoint: str | None = None,
    ) -> WebhookHandlers:
        """Register a handler for verified webhooks. It runs as one mutation, and its effects happen once.

        The result decorates one function for every event, or one for each type of event: see `WebhookHandlers.on`.

        The signature is verified on the raw body before anything else. A delivery that does not verify is rejected with
        400, or the status that its sender demands, and never reaches the database. A duplicate gets the response of the
        first delivery and runs nothing. A handler that raises, or returns an error status, leaves no effects, and runs
        again when the sender retries. A handler that returns nothing responds with `OK`. While the variable of the
        secret is unset, the response is 503.

        Args:
            rule: The exact path.
            provider: The sender, with its secret: `Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET"))`.
            source: The name of the webhook in the inbox, by default the path. Duplicates are recognised within a
                source, so keep it when the path changes.
            mode: "transaction" runs the handler before the response. "enqueue" records the delivery, responds with 202,
                and lets a worker run the handler.
            retry: The retries of the worker, by default 12 attempts over two days. Then the delivery is dead.
            order_by: With "enqueue": deliveries with the same value run one after another, in the order of arrival. The
                value is a path into the payload, such as `data.object.customer`, or a function of the event.
            keep_ids: How long a delivery is remembered, by default 90 days, or 400 days if the sender signs no time.
            keep_bodies: How long headers and body are kept for inspection and replays, by default 30 days.
            dedupe: "id" takes a delivery for a duplicate if its id is known. "content" does so too if its type and body
                are known, for senders whose ids are not signed. Real events with equal bodies are then swallowed.
            dedupe_window: With "content", how long after the first delivery an equal one is a duplicate. By default as
                long as ids are kept.
            expect_every: How often a delivery is expected at least. `flask convex check` and the health check report
                the webhook when it has received nothing for longer.
            max_body_bytes: The body limit in bytes. By default the router's, or else the sender's own cap if it
                publishes one.
            endpoint: The name of the endpoint, by default the handler's, or made of the path for handlers of types.

        Raises:
            RegistrationError: The options cannot work, or path and method are registered already.
        """
        if not isinstance(provider, Provider):
            raise RegistrationError(
                f"webhook({rule!r}) needs a provider, such as Stripe(secret=from_env(...)), not {provider!r}; "
                "without one anyone could send"
            )
        limits = Limits.of(max_body_bytes, None, None, None)
        options = Options(
            source=source,
            mode=mode,
            retry=retry,
            order_by=order_by,
            keep_ids=keep_ids,
            keep_bodies=keep_bodies,
            dedupe=dedupe,
            dedupe_window=dedupe_window,
            expect_every=expect_every,
        )

        path = checked_path(rule, None)
        webhook = WebhookRoute.of(rule, provider, options)
        wanted = limits.or_else(self._limits).or_else(Limits(body=provider.profile.max_body_bytes))

        def add_route(handler: Callable[..., Any] | None) -> None:
            methods = ("POST", *provider.handshake_methods)
            self._table.check_free(path, methods)
            name = self._table.endpoint(handler, endpoint) if handler else self._table.endpoint_of_path(path, endpoint)
            route = Route(path, methods, name, None, webhook=webhook)
            self._table.add(route, webhook_view(webhook, wanted, name, handler), {})

        handlers = WebhookHandlers(rule, webhook, add_route, lambda: self._got_registered_once)
        self._webhooks.append(handlers)
        return handlers

    def register(self, app: Flask, options: dict[str, Any]) -> None:  # type: ignore[override]  # App in sansio
        """Register the blueprint on an app; Flask calls this."""
        prepare(app)
        for webhook in self._webhooks:
            webhook.check()
        if not self._preflights_added:
            self._preflights_added = True
            refuse_cors_of_router(self.after_request_funcs.get(None, ()), self.routes)
            self._table.add_preflights()
            if any(route.cors is not None for route in self.routes):
                self.after_request(apply_cors)
        super().register(app, options)
        name = ".".join(part for part in (options.get("name_prefix"), options.get("name", self.name)) if part)
        backend = app.extensions.get(EXTENSION)
        for route in self.routes:
            if backend is not None and route.operation is not None:
                route.operation.bind(backend.schema)
            if route.webhook is not None:
                route.webhook.register(app, f"{name}.{route.endpoint}", route.path)
