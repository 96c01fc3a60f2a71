"""What msgspec does not check: ids belong to their table, and instances hold what their class declares.

msgspec takes an instance of the right class as it is. One that was made by calling the class has been checked by
nobody, so its fields are checked here. A `Check` looks at a value that has the right outer shape already.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin

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
    split_union,
    take_apart,
)

#: Takes a value and whether documents that have an id are trusted: from inside they are as the database gave them.
Check = Callable[[Any, bool], None]
#: Makes the check of a class with fields or keys; it may be asked for one that is being made.
MakeRecordCheck = Callable[[Any], Check | None]

_AT = " - at `$"
#: Longer names and keys are cut in messages: they may come from a client.
NAME_SHOWN = 64


class InvalidValueError(ValueError):
    """A value does not match; `str()` says what was expected and where (`$` is the value itself)."""

    @property
    def text(self) -> str:
        """What was expected, without the place."""
        return str(self).rpartition(_AT)[0] or str(self)

    def inside(self, step: str) -> InvalidValueError:
        """The same mistake as seen from the container: the path gets one more step in front."""
        text, _, path = str(self).rpartition(_AT)
        return InvalidValueError(f"{text}{_AT}{step}{path}")


def checks_of(annotation: Any, record_check: MakeRecordCheck) -> Check | None:
    """What remains to be checked in a value that has the right shape; None if nothing does."""
    base, said = take_apart(annotation)
    for meta in said:
        if isinstance(meta, IdOf):
            return _check_id(meta)
    origin, parts = get_origin(base), get_args(base)
    if origin in UNIONS:
        return _check_union(parts, record_check)
    if origin is tuple and parts[-1:] != (...,):
        return _check_places({f"[{number}]": checks_of(part, record_check) for number, part in enumerate(parts)})
    if origin is tuple or origin in SEQUENCES:
        return _check_items(checks_of(parts[0], record_check))
    if origin in MAPPINGS:
        return _check_values(*(checks_of(part, record_check) for part in parts))
    return record_check(base) if is_record(base) or typing.is_typeddict(base) else None


def _check_id(marker: IdOf) -> Check:
    def check(value: Any, trusting: bool) -> None:
        if not marker.accepts(value):
            tables = " or ".join(sorted(marker.tables)) or str(marker)
            raise InvalidValueError(f"Expected an id of table {tables}{_AT}`")

    return check


def _check_union(members: tuple[Any, ...], record_check: MakeRecordCheck) -> Check | None:
    values, absent = split_union(members)
    if len(values) == 1:
        return _check_present(checks_of(values[0], record_check)) if absent else checks_of(values[0], record_check)
    checks = [(_class_of(member), checks_of(member, record_check)) for member in values]
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
    """In a union that msgspec takes no two members have instances of one class."""

    def check(value: Any, trusting: bool) -> None:
        for expected, inner in checks:
            if isinstance(value, expected):
                inner(value, trusting)
                return

    return check


def _class_of(annotation: Any) -> Any:
    base, _ = take_apart(annotation)
    origin = get_origin(base) or base
    if origin in MAPPINGS or typing.is_typeddict(origin):
        return dict
    return (list, tuple, set, frozenset) if origin is tuple or origin in SEQUENCES else origin


def _check_items(item: Check | None) -> Check | None:
    if item is None:
        return None

    def check(value: Any, trusting: bool) -> None:
        number = 0
        try:
            for number, inner in enumerate(value):  # noqa: B007  # the except clause names it
                item(inner, trusting)
        except InvalidValueError as error:
            raise error.inside(f"[{number}]") from None

    return check


def _check_places(checks: Mapping[str, Check | None]) -> Check | None:
    """Each place of a tuple has a check of its own."""
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
            step = f"[{shown(repr(name))}]"
            if of_key is not None:
                _run(of_key, name, trusting, step)
            if of_value is not None:
                _run(of_value, inner, trusting, step)

    return check


def check_keys(checks: Mapping[str, Check | None]) -> Check | None:
    """The check of a TypedDict, from those of its keys."""
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
    """The check of a class with fields.

    Args:
        record: The class.
        types: The annotations of its fields.
        convert: Checks the fields' values as msgspec does and answers an object that has them converted.
        checks: What remains to be checked in each field.
    """
    trusted = is_document(record)
    converted = [name for name, annotation in types.items() if not _is_plain(annotation)]
    wanted = {name: check for name, check in checks.items() if check is not None}

    def check(value: Any, trusting: bool) -> None:
        if trusting and trusted and value.id is not UNSET:
            return
        given = {name: held for name in types if (held := getattr(value, name, UNSET)) is not UNSET}
        made = convert(given)
        for name in converted:
            _refuse_converted(types[name], name, given.get(name), getattr(made, name, None))
        for name, inner in wanted.items():
            if name in given:
                _run(inner, given[name], trusting, f".{name}")

    return check


def _refuse_converted(annotation: Any, name: str, given: Any, made: Any) -> None:
    """A dict that would do for a struct is not one: whoever reads the field would get the dict."""
    if given is made or given is None or given == made:
        return
    if made is not UNSET:
        raise InvalidValueError(
            f"Expected `{describe(annotation)}`, got a value that would have to be converted to that{_AT}.{name}`"
        )


def _is_plain(annotation: Any) -> bool:
    """Whether a value that matches is of the very type, so that there is nothing to convert."""
    base, _ = take_apart(annotation)
    if get_origin(base) in UNIONS:
        return all(_is_plain(member) for member in get_args(base))
    return base is Any or (isinstance(base, type) and base in PLAIN_TYPES)


def _run(check: Check, value: Any, trusting: bool, step: str) -> None:
    try:
        check(value, trusting)
    except InvalidValueError as error:
        raise error.inside(step) from None


def shown(name: str) -> str:
    """A name from outside, cut to a length that can be shown."""
    return name if len(name) <= NAME_SHOWN else name[:NAME_SHOWN] + "..."


def names_shown(names: Iterable[str]) -> str:
    """Names from outside, as a list for a message."""
    return ", ".join(sorted(shown(name) for name in names))
