"""Send signed deliveries to the webhooks of an app in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, overload

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_convex_http.backend import Backend
from flask_convex_http.inbox.search import find_webhook, sender_of
from flask_convex_http.inbox.tenants import with_secrets
from flask_convex_http.web.state import backend_of
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.samples import Faults, make_deliveries

#: The server of a test client.
_URL = "http://localhost"


class Responses(Sequence[TestResponse]):
    """The responses to deliveries, in the order in which these were sent.

    Attributes:
        status_code: The status of the last response.
        text: The body of the last response.
        json: The body of the last response as JSON, or None if it is not JSON.
    """

    def __init__(self, responses: Sequence[TestResponse]) -> None:
        self._responses = tuple(responses)
        self.status_code: int = self._responses[-1].status_code
        self.text: str = self._responses[-1].text
        self.json: Any = self._responses[-1].get_json(silent=True)

    @overload
    def __getitem__(self, index: int) -> TestResponse: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TestResponse]: ...
    def __getitem__(self, index: int | slice) -> TestResponse | Sequence[TestResponse]:
        return self._responses[index]

    def __len__(self) -> int:
        return len(self._responses)

    def __repr__(self) -> str:
        return f"<Responses {', '.join(response.status for response in self)}>"


def deliver(
    client: FlaskClient,
    provider: str | Provider,
    event: str | Sequence[str] | Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None = None,
    path: str | None = None,
    duplicate: int = 1,
    reorder: bool = False,
    seed: int | None = None,
    late: timedelta | None = None,
    tamper: bool = False,
    old_secret: bool = False,
    fresh_id: bool = False,
    event_id: str | None = None,
    event_type: str | None = None,
) -> Responses:
    """Send signed deliveries to a webhook of the app as its sender would, with faults on request.

    Duplicates are sent one after another, because a test client is not thread-safe. To send them at the same moment,
    start the app and use `flask convex webhooks send --duplicate`.

    Args:
        client: A test client of the app.
        provider: The webhook's source or path, its provider's name, a sender such as "clerk", or a provider.
        event: The type of a sample event, several types in the order in which they happen, or a whole payload.
        data: Changes of the sample event, merged deeply: for Stripe into `data.object`, for Slack into `event`, for
            senders that have `data` into that, otherwise into the payload. With data the type may be any.
        path: The path to send it to. By default the webhook's; required with a provider that the app does not have.
        duplicate: How many times each delivery is sent, byte for byte the same.
        reorder: Send several events in another order than they happened.
        seed: Chooses the order of `reorder`. By default it is random.
        late: How long ago the event happened and was signed.
        tamper: Change the body after it was signed.
        old_secret: Sign with the last of several secrets. If the webhook has only one, a random secret signs.
        fresh_id: Send each delivery once more under another id, as someone without the secret could.
        event_id: The id of the only event. By default it is new.
        event_type: The type of a whole payload, for senders that put it into a header, as GitHub does.

    Returns:
        The responses in the order of sending.

    Raises:
        ValueError: There is no such webhook or sample, or the arguments do not fit together.
        MissingSecretError: The webhook has no secret that can sign.
    """
    faults = Faults(
        duplicate=duplicate,
        reorder=reorder,
        seed=seed,
        late=late,
        tamper=tamper,
        old_secret=old_secret,
        fresh_id=fresh_id,
    )
    backend = backend_of(client.application)
    signing, sender, target = _target(backend, provider, path)
    deliveries = make_deliveries(
        signing,
        event,
        faults,
        now=backend.clock(),
        sender=sender,
        data=data,
        event_id=event_id,
        event_type=event_type,
        url=_URL + target,
    )
    return Responses(
        [
            client.post(delivery.url.removeprefix(_URL), data=delivery.body, headers=dict(delivery.headers))
            for delivery in deliveries
            for _ in range(delivery.count)
        ]
    )


def _target(backend: Backend, provider: str | Provider, path: str | None) -> tuple[Provider, str, str]:
    """Return the provider that signs, the sender of the sample events, and the path."""
    if isinstance(provider, str):
        webhook = with_secrets(backend.runtime, find_webhook(backend.webhooks, provider))
        return webhook.provider, sender_of(webhook, provider), path or webhook.path
    registered = next((webhook.path for webhook in backend.webhooks if webhook.provider is provider), None)
    target = path or registered
    if target is None:
        raise ValueError(f"This app has no webhook with that {provider!r}: give path=, or name the webhook's source")
    return provider, provider.name, target
