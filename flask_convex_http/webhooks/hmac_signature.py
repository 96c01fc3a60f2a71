"""A provider for any sender that signs with an HMAC. Every choice is an argument.

The signed message is a template, see `signed_message`. A header named for `{timestamp}` or `{id}` must be in the
template, because anyone who replays the delivery could change an unsigned timestamp or id. A sender whose id is not
signed has it in `unsigned_id_header`.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Unpack

from flask_convex_http.errors import RegistrationError
from flask_convex_http.webhooks.configured import EventOptions
from flask_convex_http.webhooks.encodings import Encoding
from flask_convex_http.webhooks.parsing import TimeFormat
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.signed_message import SignedMessage

_ALGORITHMS = ("sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512")
_WEAK_ALGORITHMS = ("md5", "sha1")


class HmacSignature(SignedMessage):
    """Webhooks with an HMAC: of the body, and optionally of a timestamp, an id, the URL and the method.

    The body is a JSON object, a JSON array or a form. The further options are those of `EventOptions`: where the id and
    the type of an event are, and how the sender behaves.

    Args:
        secret: The signing secret (its UTF-8 bytes are the key), `from_env(...)`, or a list of these.
        header: The header with the signature.
        algorithm: sha256, sha384, sha512, sha3_256, sha3_384 or sha3_512, or md5 or sha1 if allowed below.
        encoding: The encoding of the signature: "hex" or "base64".
        prefix: The text before the signature in the header, such as `sha256=`.
        signed: The template of the signed message, such as `{timestamp}.{body}` or `v0:{timestamp}:{body}`. Its fields
            are `{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}`, `{form}` (a form's names and values, sorted by
            name) and `{payload.NAME}`.
        timestamp_header: The header with the signed time.
        time_format: How the time is written: "seconds" or "milliseconds" since the epoch, or "rfc3339".
        signature_name: The name of the signature in a header with several items: "v1" for `t=1700000000,v1=...`.
        timestamp_name: The name of the signed time in that header: "t".
        separator: The text between the items of that header.
        signature_field: The payload's field with the signature, or a path, if the signature is in the body.
        timestamp_field: The payload's field with the signed time, or a path. It must be in the template as
            `{payload.NAME}`.
        signs_body: False for a sender that signs some fields of the payload only. Anyone who has seen such a delivery
            can change the rest of its body.
        url: The URL as it is configured at the sender, without a query string, for `{url}` behind a proxy that changes
            it. By default the URL of the request.
        tolerance: How far the timestamp may be from now, in the past and in the future. By default 5 minutes. Requires
            a place for the timestamp.
        future_tolerance: How far it may be in the future, if that differs.
        allow_weak_algorithm: Allow md5 and sha1, for a sender that has nothing else.
        **options: See `EventOptions`.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    name = "hmac"

    def __init__(
        self,
        *,
        secret: Secrets,
        header: str | None = None,
        algorithm: str = "sha256",
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
        allow_weak_algorithm: bool = False,
        **options: Unpack[EventOptions],
    ) -> None:
        super().__init__(
            secret=secret,
            header=header,
            encoding=encoding,
            prefix=prefix,
            signed=signed,
            timestamp_header=timestamp_header,
            time_format=time_format,
            signature_name=signature_name,
            timestamp_name=timestamp_name,
            separator=separator,
            signature_field=signature_field,
            timestamp_field=timestamp_field,
            signs_body=signs_body,
            url=url,
            tolerance=tolerance,
            future_tolerance=future_tolerance,
            **options,
        )
        _check_algorithm(algorithm, allow_weak_algorithm)
        self._algorithm = algorithm

    def verify_message(self, message: bytes, signature: bytes, key: bytes) -> bool:
        """Compare a signature with the HMAC of the message."""
        return hmac.compare_digest(hmac.digest(key, message, self._algorithm), signature)

    def sign_message(self, message: bytes, secret: str) -> bytes:
        """Return the HMAC of the message."""
        return hmac.digest(self.key(secret), message, self._algorithm)


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
