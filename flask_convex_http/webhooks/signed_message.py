"""What HMAC and public-key families share: a signature over a message that a template describes.

The message is a template of literal text and these fields:

| Field | Value |
| --- | --- |
| `{body}` | the raw body |
| `{timestamp}` | the signed time, as it is written |
| `{id}` | the value of `id_header` |
| `{url}` | the URL as the sender wrote it, with its query string |
| `{method}` | the method, `POST` |
| `{form}` | the names and values of a form, sorted by name and written one after another, as Twilio does |
| `{payload.NAME}` | a text or a number in the body, by its path, for a sender that signs some fields |

The signature is in a header, in one item of a header such as `t=1700000000,v1=...`, or in the body.
"""

from __future__ import annotations

import base64
import functools
from abc import abstractmethod
from datetime import timedelta
from typing import Any, Unpack
from urllib.parse import parse_qsl

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.webhooks.configured import ConfiguredProvider, EventOptions, check_places
from flask_convex_http.webhooks.encodings import Encoding, decode_signature
from flask_convex_http.webhooks.events import Delivery, SignedRequest
from flask_convex_http.webhooks.message_templates import PAYLOAD, parse_template
from flask_convex_http.webhooks.parsing import TIME_FORMATS, TimeFormat, field_at, format_time, parse_time, text_field
from flask_convex_http.webhooks.secrets import Secrets

_ENCODINGS = ("hex", "base64")
#: The status that a sender demands for a wrong signature, by its header. Xero's "intent to receive" checks it:
#: https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/
_DEMANDED_STATUSES = {"x-xero-signature": 401, "x-shopify-hmac-sha256": 401}
#: Signatures in one header that are checked. A sender that rotates its secret sends two.
_MOST_SIGNATURES = 10
_MOST_FIELDS = 1000


class SigningOptions(EventOptions, total=False):
    """The options that say how a sender signs a message; see `HmacSignature`."""

    prefix: str
    signed: str
    timestamp_header: str | None
    time_format: TimeFormat
    signature_name: str | None
    timestamp_name: str | None
    separator: str
    timestamp_field: str | None
    signs_body: bool
    url: str | None


class MessageOptions(SigningOptions, total=False):
    """The options of all families that sign a message: how, and how old it may be."""

    tolerance: timedelta | None
    future_tolerance: timedelta | None


class SignedMessage(ConfiguredProvider):
    """A provider that signs a message in which the parts of a delivery are put together. See `HmacSignature`."""

    def __init__(
        self,
        *,
        secret: Secrets,
        header: str | None = None,
        encoding: Encoding = "hex",
        prefix: str = "",
        signed: str = "{body}",
        timestamp_header: str | None = None,
        time_format: TimeFormat = "seconds",
        signature_name: str | None = None,
        timestamp_name: str | None = None,
        separator: str = ",",
        signature_field: str | None = None,
        timestamp_field: str | None = None,
        signs_body: bool = True,
        url: str | None = None,
        tolerance: timedelta | None = None,
        future_tolerance: timedelta | None = None,
        **options: Unpack[EventOptions],
    ) -> None:
        check_places(options)
        _check_signature(header, signature_field, signature_name, timestamp_name, separator)
        time = timestamp_header or timestamp_name or timestamp_field
        _check_timed("tolerance", tolerance, time)
        _check_timed("future_tolerance", future_tolerance, time)
        if encoding not in _ENCODINGS:
            raise RegistrationError(f'encoding must be "hex" or "base64", not {encoding!r}')
        if time_format not in TIME_FORMATS:
            raise RegistrationError(f"time_format must be one of {', '.join(TIME_FORMATS)}, not {time_format!r}")
        place = timestamp_header if timestamp_header is not None else time
        id_header = options.get("id_header")
        self._template = parse_template(signed, timestamp=place, id_header=id_header, is_partial=not signs_body)
        self._header, self._encoding, self._prefix = header, encoding, prefix
        self._time, self._time_format = time, time_format
        self._timestamp_header, self._timestamp_field = timestamp_header, timestamp_field
        self._signature_name, self._timestamp_name, self._separator = signature_name, timestamp_name, separator
        self._signature_field = signature_field
        self._url = url
        self._signs_body = signs_body
        if options.get("rejected_status") is None:
            options["rejected_status"] = _DEMANDED_STATUSES.get((header or "").lower())
        fields = {field for _, field in self._template}
        parts = [name for name in ("url", "method") if name in fields]
        time_part = timestamp_header or (header if timestamp_name else None)
        super().__init__(
            secret=secret,
            tolerance=tolerance,
            future_tolerance=future_tolerance,
            signed=(*(["body"] if signs_body else []), *parts, *(name for name in (time_part, id_header) if name)),
            needed=(header, timestamp_header),
            id_is_signed=signs_body or id_header is not None or f"{PAYLOAD}{options.get('id_field')}" in fields,
            **options,
        )

    # --- for a family to define --------------------------------------------------------------------------------------

    @abstractmethod
    def verify_message(self, message: bytes, signature: bytes, key: bytes) -> bool:
        """Return whether a key made the signature of a message, compared in constant time."""

    @abstractmethod
    def sign_message(self, message: bytes, secret: str) -> bytes:
        """Return the signature of a message, for test deliveries."""

    # --- verification ------------------------------------------------------------------------------------------------

    @property
    def signs_time(self) -> bool:
        """Whether a place of a signed time was named."""
        return self._time is not None

    def timestamp(self, delivery: Delivery) -> float | None:
        """Return the signed time in seconds since the epoch, or None if no place was named."""
        return None if self._time is None else parse_time(self._time_text(delivery), self._time_format)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Return whether a signature of the delivery is that of the filled template."""
        message = self._message(delivery)
        return any(self.verify_message(message, signature, key) for signature in self._signatures(delivery))

    def signed_content(self, delivery: Delivery) -> bytes:
        """Return the body, a form's fields in order, or the message of a sender that signs some fields only."""
        if not self._signs_body:
            return self._message(delivery)
        return _sorted_form(delivery.body) if any(name == "form" for _, name in self._template) else delivery.body

    def _signatures(self, delivery: Delivery) -> list[bytes]:
        if self._signature_name is not None:
            texts = self._items(delivery, self._signature_name)[:_MOST_SIGNATURES]
        elif self._signature_field is not None:
            texts = [text_field(self.payload(delivery), self._signature_field)]
        else:
            texts = [delivery.header(self._header or "")]
        return [decode_signature(text, self._prefix, self._encoding) for text in texts]

    def _items(self, delivery: Delivery, name: str) -> list[str]:
        """Return the values of the items with a name in the header, such as `v1=...`."""
        pairs = _items_of(delivery.header(self._header or ""), self._separator)
        found = [value for item, value in pairs if item == name]
        if not found:
            raise VerificationError("malformed", f"{self._header} header has no {name}=")
        return found

    def _time_text(self, delivery: Delivery) -> str:
        if self._timestamp_header is not None:
            return delivery.header(self._timestamp_header)
        if self._timestamp_field is not None:
            return self._payload_text(delivery, self._timestamp_field)
        found = self._items(delivery, self._timestamp_name or "")
        if len(found) != 1:
            raise VerificationError("malformed", f"{self._header} header must have exactly one timestamp")
        return found[0]

    def _message(self, delivery: Delivery) -> bytes:
        return b"".join([literal + self._value(name, delivery) for literal, name in self._template])

    def _value(self, name: str, delivery: Delivery) -> bytes:
        if name == "body":
            return delivery.body
        if name == "timestamp":
            return self._time_text(delivery).encode()
        if name == "id" and self._id_header:
            return delivery.token(self._id_header).encode()
        if name == "url":
            return self._signed_url(delivery).encode("utf-8", "surrogateescape")
        if name == "method":
            return delivery.method.encode()
        if name == "form":
            return _sorted_form(delivery.body)
        return self._payload_text(delivery, name.removeprefix(PAYLOAD)).encode() if name else b""

    def _signed_url(self, delivery: Delivery) -> str:
        """Return the URL of a delivery. The one that was configured replaces what comes before its query string."""
        if self._url is None:
            return delivery.url
        _, mark, query = delivery.url.partition("?")
        return self._url + mark + query

    def _payload_text(self, delivery: Delivery, path: str) -> str:
        payload: Any = self.payload(delivery)
        value = field_at(payload, path)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return text_field(payload, path)

    # --- test deliveries ---------------------------------------------------------------------------------------------

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as this provider verifies. A signed URL is the one that was configured."""
        request = SignedRequest(body=body, url=self._url or "")
        return dict(
            self.sign_request(request, secret=secret, event_id=event_id, event_type=event_type, now=now).headers
        )

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Sign a request as this provider verifies.

        Raises:
            NotImplementedError: The signature is in the body.
        """
        if self._header is None:
            raise NotImplementedError("A signature in the body is part of a payload: give a whole, signed payload")
        headers, time = self.named_headers(event_id, event_type), format_time(now, self._time_format)
        if self._timestamp_header is not None:
            headers[self._timestamp_header] = time
        items = [f"{self._timestamp_name}={time}"] if self._timestamp_name else []
        headers[self._header] = self._separator.join(items)
        delivery = Delivery(request.headers_of(headers), request.body, now)
        signature = self.sign_message(self._message(delivery), secret)
        text = self._prefix + (signature.hex() if self._encoding == "hex" else base64.b64encode(signature).decode())
        named = [f"{self._signature_name}={text}"] if self._signature_name else [text]
        return request.with_headers({**headers, self._header: self._separator.join((*items, *named))})


@functools.lru_cache(maxsize=16)  # each delivery asks several times
def _items_of(header: str, separator: str) -> tuple[tuple[str, str], ...]:
    """Return the names and values in a header such as `t=1700000000,v1=...`."""
    pairs = [item.strip().partition("=") for item in header.split(separator)]
    return tuple([(name, value) for name, _, value in pairs])


def _sorted_form(body: bytes) -> bytes:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise VerificationError("malformed", "Webhook body is not a form") from error
    return "".join(name + value for name, value in sorted(set(pairs))).encode()


def _check_signature(
    header: str | None, field: str | None, name: str | None, timestamp_name: str | None, separator: str
) -> None:
    if header is None and field is None:
        raise RegistrationError('name the place of the signature: header="X-Signature", or signature_field=')
    if header == "":
        raise RegistrationError('header is empty: name the header with the signature, "X-Signature"')
    if header is not None and field is not None:
        raise RegistrationError("header and signature_field are both given: the signature has one place")
    if (name is not None or timestamp_name is not None) and (header is None or not name):
        raise RegistrationError('timestamp_name= and signature_name= name items of a header: header="X-Signature"')
    if not separator:
        raise RegistrationError('separator is empty: name what separates the items of the header, such as ","')


def _check_timed(name: str, tolerance: timedelta | None, place: str | None) -> None:
    if tolerance is not None and place is None:
        raise RegistrationError(f"{name} needs timestamp_header: name that header or drop {name}")
