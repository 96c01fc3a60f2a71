"""Form fields for typed values."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest

from flask_convex_http import Id
from flask_convex_http.dashboard.fields import FormField, form_field, read_fields, read_value, write_value
from tests.dashboard.shop import Customer


def field_of(annotation: Any, default: str | None = None) -> FormField:
    """Return the field for an annotation."""
    return form_field("x", annotation, is_required=default is None, default=default)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, "text"),
        (Id[Customer], "text"),
        (datetime, "text"),
        (int | None, "integer"),
        (Annotated[int, msgspec.Meta(ge=1)], "integer"),
        (float, "number"),
        (bool, "choice"),
        (Literal["a", 1] | None, "choice"),
        (list[str], "json"),
        (dict[str, Any] | None, "json"),
        (int | str, "json"),
        (bytes, "json"),
    ],
)
def test_kinds(annotation: Any, kind: str) -> None:
    """The type says how a value is entered."""
    assert field_of(annotation).kind == kind


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "a\nb"),
        (str, ""),
        (str | None, ""),
        (str | None, None),
        (int, -3),
        (int | None, None),
        (float, 1.5),
        (bool, False),
        (bool | None, None),
        (Literal["a", 1], 1),
        (list[str], []),
        (dict[str, int], {"a": 1}),
    ],
)
def test_values(annotation: Any, value: Any) -> None:
    """The text of a value stands for that value."""
    field = field_of(annotation)
    assert read_value(field, write_value(field, value)) == value


def test_defaults() -> None:
    """An empty field with a default is left out."""
    assert read_fields([field_of(int, "10"), field_of(str, "'a'")], {"x": ""}) == ({}, {})
    assert "Empty: the default, 10." in field_of(int, "10").hint


@pytest.mark.parametrize(
    ("annotation", "text", "error"),
    [
        (int, "one", "Enter a whole number."),
        (int, "true", "Enter a whole number."),
        (float, "", "Enter a value."),
        (bool, "yes", "Choose one of true, false."),
        (list[str], "[", "This is not JSON"),
        (list[str], "[" * 100_000, "This is not JSON"),
    ],
)
def test_errors(annotation: Any, text: str, error: str) -> None:
    """Another text is an error that says what to enter."""
    values, errors = read_fields([field_of(annotation)], {"x": text})
    assert values == {} and error in errors["x"]
