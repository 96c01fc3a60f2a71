"""Arguments of a function: read from its signature, and validated together at each call."""

from __future__ import annotations

import copy
import datetime
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.plain_arguments import PlainArguments
from flask_convex_http.schema.columns import kind_of
from flask_convex_http.validation.conversion import Conversion
from flask_convex_http.validation.validator import InvalidValueError, Validator

_PLAIN_KINDS = ("text", "integer", "boolean")
#: Types of defaults that every call may share. Other defaults are copied, since a function could change them.
_IMMUTABLE = (str, int, float, bytes, enum.Enum, datetime.datetime, type(None), msgspec.UnsetType)


class Arguments:
    """Validates all arguments of a call at once.

    Args:
        parameters: The parameters by name.
        hints: Their annotations.
        where: The function's place in the source, for messages.

    Attributes:
        are_plain: Whether all are texts, integers and booleans, which JSON does not change.

    Raises:
        RegistrationError: An annotation cannot be validated, or a default does not match its annotation.
    """

    def __init__(self, parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any], where: str) -> None:
        validators = {name: Validator(hints[name], f"{where}({name})") for name in parameters}
        fields = [
            (name, validator.type, *_default(parameters[name], validator, where))
            for name, validator in validators.items()
        ]
        struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        self._conversion = Conversion(struct, f"{where}: ")
        self.are_plain = all(kind_of(hints[name]) in _PLAIN_KINDS for name in parameters)
        self._decoder = msgspec.json.Decoder(struct)
        self._encoder = msgspec.json.Encoder()
        checks = [(name, validator.nesting_check, validator.remaining) for name, validator in validators.items()]
        self._remaining = [(name, check) for name, *both in checks for check in both if check is not None]
        self._validators = list(validators.values())
        self._plain = PlainArguments({name: hints[name] for name in parameters})

    def bind(self, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Resolve the tables of all ids, and return the class names that are not in the schema."""
        return [name for validator in self._validators for name in validator.bind(id_prefixes)]

    def check(self, values: Any) -> dict[str, Any]:
        """Validate arguments that Python code passed, and return them by name with the defaults of the others."""
        plain = self._plain.take(values)
        return self._check_rest(self._conversion.python(values), True) if plain is None else plain

    def encode(self, values: Mapping[str, Any]) -> bytes | None:
        """Validate arguments that Python code passed and return them as JSON, or None where `check` is needed.

        It is needed where a default applies, or where an annotation has a check that msgspec does not make.
        """
        if self._remaining or not self.are_plain or len(values) != len(self._validators):
            return None
        return self._encoder.encode(self._conversion.python(values))

    def check_json(self, values: Any) -> dict[str, Any]:
        """Validate arguments that were parsed from JSON, and return them by name with the defaults of the others."""
        return self._check_rest(self._conversion.json(values), False)

    def read_json(self, text: bytes) -> dict[str, Any]:
        """Parse and validate arguments in JSON, and return them by name with the defaults of the others."""
        return self._check_rest(self._decoder.decode(text), False)

    def _check_rest(self, record: Any, trusting: bool) -> dict[str, Any]:
        arguments = msgspec.structs.asdict(record)
        for name, check in self._remaining:
            try:
                check(arguments[name], trusting)
            except InvalidValueError as error:
                raise error.inside(f".{name}") from None
        return arguments


def hints_of(handler: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function, except that of the ctx, which may exist for type checkers only."""
    function: Any = inspect.unwrap(handler)
    first = next(iter(inspect.signature(function).parameters))
    annotations = {name: hint for name, hint in function.__annotations__.items() if name != first}
    holder = types.SimpleNamespace(__annotations__=annotations)
    return typing.get_type_hints(holder, function.__globals__, include_extras=True)


def _default(parameter: inspect.Parameter, validator: Validator, where: str) -> tuple[Any, ...]:
    """Return the default of a parameter as the last item of a field of the arguments' struct."""
    default = parameter.default
    if default is parameter.empty:
        return ()
    try:
        if default is not UNSET:
            validator.check(default)
    except InvalidValueError as error:
        raise RegistrationError(f"{where}({parameter.name}): the default {default!r} is wrong: {error}") from None
    if isinstance(default, _IMMUTABLE):
        return (default,)
    return (msgspec.field(default_factory=functools.partial(copy.deepcopy, default)),)


def parameters_of(handler: Callable[..., Any], where: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function by name, except the ctx.

    Raises:
        RegistrationError: The function is async or a generator, has no ctx, or has a parameter without annotation.
    """
    unplain = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_one(handler) for is_one in unplain):
        raise RegistrationError(f"{where} must be a plain function: no async def, no yield")
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters or parameters[0].kind not in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
        raise RegistrationError(f"{where} must take the ctx first: write def {handler.__name__}(ctx, *, ...)")
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise RegistrationError(
                f"{where}: {parameter} cannot be validated; name each argument: *, {parameter.name}: ..."
            )
        if parameter.annotation is parameter.empty:
            raise RegistrationError(f"{where}: argument {parameter.name!r} has no annotation (Any takes every value)")
    return {parameter.name: parameter for parameter in parameters[1:]}
