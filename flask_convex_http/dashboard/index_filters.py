"""The filters of a table's page: an index, and conditions on its first fields, from the query string.

`on-name=is&at-name=Lamp` keeps the rows whose `name` is Lamp. The conditions are those of `with_index`: equalities, and
one range after them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from flask_convex_http.dashboard.fields import FieldError, FormField, form_field, read_value
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.schema.documents import Index, Table
from flask_convex_http.schema.index_ranges import between, gt, gte, lt, lte
from flask_convex_http.validation.validator import InvalidValueError

_TIME = "creation_time"
_RANGES = {"above": gt, "from": gte, "below": lt, "to": lte}
#: Each condition and its label.
CONDITIONS = (
    ("", "any"),
    ("is", "is"),
    ("from", "at least"),
    ("above", "more than"),
    ("to", "at most"),
    ("below", "less than"),
    ("between", "between"),
)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on one field of an index, as its form shows it.

    Attributes:
        field: The form field of its value.
        kind: One of `CONDITIONS`; empty for none.
        text: The value as text.
        upper: The other end of `between`, as text.
        error: Its error.
    """

    field: FormField
    kind: str = ""
    text: str = ""
    upper: str = ""
    error: str = ""


def conditions_of(visit: Visit, table: Table[Any], index: Index) -> tuple[list[Condition], dict[str, Any]]:
    """Return the conditions of a request, and the arguments of `with_index` that they mean."""
    conditions: list[Condition] = []
    arguments: dict[str, Any] = {}
    is_open = True  # until a field has no equality
    for name in (*index.fields, _TIME):
        condition = _condition(visit, table, name)
        if condition.kind and not is_open:
            text = f"The fields before {name} need the condition “is” first; this one is ignored."
            condition = msgspec.structs.replace(condition, error=text)
        elif condition.kind:
            condition = _add(arguments, table, condition)
        is_open = is_open and condition.kind == "is" and not condition.error
        conditions.append(condition)
    return conditions, arguments


def _condition(visit: Visit, table: Table[Any], name: str) -> Condition:
    kind = visit.choice(f"on-{name}", [each for each, _ in CONDITIONS])
    return Condition(
        field=_form_field(table, name), kind=kind, text=visit.text(f"at-{name}"), upper=visit.text(f"until-{name}")
    )


def _form_field(table: Table[Any], name: str) -> FormField:
    if name == _TIME:
        return FormField(name=name, type="time", kind="text")
    return form_field(name, table.columns[name].validator.annotation, is_required=True)


def _add(arguments: dict[str, Any], table: Table[Any], condition: Condition) -> Condition:
    """Add the argument that a condition means, and return the condition with its error, if it has one."""
    name = condition.field.name
    try:
        value = _value(table, condition.field, condition.text)
        if condition.kind == "is":
            arguments[name] = value
        elif condition.kind == "between":
            arguments[name] = between(value, _value(table, condition.field, condition.upper))
        else:
            arguments[name] = _RANGES[condition.kind](value)
    except (FieldError, InvalidValueError) as error:
        return msgspec.structs.replace(condition, error=str(error).removesuffix(" - at `$`"))
    return condition


def _value(table: Table[Any], field: FormField, text: str) -> Any:
    if field.name == _TIME:
        return _milliseconds(text)
    return table.columns[field.name].validator.check_json(read_value(field, text))


def _milliseconds(text: str) -> float:
    """Return the time of a text: a date, with or without a time, or milliseconds since the epoch.

    Raises:
        FieldError: It is neither.
    """
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else _moment(text).timestamp() * 1000
    except (ValueError, OverflowError):
        raise FieldError("Write a time such as 2027-01-31 or 2027-01-31T12:00:00Z.") from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
