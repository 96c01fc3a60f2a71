"""The responses to deliveries that are not verified, and the records of them.

Anyone can send forgeries in any number, so the usual one costs little: its response is made of prepared bytes, no
exception is raised, and all but a few each second are only counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask, Request, Response

from flask_convex_http.backend import Backend
from flask_convex_http.errors import (
    ConvexHTTPError,
    MissingSecretError,
    VerificationError,
    VerificationUnavailableError,
)
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.inbox.rejections import Rejection
from flask_convex_http.log import logger_of
from flask_convex_http.telemetry import DeliveryRejected
from flask_convex_http.web.observed import note_error
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.responses.challenges import WEBHOOK_SIGNATURE
from flask_convex_http.web.responses.json_responses import JsonResponse
from flask_convex_http.web.responses.responses import encoded_response, has_own_handler, public_error
from flask_convex_http.web.webhooks.handshakes import handshake_response
from flask_convex_http.webhooks.events import Delivery, HandshakeReply
from flask_convex_http.webhooks.headers import METHOD, URL, WsgiHeaders, url_of

logger = logger_of("webhooks")

_MASK = "(not kept)"
#: RFC 9110, 15.5.2: a response with 401 has a challenge.
_CHALLENGES = (("WWW-Authenticate", WEBHOOK_SIGNATURE),)


def greeted(app: Flask, backend: Backend, webhook: Webhook, request: Request) -> Response:
    """Return the response to a sender that verifies the URL with another method than POST."""
    reply = _unsigned_handshake(backend, webhook, request, b"")
    if reply is not None:
        return handshake_response(app, reply)
    error = VerificationError(
        "no-match", "This request does not verify the URL", webhook.provider.profile.rejected_status
    )
    return rejected(app, backend, webhook, request, b"", error)


def rejected(
    app: Flask, backend: Backend, webhook: Webhook, request: Request, body: bytes, error: VerificationError
) -> Response:
    """Record a delivery whose signature does not verify, unless a sender checks its URL, and return the response.

    Raises:
        VerificationError: The application has an error handler for it.
    """
    if webhook.provider.greets and request.method == "POST":
        reply = _unsigned_handshake(backend, webhook, request, body)
        if reply is not None:
            return handshake_response(app, reply)
    record(backend, webhook, request, body, error)
    if has_own_handler(app, request, error):
        raise error
    if type(error) is not VerificationError:  # a class of the application, which may have headers
        return public_error(error)
    note_error(request.environ, error)
    return encoded_response(app, _body_of(str(error)), error.status, _challenges(error.status))


def send_rejection(
    environ: dict[str, Any], start_response: Callable[..., Any], error: VerificationError
) -> list[bytes]:
    """Send the response to a rejected delivery, as Flask sends that of `rejected`."""
    note_error(environ, error)
    status, headers, body = _prepared(str(error), error.status)
    start_response(status, list(headers))
    return [body]


def unread(app: Flask, request: Request, error: ConvexHTTPError, *, is_logged: bool) -> Response:
    """Return the response to a delivery that cannot be verified.

    Raises:
        ConvexHTTPError: The error, which is logged where it is handled. Too many of them are not logged, unless the
            application handles them itself.
    """
    if is_logged or has_own_handler(app, request, error):
        raise error
    return public_error(error, is_logged=False)


def record(backend: Backend, webhook: Webhook, request: Request, body: bytes, error: ConvexHTTPError) -> bool:
    """Record and log a rejected delivery, or only count it if there were too many just now.

    Returns:
        Whether it was recorded.
    """
    reason = _reason(error)
    if backend.telemetry.is_on:
        provider = webhook.provider.name
        backend.telemetry.publish(DeliveryRejected(webhook.source, provider, reason, request_id(request)))
    others = backend.rejections.admit(webhook.source, reason)
    if others is None:
        return False
    backend.rejections.add(
        Rejection(
            request_id=request_id(request),
            received_at=backend.clock(),
            source=webhook.source,
            path=request.path,
            reason=reason,
            message=str(error),
            headers=_masked(request, webhook, backend.webhooks.kept_headers),
            body=body,
            size=len(body),
            others=others,
        )
    )
    _log(webhook, request, error, reason, others)
    return True


def _log(webhook: Webhook, request: Request, error: ConvexHTTPError, reason: str, others: int) -> None:
    more = f"; {others} more like it were not logged" if others else ""
    name = webhook.provider.name
    if not isinstance(error, MissingSecretError):
        logger.info(
            "Webhook %s: a delivery of %s was rejected: %s: %s%s [request %s]",
            *(webhook.source, name, reason, error, more, request_id(request)),
        )
    elif others:  # a 503, which is logged as any other
        logger.error("Webhook %s: %s%s", webhook.source, error, more)


def _challenges(status: int) -> tuple[tuple[str, str], ...]:
    return _CHALLENGES if status == 401 else ()


@functools.lru_cache(maxsize=64)
def _prepared(message: str, status: int) -> tuple[str, tuple[tuple[str, str], ...], bytes]:
    """Return the status line, the headers and the body of the response to a rejected delivery."""
    body = _body_of(message)
    response = JsonResponse.of(body, status, _challenges(status))
    return response.status, tuple(response.fields()), body


@functools.lru_cache(maxsize=64)
def _body_of(message: str) -> bytes:
    return msgspec.json.encode({"error": message})


def _unsigned_handshake(backend: Backend, webhook: Webhook, request: Request, body: bytes) -> HandshakeReply:
    """Return the reply to a request that verifies the URL without a signature. Nothing that it contains is an error."""
    provider = webhook.provider
    try:
        return provider.unsigned_handshake(Delivery(WsgiHeaders(request.environ), body, backend.clock()))
    except (MissingSecretError, VerificationUnavailableError):
        raise
    except Exception:  # as in `verification.authenticate`: anyone may have sent it
        logger.debug("Webhook %s: a request that is no handshake", webhook.source, exc_info=True)
        return None


def _masked(request: Request, webhook: Webhook, kept: frozenset[str]) -> dict[str, str]:
    """Return headers with the values of those hidden that no sender of the app needs: they may hold credentials.

    A sender that signs the URL needs it and the method as well.
    """
    headers = {name: value if name.lower() in kept else _MASK for name, value in request.headers.items()}
    if URL in kept and URL in webhook.provider.kept_headers:
        headers |= {METHOD: request.method, URL: url_of(request.environ)}
    return headers


def _reason(error: ConvexHTTPError) -> str:
    if isinstance(error, VerificationError):
        return error.reason
    return "missing-secret" if isinstance(error, MissingSecretError) else "too-large"
