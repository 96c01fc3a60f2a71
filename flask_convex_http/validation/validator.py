"""Validators: one for each annotated argument, result and document field.

msgspec checks the types. Two rules are added here: integers fit 64 bits, and datetimes have a time zone. Two more are
in `records`: ids belong to their table, and records hold what their class declares. Nothing is coerced: "1" is not 1.
"""

from __future__ import annotations

import datetime
import typing
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, TypedDict, Union, get_args, get_origin

import msgspec
from msgspec import UNSET

from flask_convex_http.errors import RegistrationError
from flask_convex_http.ids import IdOf
from flask_convex_http.validation.annotations import (
    MAPPINGS,
    SEQUENCES,
    UNIONS,
    describe,
    field_types,
    is_document,
    key_types,
    msgspec_takes,
    plain_types,
    split_annotated,
    split_union,
)
from flask_convex_http.validation.constraints import constraints_of
from flask_convex_http.validation.conversion import CHECK_ERRORS, Conversion, invalid_value
from flask_convex_http.validation.levels import levels_of, nesting_check
from flask_convex_http.validation.records import Check, check_fields, check_keys, make_check
from flask_convex_http.validation.records import InvalidValueError as InvalidValueError


class Validator:
    """Checks values against one annotation.

    Args:
        annotation: An annotation made of the supported types.
        where: The annotated place, for messages.

    Attributes:
        type: The annotation as rewritten for msgspec.
        id_markers: The markers of every `Id[...]` in the annotation.
        levels: The levels of lists and objects that a value has at most, which may be infinite.
        nesting_check: Checks the levels of a value against the limit. None if the type bounds them.

    Raises:
        RegistrationError: The annotation cannot be validated.
        NameError: The annotation names a class that is not defined yet.
    """

    def __init__(self, annotation: Any, where: str) -> None:
        self.annotation = annotation
        self.id_markers: list[IdOf] = []
        self._where = where
        self._within: list[Any] = []
        self._records: dict[Any, Check | None] = {}
        try:
            self.type: Any = self._rewrite(annotation)
            self._conversion = Conversion(
                msgspec.defstruct("Value", [("value", self.type)], array_like=True), f"{where}: "
            )
            self._decoder = msgspec.json.Decoder(self.type)
            described = msgspec.inspect.type_info(self.type)
            self.levels, self.nesting_check = levels_of(described), nesting_check(described)
            self.remaining = make_check(annotation, self._record_check)
            self._document: Any = _document_in(annotation)
            self._plain, self._id_marker = plain_types(annotation) or (frozenset(), None)
        except RegistrationError:
            raise
        except RecursionError:
            raise RegistrationError(f"{where}: {describe(annotation)} contains itself without end") from None
        except (TypeError, ValueError) as error:
            raise RegistrationError(f"{where}: {error}") from None

    def bind(self, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Resolve the tables of all ids, and return the class names that are not in the schema.

        Args:
            id_prefixes: The names that the ids of a table begin with, by the name of its document class.
        """
        return [name for marker in self.id_markers for name in marker.bind(id_prefixes)]

    @cached_property
    def constraints(self) -> msgspec.Raw:
        """The JSON schema of the annotation. Cached: to compute it for all columns took half of a migration."""
        return constraints_of(self.type, self.annotation)

    def check(self, value: Any, *, trusting: bool = True) -> Any:
        """Check a Python value and return it, with containers copied.

        Args:
            value: The value.
            trusting: Accept a document that has an id without a look at its fields, since the database returned it.

        Raises:
            InvalidValueError: The value does not match.
        """
        if type(value) is self._document and trusting and value.id is not UNSET:
            return value  # most results are documents that were read by id
        if type(value) in self._plain:
            marker = self._id_marker
            if marker is None or value is None or marker.accepts(value):
                return value
        try:
            checked = self._conversion.python((value,)).value
            if self.remaining is not None:
                self.remaining(checked, trusting)
        except CHECK_ERRORS as error:
            raise invalid_value(error, boxed=True) from None
        return checked

    def check_json(self, value: Any) -> Any:
        """Check a value parsed from JSON, in which dates, bytes and the like are text, and return it converted.

        Raises:
            InvalidValueError: The value does not match.
        """
        try:
            checked = self._conversion.json((value,)).value
            if self.remaining is not None:
                self.remaining(checked, False)
        except CHECK_ERRORS as error:
            raise invalid_value(error, boxed=True) from None
        return checked

    def convert_texts(self, value: Any) -> Any:
        """Check a text, or a dict of texts and lists of texts, with numbers, booleans and null coerced from text.

        Raises:
            InvalidValueError: The value does not match.
        """
        try:
            checked = self._conversion.texts((value,)).value
            if self.remaining is not None:
                self.remaining(checked, False)
        except CHECK_ERRORS as error:
            raise invalid_value(error, boxed=True) from None
        return checked

    def decode(self, body: bytes | str) -> Any:
        """Parse JSON, check the value and return it.

        Raises:
            InvalidValueError: The value does not match.
            msgspec.DecodeError: The body is not JSON.
        """
        try:
            value = self._decoder.decode(body)
            if self.remaining is not None:
                self.remaining(value, False)
        except UnicodeDecodeError:
            raise msgspec.DecodeError("JSON is malformed: it is not UTF-8") from None
        except CHECK_ERRORS as error:
            raise invalid_value(error) from None
        return value

    def load(self, text: bytes | str) -> Any:
        """Parse JSON that was checked before it was stored. Types are checked again, tables of ids are not."""
        return self._decoder.decode(text)

    # --- the type for msgspec ---------------------------------------------------------------------------------------

    def _rewrite(self, annotation: Any) -> Any:
        """Return the annotation as a type that msgspec can check."""
        base, metadata = split_annotated(annotation)
        self.id_markers += [meta for meta in metadata if isinstance(meta, IdOf)]
        if base is int:
            return Annotated[(int, *metadata, *_missing_bounds(metadata))]
        if base is datetime.datetime:
            return Annotated[(base, *metadata, *_missing_zone(metadata))]
        rewritten = self._rewrite_base(base)
        return Annotated[(rewritten, *metadata)] if metadata else rewritten

    def _rewrite_base(self, base: Any) -> Any:
        if base is object:
            return Any
        if isinstance(base, typing.TypeVar):
            raise TypeError("a type variable says nothing to check; write the type itself")
        origin, arguments = get_origin(base), get_args(base)
        if origin in UNIONS:
            return self._rewrite_union(arguments)
        if origin in (*SEQUENCES, *MAPPINGS, tuple):
            return origin[tuple(part if part is ... else self._rewrite(part) for part in arguments)]
        if typing.is_typeddict(base):
            return self._rewrite_keys(base)
        return base

    def _rewrite_union(self, members: tuple[Any, ...]) -> Any:
        rewritten: Any = Union[tuple(self._rewrite(member) for member in members)]  # noqa: UP007
        values, _ = split_union(members)
        ids = [member for member in values if _is_id(member)]
        if len(ids) > 1 or (len(values) > 1 and not msgspec_takes(rewritten)):
            raise TypeError(_ambiguous_union(members))
        return rewritten

    def _rewrite_keys(self, base: Any) -> Any:
        if base in self._within:
            return base  # recursive: from here on msgspec's own rules apply
        self._within.append(base)
        keys = {name: (qualifier, hint, self._rewrite(hint)) for name, (qualifier, hint) in key_types(base).items()}
        self._within.pop()
        if all(rewritten is hint for _, hint, rewritten in keys.values()):
            return base
        return TypedDict(  # type: ignore[operator]
            base.__name__, {name: qualifier[rewritten] for name, (qualifier, _, rewritten) in keys.items()}
        )

    # --- the checks after msgspec -----------------------------------------------------------------------------------

    def _record_check(self, annotation: Any) -> Check | None:
        """Return the check of a class with fields or keys, nested ones included."""
        if annotation in self._records:  # recursive: the check exists by the time a value is checked
            return lambda value, trusting: self._check_again(annotation, value, trusting)
        self._records[annotation] = None
        if typing.is_typeddict(annotation):
            keys = {name: hint for name, (_, hint) in key_types(annotation).items()}
            check = check_keys({name: make_check(hint, self._record_check) for name, hint in keys.items()})
        else:
            types = field_types(annotation)
            fields = [(name, self._rewrite(hint), *_unset(hint)) for name, hint in types.items()]
            conversion = Conversion(msgspec.defstruct("Fields", fields, kw_only=True), f"{self._where}: ")
            nested = {name: make_check(hint, self._record_check) for name, hint in types.items()}
            check = check_fields(annotation, types, conversion.fields, nested)
        self._records[annotation] = check
        return check

    def _check_again(self, annotation: Any, value: Any, trusting: bool) -> None:
        check = self._records[annotation]
        if check is not None:
            check(value, trusting)


def _is_id(annotation: Any) -> bool:
    return any(isinstance(meta, IdOf) for meta in split_annotated(annotation)[1])


def _document_in(annotation: Any) -> type | None:
    """Return the document class of an annotation such as `Item` or `Item | None`."""
    base, _ = split_annotated(annotation)
    members = split_union(get_args(base))[0] if get_origin(base) in UNIONS else (base,)
    return members[0] if len(members) == 1 and is_document(members[0]) else None


def _ambiguous_union(members: tuple[Any, ...]) -> str:
    union = " | ".join(describe(member) for member in members)
    return (
        f"the members of {union} cannot be told apart in JSON. Write Id[A | B] for the ids of several tables, give "
        "each msgspec.Struct of a union a tag (class A(msgspec.Struct, tag=True)), or use one type with optional fields"
    )


# --- annotations that cannot be validated ---------------------------------------------------------------------------


def _missing_bounds(metadata: tuple[Any, ...]) -> Iterator[msgspec.Meta]:
    """Yield the bounds of 64 bits that the annotation lacks. msgspec accepts one lower and one upper bound."""
    given = [meta for meta in metadata if isinstance(meta, msgspec.Meta)]
    if all(meta.ge is None and meta.gt is None for meta in given):
        yield msgspec.Meta(ge=-(2**63))
    if all(meta.le is None and meta.lt is None for meta in given):
        yield msgspec.Meta(le=2**63 - 1)


def _missing_zone(metadata: tuple[Any, ...]) -> Iterator[msgspec.Meta]:
    given = [meta.tz for meta in metadata if isinstance(meta, msgspec.Meta)]
    if False in given:
        raise ValueError("a datetime without a time zone is not a point in time; remove Meta(tz=False)")
    if True not in given:
        yield msgspec.Meta(tz=True)


def _unset(hint: Any) -> tuple[Any, ...]:
    """Return UNSET as the default of a field that may be UNSET, since msgspec does not accept it as a value."""
    return (msgspec.UNSET,) if msgspec.UnsetType in get_args(split_annotated(hint)[0]) else ()
