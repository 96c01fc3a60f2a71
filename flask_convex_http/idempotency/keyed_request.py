"""The header `Idempotency-Key`, and what makes a request a retry of another.

The header is that of draft-ietf-httpapi-idempotency-key-header: a string of Structured Fields (RFC 8941, 3.3.3), such
as `"8e03978e-40d5-43dd-bc93-6894a57f9324"`. Most clients send the same without quotes, which is the same key.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal

import msgspec

from flask_convex_http.error_texts import plain
from flask_convex_http.errors import RequestError
from flask_convex_http.signing import Signing

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
#: A string with its parameters, which have no meaning here (RFC 8941, 3.1.2).
_STRING = re.compile(
    r'"((?:[ !#-\[\]-~]|\\["\\])*)"(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|[!#-+\--:<-~]+))?)*'
)
#: Visible ASCII. A comma would be two headers, which servers join, and a quotation mark a string that does not end.
_BARE = re.compile(rf"[!#-+\--~]{{1,{MAX_KEY_LENGTH}}}")
_PURPOSE = "idempotency"
#: The start of the text of a digest, before the key. Each text has its length before it, so that no two look alike.
_ANONYMOUS = b"0:0:0:"

#: Numbers keep their digits, so that bodies with different numbers are never equal.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")


class KeyedRequest(msgspec.Struct, frozen=True, gc=False):  # one for each request, and a dataclass takes longer
    """A request with an idempotency key.

    Attributes:
        key: The key.
        identity: The caller, None for an anonymous one.
        method: The method.
        path: The path.
        request_id: The id of the request.
        row_id: The id of its row: the first 16 digits of a keyed digest of the caller and the key. One pair of keys in
            2**64 has the same one. Every character of an id takes room in the index.
        fingerprint: A keyed digest of what a retry must have in common with the request.
        keep: How long the key is kept, in milliseconds.
        number: A digest of 64 bits, signed, for locks.
    """

    key: str
    identity: str | None
    method: str
    path: str
    request_id: str
    row_id: str
    fingerprint: str
    keep: float
    number: int


class RequestContent(msgspec.Struct, frozen=True, gc=False):
    """What a retry must have in common with its first request.

    Attributes:
        method: The method.
        path: The path, as it was decoded.
        query: The query string, as it was sent.
        body: The body.
        is_json: Whether the body is JSON, and equal to another if its values are.
    """

    method: str
    path: str
    query: str
    body: bytes
    is_json: bool


def parse_key(value: str | None) -> str | None:
    """Return the key of the header `Idempotency-Key`, or None without the header.

    Args:
        value: The value of the header.

    Raises:
        RequestError: The value is not a string of Structured Fields or a bare text of visible ASCII, or the key does
            not have 1 to 255 characters (400).
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if _BARE.fullmatch(value):
        return value
    string = _STRING.fullmatch(value) if len(value) <= 4 * MAX_KEY_LENGTH else None
    key = "" if string is None else re.sub(r"\\(.)", r"\1", string[1])
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise RequestError(f"{HEADER} must be one string of 1 to {MAX_KEY_LENGTH} printable ASCII characters", 400)
    return key


def keyed_request(
    signing: Signing, key: str, identity: str | None, content: RequestContent, request_id: str, keep: float
) -> KeyedRequest:
    """Return a request with its digests.

    Args:
        signing: Has the keys of the digests.
        key: The idempotency key.
        identity: The caller, None for an anonymous one.
        content: What a retry must have in common with it.
        request_id: The id of the request.
        keep: How long the key is kept, in milliseconds.
    """
    secret = signing.key(_PURPOSE)
    if identity is None:
        caller = _ANONYMOUS
    else:
        identity = plain(identity)
        known = identity.encode()
        caller = b"0:%d:%b5:known" % (len(known), known)
    one = key.encode()
    digest = hashlib.blake2b(b"%b%d:%b" % (caller, len(one), one), key=secret, digest_size=16).digest()
    method, path = content.method, content.path
    return KeyedRequest(
        key,
        identity,
        method,
        path if path.isascii() else plain(path),
        request_id,
        digest[:8].hex(),
        hashlib.blake2b(_described(content), key=secret, digest_size=16).hexdigest(),
        keep,
        int.from_bytes(digest[:8], "big", signed=True),
    )


def _described(content: RequestContent) -> bytes:
    """Return a request as one text. Each of its texts has its length before it, so that none can look like two."""
    method = content.method.encode()
    path, query = content.path.encode("utf-8", "surrogatepass"), content.query.encode("utf-8", "surrogatepass")
    body = _canonical(content.body) if content.is_json else content.body
    # One text and one call of the hash: a third of the time of a loop.
    return b"%d:%b%d:%b%d:%b%d:%b" % (len(method), method, len(path), path, len(query), query, len(body), body)


def _canonical(body: bytes) -> bytes:
    """Return a JSON body with sorted keys and without blanks, or the body itself if it is not JSON.

    Some clients write the fields of an object in another order after a restart.
    """
    try:
        return _encoder.encode(_decoder.decode(body))
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        return body
