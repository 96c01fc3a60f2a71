"""Check what msgspec does not: the table of ids, and the fields of instances.

msgspec accepts an instance of the right class without a look at its fields, and a constructor does not validate. So the
fields of records are checked here. A `Check` receives a value whose outer type msgspec has checked.
"""

from __future__ import annotations

import operator
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Self, get_args, get_origin

from msgspec import UNSET

from flask_convex_http.ids import IdOf
from flask_convex_http.validation.annotations import (
    MAPPINGS,
    PLAIN_TYPES,
    SEQUENCES,
    UNIONS,
    describe,
    is_document,
    is_record,
    split_annotated,
    split_union,
)

#: Takes a value, and whether documents with an id are trusted as read from the database. Raises `InvalidValueError`.
Check = Callable[[Any, bool], None]
#: Makes the check of a class with fields or keys. A recursive class asks for a check that is still being made.
MakeRecordCheck = Callable[[Any], Check | None]

_id_of = operator.attrgetter("id")

_AT = " - at `$"
_ID_OF = "Expected an id of table "
#: The errors of msgspec, and the one of ids, about values of the right type.
_OUT_OF_RANGE = re.compile(
    rf"Expected `\w+` (?:[<>]=? |of length |matching regex |that's a multiple of )|Invalid enum value |{_ID_OF}"
)
#: Characters of a message that a client sees, who may have chosen a value in it.
_LONGEST_MESSAGE = 1000
#: Characters of a name or key in a message; clients choose some of them.
_LONGEST_NAME = 64


class InvalidValueError(ValueError):
    """A value does not match. The message has the expected type and the path, where `$` is the value itself."""

    @property
    def is_of_range(self) -> bool:
        """Whether the value has the right type, and is out of bounds, not one of the choices or no id of the table."""
        return isinstance(self, NotStorableError) or _OUT_OF_RANGE.match(str(self)) is not None

    @property
    def client_message(self) -> str:
        """The message without names of tables, for clients."""
        text, at, path = str(self).rpartition(_AT)
        return f"Expected a valid id{at}{path}" if text.startswith(_ID_OF) else str(self)[:_LONGEST_MESSAGE]

    @property
    def text(self) -> str:
        """The message without the path."""
        return str(self).rpartition(_AT)[0] or str(self)

    def inside(self, step: str) -> Self:
        """Return this error with one more step at the start of its path."""
        text, _, path = str(self).rpartition(_AT)
        return type(self)(f"{text}{_AT}{step}{path}")


class NotStorableError(InvalidValueError):
    """A value has the right type, and the database cannot hold it."""


def make_check(annotation: Any, record_check: MakeRecordCheck) -> Check | None:
    """Return the check of a value whose outer type is right, or None if nothing remains to be checked.

    Args:
        annotation: The annotation of the value.
        record_check: Makes the checks of records in it.
    """
    base, metadata = split_annotated(annotation)
    for meta in metadata:
        if isinstance(meta, IdOf):
            return _check_id(meta)
    origin, parts = get_origin(base), get_args(base)
    if origin in UNIONS:
        return _check_union(parts, record_check)
    if origin is tuple and parts[-1:] != (...,):
        return _check_places({f"[{number}]": make_check(part, record_check) for number, part in enumerate(parts)})
    if origin is tuple or origin in SEQUENCES:
        are_documents = is_document(split_annotated(parts[0])[0])
        return _check_items(make_check(parts[0], record_check), are_documents=are_documents)
    if origin in MAPPINGS:
        return _check_values(*(make_check(part, record_check) for part in parts))
    return record_check(base) if is_record(base) or typing.is_typeddict(base) else None


def _check_id(marker: IdOf) -> Check:
    def check(value: Any, trusting: bool) -> None:
        if not marker.accepts(value):
            tables = " or ".join(sorted(marker.tables)) or str(marker)
            raise InvalidValueError(f"{_ID_OF}{tables}{_AT}`")

    return check


def _check_union(members: tuple[Any, ...], record_check: MakeRecordCheck) -> Check | None:
    values, absent = split_union(members)
    if len(values) == 1:
        return _check_present(make_check(values[0], record_check)) if absent else make_check(values[0], record_check)
    checks = [(_class_of(member), make_check(member, record_check)) for member in values]
    by_class = [(expected, check) for expected, check in checks if check is not None]
    return _check_by_class(by_class) if by_class else None


def _check_present(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(value: Any, trusting: bool) -> None:
        if value is not None and value is not UNSET:
            inner(value, trusting)

    return check


def _check_by_class(checks: list[tuple[Any, Check]]) -> Check:
    """Return a check that picks the member by class: in a union that msgspec accepts, no two members share one."""

    def check(value: Any, trusting: bool) -> None:
        for expected, inner in checks:
            if isinstance(value, expected):
                inner(value, trusting)
                return

    return check


def _class_of(annotation: Any) -> Any:
    base, _ = split_annotated(annotation)
    origin = get_origin(base) or base
    if origin in MAPPINGS or typing.is_typeddict(origin):
        return dict
    return (list, tuple, set, frozenset) if origin is tuple or origin in SEQUENCES else origin


def _check_items(item: Check | None, *, are_documents: bool) -> Check | None:
    if item is None:
        return None

    def check(value: Any, trusting: bool) -> None:
        if are_documents and trusting and UNSET not in map(_id_of, value):
            return  # all are from the database; see `check_fields`
        number = 0
        try:
            for number, inner in enumerate(value):  # noqa: B007  # the except clause names it
                item(inner, trusting)
        except InvalidValueError as error:
            raise error.inside(f"[{number}]") from None

    return check


def _check_places(checks: Mapping[str, Check | None]) -> Check | None:
    """Return the check of a tuple, from those of its items."""
    wanted = [(number, step, check) for number, (step, check) in enumerate(checks.items()) if check is not None]
    if not wanted:
        return None

    def check(value: Any, trusting: bool) -> None:
        for number, step, inner in wanted:
            _run(inner, value[number], trusting, step)

    return check


def _check_values(of_key: Check | None, of_value: Check | None) -> Check | None:
    if of_key is None and of_value is None:
        return None

    def check(value: Any, trusting: bool) -> None:
        for name, inner in value.items():
            step = f"[{shorten(repr(name))}]"
            if of_key is not None:
                _run(of_key, name, trusting, step)
            if of_value is not None:
                _run(of_value, inner, trusting, step)

    return check


def check_keys(checks: Mapping[str, Check | None]) -> Check | None:
    """Return the check of a TypedDict, from those of its keys, or None if no key has one."""
    wanted = {name: check for name, check in checks.items() if check is not None}
    if not wanted:
        return None

    def check(value: Any, trusting: bool) -> None:
        for name in wanted.keys() & value.keys():
            _run(wanted[name], value[name], trusting, f".{name}")

    return check


def check_fields(
    record: Any,
    types: Mapping[str, Any],
    convert: Callable[[dict[str, Any]], Any],
    checks: Mapping[str, Check | None],
) -> Check:
    """Return the check of a class with fields.

    Args:
        record: The class.
        types: The annotations of its fields.
        convert: Converts the fields' values with msgspec and returns an object that has them.
        checks: The remaining check of each field.
    """
    trusted = is_document(record)
    converted = [name for name, annotation in types.items() if not _is_plain(annotation)]
    names, in_json = getattr(record, "__struct_fields__", ()), getattr(record, "__struct_encode_fields__", ())
    encoded = dict(zip(names, in_json, strict=True))
    wanted = {name: (check, f".{encoded.get(name, name)}") for name, check in checks.items() if check is not None}

    def check(value: Any, trusting: bool) -> None:
        if trusting and trusted and value.id is not UNSET:
            return
        given = {name: held for name in types if (held := getattr(value, name, UNSET)) is not UNSET}
        made = convert(given)
        for name in converted:
            _reject_converted(types[name], name, given.get(name), getattr(made, name, None))
        for name, (inner, step) in wanted.items():
            if name in given:
                _run(inner, given[name], trusting, step)

    return check


def _reject_converted(annotation: Any, name: str, given: Any, made: Any) -> None:
    """Raise if a field holds a value that msgspec had to convert, such as a dict where a struct is declared."""
    if given is made or given is None or given == made:
        return
    if made is not UNSET:
        raise InvalidValueError(
            f"Expected `{describe(annotation)}`, got a value that would have to be converted to that{_AT}.{name}`"
        )


def _is_plain(annotation: Any) -> bool:
    """Return whether a matching value is always of the type itself, so that msgspec converts nothing."""
    base, _ = split_annotated(annotation)
    if get_origin(base) in UNIONS:
        return all(_is_plain(member) for member in get_args(base))
    return base is Any or (isinstance(base, type) and base in PLAIN_TYPES)


def _run(check: Check, value: Any, trusting: bool, step: str) -> None:
    try:
        check(value, trusting)
    except InvalidValueError as error:
        raise error.inside(step) from None


def shorten(name: str) -> str:
    """Return a name that a client chose, cut to a length that fits a message."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."
