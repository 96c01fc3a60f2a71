"""A provider for any sender that signs with an HMAC in a header. Every choice is an argument.

The signed message is a template of literal text, `{body}`, and the headers named for `{timestamp}` and `{id}`. A header
named for these must be in the template, because anyone who replays the delivery could change an unsigned timestamp or
id. A sender whose id is not signed has it in `unsigned_id_header`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from string import Formatter
from typing import Any

from flask_convex_http.errors import RegistrationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.encodings import Encoding, decode_signature
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import field_at, parse_json_or_form, parse_timestamp, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_ALGORITHMS = ("sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512")
_WEAK_ALGORITHMS = ("md5", "sha1")
_ENCODINGS = ("hex", "base64")
_FIELDS = ("body", "timestamp", "id")
#: The status that a sender demands for a wrong signature, by its header. Xero's "intent to receive" checks it:
#: https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/
_DEMANDED_STATUSES = {"x-xero-signature": 401, "x-shopify-hmac-sha256": 401}


class HmacSignature(Provider):
    """Webhooks with an HMAC in a header: of the body, and optionally of a timestamp and an id.

    The body is a JSON object, a JSON array or a form.

    Args:
        secret: The signing secret (its UTF-8 bytes are the key), `from_env(...)`, or a list of these.
        header: The header with the signature.
        algorithm: sha256, sha384, sha512, sha3_256, sha3_384 or sha3_512, or md5 or sha1 if allowed below.
        encoding: The encoding of the signature: "hex" or "base64".
        prefix: The text before the signature in the header, such as `sha256=`.
        timestamp_header: The header with the signed time in seconds since the epoch.
        signed: The template of the signed message, such as `{timestamp}.{body}` or `v0:{timestamp}:{body}`.
        id_header: The header with the signed id of the delivery.
        type_header: The header with the type of the event. It is not signed.
        id_field: The payload's field with the id, or a path such as `data.id`. Without any of the three the id is a
            digest of the body and the type, so that two events with the same body and type are one.
        unsigned_id_header: The header with an id that the sender does not sign, such as Gitea's `X-Gitea-Delivery`. A
            delivery that is replayed under another id runs again, unless the webhook has `dedupe="content"`.
        type_field: The payload's field with the type, or a path. Without a header or a field the type is empty.
        tolerance: How far the timestamp may be from now, in the past and in the future. By default 5 minutes. Requires
            `timestamp_header`.
        future_tolerance: How far it may be in the future, if that differs.
        timeout: How long the sender waits for a response.
        retry_window: How long the sender may send the same delivery again, by itself or on request.
        rejected_status: The status of the response to a delivery that does not verify, 400 to 499. By default the one
            that the sender with this header demands (401 for Xero and Shopify), and 400 for all others.
        other_headers: Further headers that the handler needs. Others than these, the named ones and a few common ones
            are dropped.
        allow_weak_algorithm: Allow md5 and sha1, for a sender that has nothing else.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    name = "hmac"
    issues_secrets = False

    def __init__(
        self,
        *,
        secret: Secrets,
        header: str,
        algorithm: str = "sha256",
        encoding: Encoding = "hex",
        prefix: str = "",
        timestamp_header: str | None = None,
        signed: str = "{body}",
        id_header: str | None = None,
        type_header: str | None = None,
        id_field: str | None = None,
        type_field: str | None = None,
        unsigned_id_header: str | None = None,
        tolerance: timedelta | None = None,
        future_tolerance: timedelta | None = None,
        timeout: timedelta = timedelta(seconds=10),
        retry_window: timedelta = timedelta(days=7),
        rejected_status: int | None = None,
        other_headers: Sequence[str] = (),
        allow_weak_algorithm: bool = False,
    ) -> None:
        past = DEFAULT_TOLERANCE if tolerance is None else tolerance
        super().__init__(secret=secret, tolerance=past, future_tolerance=future_tolerance)
        if not header:
            raise RegistrationError('header is empty: name the header with the signature, "X-Signature"')
        _check_timed("tolerance", tolerance, timestamp_header)
        _check_timed("future_tolerance", future_tolerance, timestamp_header)
        _check_period("timeout", timeout)
        _check_period("retry_window", retry_window)
        if encoding not in _ENCODINGS:
            raise RegistrationError(f'encoding must be "hex" or "base64", not {encoding!r}')
        _check_algorithm(algorithm, allow_weak_algorithm)
        status = _DEMANDED_STATUSES.get(header.lower(), 400) if rejected_status is None else rejected_status
        _check_rejection(status)
        _check_headers(other_headers)
        _check_one_of("id", id_header=id_header, unsigned_id_header=unsigned_id_header, id_field=id_field)
        _check_one_of("type", type_header=type_header, type_field=type_field)
        self._template = _parse_template(signed, {"timestamp": timestamp_header, "id": id_header})
        self._header = header
        self._algorithm = algorithm
        self._encoding: Encoding = encoding
        self._prefix = prefix
        self._timestamp_header = timestamp_header
        self._id_header, self._id_field = id_header, id_field
        self._unsigned_id_header = unsigned_id_header
        self._type_header, self._type_field = type_header, type_field
        named = (header, timestamp_header, id_header, type_header)
        self.required_headers = tuple((name,) for name in named if name)
        self.profile = Profile(
            signed=("body", *(name for name in (timestamp_header, id_header) if name)),
            id_from=id_header or unsigned_id_header or (f"body.{id_field}" if id_field else "body"),
            id_is_signed=unsigned_id_header is None,
            timeout=timeout,
            redelivery=retry_window,
            rejected_status=status,
            headers=(*other_headers, *([unsigned_id_header] if unsigned_id_header else ())),
        )

    @property
    def signs_time(self) -> bool:
        """Whether a header with a signed time was named."""
        return self._timestamp_header is not None

    def timestamp(self, delivery: Delivery) -> int | None:
        """Return the seconds in the timestamp header, or None if no header was named."""
        if self._timestamp_header is None:
            return None
        return parse_timestamp(delivery.header(self._timestamp_header))

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header's signature with the HMAC of the filled template."""
        received = decode_signature(delivery.header(self._header), self._prefix, self._encoding)
        return hmac.compare_digest(self._signature(delivery, key), received)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as this provider verifies."""
        named = {
            self._timestamp_header: str(int(now // 1000)),
            self._id_header or self._unsigned_id_header: event_id,
            self._type_header: event_type,
        }
        headers = {"Content-Type": "application/json", **{name: value for name, value in named.items() if name}}
        delivery = Delivery({name.lower(): value for name, value in headers.items()}, body, now)
        signature = self._signature(delivery, self.key(secret))
        text = signature.hex() if self._encoding == "hex" else base64.b64encode(signature).decode()
        return {**headers, self._header: self._prefix + text}

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the payload: a JSON object or array, or the fields of a form."""
        payload = parse_json_or_form(delivery.body)
        event_type = self._type(delivery, payload)
        return Content(id=self._id(delivery, payload, event_type), type=event_type, data=payload, payload=payload)

    def _signature(self, delivery: Delivery, key: bytes) -> bytes:
        message = b"".join(self._part(part, delivery) for part in self._template)
        return hmac.digest(key, message, self._algorithm)

    def _part(self, part: tuple[str, str], delivery: Delivery) -> bytes:
        literal, name = part
        return literal.encode() + self._value(name, delivery)

    def _value(self, name: str, delivery: Delivery) -> bytes:
        if name == "body":
            return delivery.body
        if name == "timestamp" and self._timestamp_header:
            return delivery.header(self._timestamp_header).encode()
        if name == "id" and self._id_header:
            return delivery.token(self._id_header).encode()
        return b""

    def _id(self, delivery: Delivery, payload: Any, event_type: str) -> str:
        if self._id_header:
            return delivery.token(self._id_header)
        if self._id_field:
            return _id_field(payload, self._id_field)
        if self._unsigned_id_header and delivery.headers.get(self._unsigned_id_header.lower()):
            return delivery.token(self._unsigned_id_header)
        # A type in a header is not part of the body: some senders send one body under several types.
        return digest(event_type, delivery.body) if self._type_header else hashlib.sha256(delivery.body).hexdigest()

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


def _check_timed(name: str, tolerance: timedelta | None, timestamp_header: str | None) -> None:
    if tolerance is not None and timestamp_header is None:
        raise RegistrationError(f"{name} needs timestamp_header: name that header or drop {name}")


def _check_period(name: str, period: timedelta) -> None:
    if not isinstance(period, timedelta) or period <= timedelta(0):
        raise RegistrationError(f"{name} must be a timedelta of more than zero, such as timedelta(days=7)")


def _check_rejection(status: int) -> None:
    if not isinstance(status, int) or not 400 <= status <= 499:
        raise RegistrationError(f"rejected_status must be a status from 400 to 499, such as 401, not {status!r}")


def _check_headers(names: Sequence[str]) -> None:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise RegistrationError('other_headers must be a list of names, such as ["X-Tenant"]')


def _check_algorithm(algorithm: str, allow_weak: bool) -> None:
    if algorithm in _ALGORITHMS:
        return
    if algorithm not in _WEAK_ALGORITHMS:
        raise RegistrationError(f"algorithm {algorithm!r} is unknown: use one of {', '.join(_ALGORITHMS)}")
    if not allow_weak:
        raise RegistrationError(
            f"algorithm {algorithm!r} is weak: use sha256, or say allow_weak_algorithm=True "
            "for a sender that has nothing better"
        )


def _check_one_of(what: str, **names: str | None) -> None:
    given = [option for option, name in names.items() if name is not None]
    for option in given:
        if names[option] == "":
            raise RegistrationError(f"{option} is an empty name: name it or leave it out")
    if len(given) > 1:
        raise RegistrationError(f"{' and '.join(given)} are both given: the {what} has one place")


def _parse_template(signed: str, headers: dict[str, str | None]) -> list[tuple[str, str]]:
    """Return a template as pairs of literal text and the field after it, checked against the named headers."""
    try:
        parsed = list(Formatter().parse(signed))
    except ValueError as error:
        raise RegistrationError(f"signed={signed!r} is not a template: {error}") from error
    for _, field, specification, conversion in parsed:
        if field is not None and (field not in _FIELDS or specification or conversion):
            raise RegistrationError(f"signed={signed!r} may hold only {{body}}, {{timestamp}} and {{id}}")
    fields = [field for _, field, _, _ in parsed if field is not None]
    if fields.count("body") != 1:
        raise RegistrationError(f"signed={signed!r} must hold {{body}} once")
    for name, header in headers.items():
        _check_field(signed, fields, name, header)
    _check_separated(signed, parsed)
    return [(literal, field or "") for literal, field, _, _ in parsed]


def _check_field(signed: str, fields: list[str], name: str, header: str | None) -> None:
    if header == "":
        raise RegistrationError(f"{name}_header is an empty name: name the header or leave it out")
    if name in fields and header is None:
        raise RegistrationError(f"signed={signed!r} holds {{{name}}}: name its header as {name}_header")
    if name not in fields and header is not None:
        other = "; write unsigned_id_header= for a sender that does not sign its ids" if name == "id" else ""
        raise RegistrationError(
            f"{name}_header is given but signed={signed!r} does not hold {{{name}}}: "
            f"a {name} that is not signed proves nothing{other}"
        )


def _check_separated(signed: str, parsed: list[tuple[str, str | None, str | None, str | None]]) -> None:
    """Reject `{id}{timestamp}`: a character could move from one to the other under the same signature."""
    neighbours = [{before, field} for (_, before, _, _), (literal, field, _, _) in pairwise(parsed) if not literal]
    if any("id" in pair and None not in pair for pair in neighbours):
        raise RegistrationError(f"signed={signed!r} must separate {{id}} from the other parts")
