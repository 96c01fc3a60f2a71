"""What the signature families share: where the id and the type of an event are, and how the sender behaves.

An id that is not signed must be named as `unsigned_id_header`, because anyone who replays a delivery can change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from flask_convex_http.errors import RegistrationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at, parse_json_or_form, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE


class EventOptions(TypedDict, total=False):
    """The options of all signature families.

    Attributes:
        id_header: The header with the id of the delivery. It must be part of what is signed.
        unsigned_id_header: The header with an id that the sender does not sign, such as Gitea's `X-Gitea-Delivery`. A
            delivery that is replayed under another id runs again, unless the webhook has `dedupe="content"`.
        id_field: The payload's field with the id, or a path such as `data.id`. Without any of the three the id is a
            digest of the body and the type, so that two events with the same body and type are one.
        type_header: The header with the type of the event. It is not signed.
        type_field: The payload's field with the type, or a path. Without a header or a field the type is empty.
        batch: Whether each element of a JSON array is an event of its own.
        timeout: How long the sender waits for a response, by default 10 seconds.
        retry_window: How long the sender may send the same delivery again, by itself or on request, by default 7 days.
        rejected_status: The status of the response to a delivery that does not verify, 400 to 499. By default 400.
        other_headers: Further headers that the handler needs. Others than these, the named ones and a few common ones
            are dropped.
    """

    id_header: str | None
    unsigned_id_header: str | None
    id_field: str | None
    type_header: str | None
    type_field: str | None
    batch: bool
    timeout: timedelta
    retry_window: timedelta
    rejected_status: int | None
    other_headers: Sequence[str]


class ConfiguredProvider(Provider):
    """A provider whose choices are arguments. A subclass checks the signature.

    A subclass for one sender may set `name` and `profile` on the class. The profile replaces what arguments say of it.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    issues_secrets = False
    object_field = ""
    _batch = False

    def __init__(
        self,
        *,
        secret: Secrets | None,
        signed: Sequence[str],
        needed: Sequence[str | None],
        tolerance: timedelta | None = None,
        future_tolerance: timedelta | None = None,
        id_is_signed: bool = True,
        id_header: str | None = None,
        unsigned_id_header: str | None = None,
        id_field: str | None = None,
        type_header: str | None = None,
        type_field: str | None = None,
        batch: bool = False,
        timeout: timedelta = timedelta(seconds=10),
        retry_window: timedelta = timedelta(days=7),
        rejected_status: int | None = None,
        other_headers: Sequence[str] = (),
    ) -> None:
        past = DEFAULT_TOLERANCE if tolerance is None else tolerance
        super().__init__(secret=secret, tolerance=past, future_tolerance=future_tolerance)
        _check_period("timeout", timeout)
        _check_period("retry_window", retry_window)
        status = 400 if rejected_status is None else rejected_status
        _check_rejection(status)
        _check_headers(other_headers)
        self._id_header, self._id_field = id_header, id_field
        self._unsigned_id_header = unsigned_id_header
        self._type_header, self._type_field = type_header, type_field
        self._batch = batch
        self.required_headers = tuple((name,) for name in dict.fromkeys((*needed, id_header, type_header)) if name)
        if isinstance(getattr(type(self), "profile", None), Profile):
            return
        self.profile = Profile(
            signed=tuple(signed),
            id_from=id_header or unsigned_id_header or (f"body.{id_field}" if id_field else "body"),
            id_is_signed=id_is_signed and unsigned_id_header is None,
            timeout=timeout,
            redelivery=retry_window,
            rejected_status=status,
            headers=(*other_headers, *([unsigned_id_header] if unsigned_id_header else ())),
        )

    @property
    def batches(self) -> bool:
        """Whether `batch=True` was given."""
        return self._batch

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the payload: a JSON object or array, or the fields of a form."""
        return self.read_element(self.payload(delivery), delivery)

    def payload(self, delivery: Delivery) -> Any:
        """Return the parsed body: a JSON object or array, or the fields of a form.

        Raises:
            VerificationError: The body is none of these.
        """
        return parse_json_or_form(delivery.body)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event from its payload, which may be an element of a batch."""
        event_type = self._type(delivery, element)
        return Content(id=self._id(delivery, element, event_type), type=event_type, data=element, payload=element)

    def named_headers(self, event_id: str, event_type: str) -> dict[str, str]:
        """Return the headers of a test delivery that hold the id and the type."""
        named = {
            self._id_header or self._unsigned_id_header: event_id,
            self._type_header: event_type,
        }
        return {"Content-Type": "application/json", **{name: value for name, value in named.items() if name}}

    def signed_content(self, delivery: Delivery) -> bytes:
        """Return what identifies a delivery without an id: the body, or the part of it that is signed."""
        return delivery.body

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return the digest of the type and the signed content."""
        content = self.signed_content(Delivery(event.headers, event.body, event.received_at))
        return f"sha256:{digest(event.type, content)}"

    def _id(self, delivery: Delivery, payload: Any, event_type: str) -> str:
        if self._id_header:
            return delivery.token(self._id_header)
        if self._id_field:
            return _id_field(payload, self._id_field)
        if self._unsigned_id_header and delivery.headers.get(self._unsigned_id_header.lower()):
            return delivery.token(self._unsigned_id_header)
        # A type in a header is not part of the body: some senders send one body under several types.
        content = self.signed_content(delivery)
        return digest(event_type, content) if self._type_header else hashlib.sha256(content).hexdigest()

    def _type(self, delivery: Delivery, payload: Any) -> str:
        if self._type_header:
            return delivery.token(self._type_header)
        if self._type_field:
            return text_field(payload, self._type_field)
        return ""


def _id_field(payload: Any, name: str) -> str:
    value = field_at(payload, name)
    # Some senders number their events. In Python a bool is an int too.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_field(payload, name)


def _check_period(name: str, period: timedelta) -> None:
    if not isinstance(period, timedelta) or period <= timedelta(0):
        raise RegistrationError(f"{name} must be a timedelta of more than zero, such as timedelta(days=7)")


def _check_rejection(status: int) -> None:
    if not isinstance(status, int) or not 400 <= status <= 499:
        raise RegistrationError(f"rejected_status must be a status from 400 to 499, such as 401, not {status!r}")


def _check_headers(names: Sequence[str]) -> None:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise RegistrationError('other_headers must be a list of names, such as ["X-Tenant"]')


def check_places(options: EventOptions) -> None:
    """Check that the id and the type of an event have at most one place each.

    Raises:
        RegistrationError: Several places are given, or one is empty.
    """
    _check_one_of("id", {name: options.get(name) for name in ("id_header", "unsigned_id_header", "id_field")})
    _check_one_of("type", {name: options.get(name) for name in ("type_header", "type_field")})


def _check_one_of(what: str, names: Mapping[str, object]) -> None:
    given = [option for option, name in names.items() if name is not None]
    for option in given:
        if names[option] == "":
            raise RegistrationError(f"{option} is an empty name: name it or leave it out")
    if len(given) > 1:
        raise RegistrationError(f"{' and '.join(given)} are both given: the {what} has one place")
