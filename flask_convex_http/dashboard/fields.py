"""Form fields for typed values: the arguments of a function, the fields of a document.

A field takes text, and gives the JSON value that the function or the document validates. An empty field is left out if
it has a default, and null if it may be null; `""` is then the empty text.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Union

import msgspec

from flask_convex_http.ids import Id
from flask_convex_http.validation.annotations import describe

Kind = Literal["text", "integer", "number", "choice", "json"]

_KINDS: dict[Any, Kind] = {str: "text", datetime: "text", int: "integer", float: "number"}
_HINTS: dict[Kind, str] = {"text": "", "integer": "", "number": "", "choice": "", "json": "As JSON."}
_EMPTY_TEXT = '""'


class FormField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a form.

    Attributes:
        name: Its name, which is that of the argument or of the document's field.
        type: Its type as source code.
        kind: How it is entered.
        choices: The values of a choice, as JSON.
        is_required: Whether it has no default.
        is_nullable: Whether null is a value.
        default: The default as source code.
    """

    name: str
    type: str
    kind: Kind
    choices: list[str] = []
    is_required: bool = True
    is_nullable: bool = False
    default: str | None = None

    @property
    def hint(self) -> str:
        """Instructions for people."""
        parts = [_HINTS[self.kind]]
        if not self.is_required:
            parts.append(f"Empty: the default, {self.default}.")
        elif self.is_nullable and self.kind != "choice":
            parts.append("Empty: null.")
        if self.kind == "text" and (self.is_nullable or not self.is_required):
            parts.append(f"{_EMPTY_TEXT}: an empty text.")
        return " ".join(filter(None, parts))


class FieldError(ValueError):
    """A field has no value of its kind."""


def form_field(name: str, annotation: Any, *, is_required: bool, default: str | None = None) -> FormField:
    """Return the field for an annotated argument or field of a document.

    Args:
        name: Its name.
        annotation: Its type.
        is_required: Whether it has no default.
        default: The default as source code.
    """
    inner, is_nullable = _without_null(annotation)
    kind, choices = _kind(inner)
    if kind == "choice" and is_nullable:
        choices = [*choices, "null"]
    return FormField(
        name=name,
        type=describe(annotation),
        kind=kind,
        choices=choices,
        is_required=is_required,
        is_nullable=is_nullable,
        default=default,
    )


def read_fields(fields: list[FormField], form: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a form by name, and the errors of the other fields."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for field in fields:
        text = form.get(field.name, "").replace("\r\n", "\n")
        if not text and not field.is_required:
            continue
        try:
            values[field.name] = read_value(field, text)
        except FieldError as error:
            errors[field.name] = str(error)
    return values, errors


def read_value(field: FormField, text: str) -> Any:
    """Return the value that a text stands for.

    Raises:
        FieldError: It stands for none.
    """
    if not text and field.is_nullable:
        return None
    if field.kind == "text":
        return "" if text == _EMPTY_TEXT and (field.is_nullable or not field.is_required) else text
    if not text.strip():
        raise FieldError("Enter a value.")
    if field.kind == "choice" and text not in field.choices:
        raise FieldError(f"Choose one of {', '.join(field.choices)}.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FieldError(_wanted(field.kind) or f"This is not JSON: {error}.") from None
    if field.kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise FieldError(_wanted(field.kind))
    return value


def write_value(field: FormField, value: Any) -> str:
    """Return the text that stands for a JSON value; the opposite of `read_value`."""
    if value is None and field.kind != "json":
        return "null" if field.kind == "choice" else ""
    if field.kind == "text":
        return _EMPTY_TEXT if value == "" and field.is_nullable else str(value)
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, (list, dict)) and value else None)


def _wanted(kind: Kind) -> str:
    return {"integer": "Enter a whole number.", "number": "Enter a number."}.get(kind, "")


def _without_null(annotation: Any) -> tuple[Any, bool]:
    """Return a type without Annotated and None, and whether it takes None."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    others = [each for each in typing.get_args(annotation) if each is not type(None)]
    is_nullable = len(others) < len(typing.get_args(annotation))
    if len(others) != 1:
        return annotation, is_nullable
    return _without_null(others[0])[0], is_nullable


def _kind(annotation: Any) -> tuple[Kind, list[str]]:
    if annotation is bool:
        return "choice", ["true", "false"]
    if typing.get_origin(annotation) is Literal:
        return "choice", [json.dumps(each) for each in typing.get_args(annotation)]
    if typing.get_origin(annotation) is Id:
        return "text", []
    return _KINDS.get(annotation, "json"), []
