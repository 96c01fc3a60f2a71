"""A registered route, and the options of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from flask_convex_http.web.cors import CorsOption, Policy
from flask_convex_http.web.handlers.operations import Operation
from flask_convex_http.web.webhooks.webhooks import WebhookRoute


class RuleOptions(TypedDict, total=False):
    """The options of `flask.Blueprint.route` that a route takes as they are."""

    defaults: dict[str, Any]
    subdomain: str
    host: str
    build_only: bool
    alias: bool


class RouteOptions(RuleOptions, total=False):
    """The options of a route; see `HttpRouter.route`."""

    path_prefix: str
    cors: CorsOption
    status: int | None
    content_types: Sequence[str]
    openapi_body: Mapping[str, Any]
    max_body_bytes: int
    max_json_bytes: int
    max_form_bytes: int
    max_form_fields: int
    endpoint: str


class IdempotentOptions(RouteOptions, total=False):
    """The further options of a route with `idempotent=`; see `HttpRouter.route`."""

    keep: timedelta


@dataclass(frozen=True)
class Route:
    """A registered route.

    Attributes:
        path: The exact path, or a prefix followed by `*`.
        methods: Its methods.
        endpoint: The name of the endpoint within the blueprint.
        cors: Its CORS policy; False if no other origin may use it.
        webhook: The webhook that it receives, if any.
        operation: What its handler takes and returns; None for a webhook and a preflight.
        takes: Request headers that CORS must allow.
        sends: Response headers that CORS must expose.
    """

    path: str
    methods: tuple[str, ...]
    endpoint: str
    cors: Policy
    webhook: WebhookRoute | None = None
    operation: Operation | None = None
    takes: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
