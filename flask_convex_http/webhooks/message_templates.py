"""Templates of signed messages: literal text, and fields such as `{timestamp}`, `{body}` or `{url}`."""

from __future__ import annotations

from itertools import pairwise
from string import Formatter
from typing import TypeAlias

from flask_convex_http.errors import RegistrationError

#: Literal text, and the field after it.
Template: TypeAlias = list[tuple[bytes, str]]

#: The prefix of a field of the payload, `{payload.signature.token}`.
PAYLOAD = "payload."
_FIELDS = ("body", "timestamp", "id", "url", "method", "form")
#: The fields that stand for the content. One of them must be signed.
_CONTENTS = ("body", "form")


def parse_template(signed: str, *, timestamp: str | None, id_header: str | None, is_partial: bool) -> Template:
    """Return a template as pairs of literal text and the field after it.

    Args:
        signed: The template.
        timestamp: The place of the signed time, if one is named.
        id_header: The header with the signed id, if one is named.
        is_partial: Whether the sender signs fields of the payload instead of the whole body.

    Raises:
        RegistrationError: It is not a template, or does not fit the named places.
    """
    try:
        parsed = list(Formatter().parse(signed))
    except ValueError as error:
        raise RegistrationError(f"signed={signed!r} is not a template: {error}") from error
    for _, field, specification, conversion in parsed:
        if field is not None and (not _is_field(field) or specification or conversion):
            raise RegistrationError(
                f"signed={signed!r} may hold only {{body}}, {{timestamp}} and {{id}}, {{url}}, {{method}}, {{form}} "
                "and {payload.NAME}"
            )
    fields = [field for _, field, _, _ in parsed if field is not None]
    _check_content(signed, fields, is_partial)
    _check_place(signed, fields, "timestamp", timestamp)
    _check_place(signed, fields, "id", id_header)
    _check_separated(signed, parsed)
    return [(literal.encode(), field or "") for literal, field, _, _ in parsed]


def _is_field(field: str) -> bool:
    return field in _FIELDS or (field.startswith(PAYLOAD) and len(field) > len(PAYLOAD))


def _check_content(signed: str, fields: list[str], is_partial: bool) -> None:
    count = sum(fields.count(name) for name in _CONTENTS)
    if count == 1 or (count == 0 and is_partial):
        return
    if any(field.startswith(PAYLOAD) for field in fields) and count == 0:
        raise RegistrationError(
            f"signed={signed!r} must hold {{body}} once, or the rest of the body is not signed; a sender that signs no "
            "more needs signs_body=False"
        )
    raise RegistrationError(f"signed={signed!r} must hold {{body}} once")


def _check_place(signed: str, fields: list[str], name: str, place: str | None) -> None:
    if place == "":
        raise RegistrationError(f"{name}_header is an empty name: name the header or leave it out")
    if name in fields and place is None:
        raise RegistrationError(f"signed={signed!r} holds {{{name}}}: name its header as {name}_header")
    if name not in fields and place is not None and PAYLOAD + place not in fields:
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
