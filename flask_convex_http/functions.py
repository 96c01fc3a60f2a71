"""Queries, mutations and actions: the decorators and what they make of a function.

A registered function knows how to check its arguments and its result; running it is `runtime`'s work, and finding
it by name `registry`'s. What lives here knows no database and no HTTP.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec
from msgspec import UNSET

from flask_convex_http.annotations import describe
from flask_convex_http.columns import kind_of
from flask_convex_http.conversion import REFUSALS, Conversion, one_of_json, refusal
from flask_convex_http.errors import (
    ArgumentValidationError,
    FunctionCallError,
    RegistrationError,
    ReturnsValidationError,
)
from flask_convex_http.retry import Retry
from flask_convex_http.validation import InvalidValueError, Validator

if TYPE_CHECKING:
    from flask_convex_http.context import ActionCtx, MutationCtx, QueryCtx
    from flask_convex_http.schema import Schema

P = ParamSpec("P")
R = TypeVar("R")
#: Covariant, or mypy would not take `sorted(ctx.run_query(names))`: it looks for a query of Iterable then.
R_co = TypeVar("R_co", covariant=True)
Kind = Literal["query", "mutation", "action"]

_PLAIN_KINDS = ("text", "integer", "boolean")
#: Defaults of these types can be given to every call; others are copied, or one call would see what another changed.
_UNCHANGING = (str, int, float, bytes, enum.Enum, datetime.datetime, type(None), msgspec.UnsetType)


class Function(Generic[P, R_co]):
    """A registered function: called through a ctx, never directly.

    Args:
        handler: The function itself; its first parameter is the ctx, the others are given by name.
        public: Whether it can be called from outside, over the function API.

    Raises:
        RegistrationError: A parameter or annotation cannot work.
    """

    kind: ClassVar[Kind]

    def __init__(self, handler: Callable[..., R_co], *, public: bool) -> None:
        if not inspect.isfunction(handler):
            raise RegistrationError(f"@{self.kind} is put on a plain function, not on {handler!r}")
        self.handler = handler
        self.public = public
        self.name = plain_name(handler)
        self.__doc__ = handler.__doc__
        self.__module__ = handler.__module__
        self.__name__ = handler.__name__
        self._where = f"{handler.__module__}.{handler.__qualname__}"
        self.parameters = _parameters(handler, self._where)
        self._schema: Schema | None = None
        self._arguments: Arguments | None = None
        self._returns: Validator | None = None
        with contextlib.suppress(NameError):  # a forward reference is read when the function is bound to a schema
            self._compile()

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    if not TYPE_CHECKING:  # for type checkers it is simply not callable

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Refuse: without a ctx of its own it would run outside its transaction."""
            raise FunctionCallError(
                f"{self.name} was called directly; write ctx.run_{self.kind}({self.__name__}, ...) instead"
            )

    def bind(self, schema: Schema) -> None:
        """Resolve what the annotations say about tables; once for each schema."""
        if self._schema is schema:
            return
        try:
            self._compile()
        except NameError as error:
            raise RegistrationError(f"{self._where}: {error}; annotations must be readable at run time") from None
        self._bind_ids(self._arguments, schema)
        self._bind_ids(self._returns, schema)
        self._schema = schema

    def check_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, json: bool = False
    ) -> dict[str, Any]:
        """The arguments, validated, by name.

        Raises:
            ArgumentValidationError: One is missing, unknown or does not match; the message has its path.
        """
        if args:
            kwargs = self._by_name(args, kwargs)
        if self._arguments is None:
            raise RegistrationError(f"{self._where} was called before it was bound to a schema")
        try:
            return self._arguments.check_json(kwargs) if json else self._arguments.check(kwargs)
        except REFUSALS as error:
            raise ArgumentValidationError(f"{self.name}: {refusal(error)}") from None

    def arguments_as_json(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The arguments that were given, validated, as JSON that `check_arguments` takes with `json=True`.

        Raises:
            ArgumentValidationError: They do not match, or JSON cannot hold one of them.
        """
        if args:
            kwargs = self._by_name(args, kwargs)
        checked = self.check_arguments((), kwargs)
        assert self._arguments  # or else they could not have been checked
        try:
            text = msgspec.json.encode({name: checked[name] for name in kwargs})
            is_same = self._arguments.are_plain or self._arguments.read_json(text) == checked
        except (*REFUSALS, ValueError, ArithmeticError, msgspec.MsgspecError):
            is_same = False
        if not is_same:
            raise ArgumentValidationError(
                f"{self.name}: the arguments must be values that JSON can hold (no NaN, bytes or dates in Any)"
            )
        return text

    def check_returns(self, value: Any) -> Any:
        """The result, validated.

        Raises:
            ReturnsValidationError: It does not match the annotation.
        """
        if self._returns is None:
            return value
        try:
            return self._returns.check(value)
        except InvalidValueError as error:
            raise ReturnsValidationError(f"{self.name} returned a wrong value: {error}") from None

    @property
    def argument_types(self) -> dict[str, Any]:
        """Annotations by parameter name."""
        hints = _hints(self.handler)
        return {name: hints[name] for name in self.parameters}

    def _compile(self) -> None:
        if self._arguments is not None:
            return
        hints = _hints(self.handler)
        returns = hints.get("return", Any)
        self._returns = None if returns is Any else Validator(returns, f"{self._where} -> {describe(returns)}")
        self._arguments = Arguments(self.parameters, hints, self._where)

    def _bind_ids(self, validator: Arguments | Validator | None, schema: Schema) -> None:
        unknown = validator.bind(schema.table_names) if validator else []
        if unknown:
            raise RegistrationError(
                f"{self._where} refers to Id[{unknown[0]}], which is not in the schema: add {unknown[0]} to Schema(...)"
            )

    def _by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        positional = [name for name, kind in self.parameters.items() if kind.kind is not kind.KEYWORD_ONLY]
        if len(args) > len(positional):
            raise ArgumentValidationError(
                f"{self.name}: arguments are given by name: {', '.join(self.parameters) or 'none'}"
            )
        named = dict(zip(positional, args, strict=False))
        twice = named.keys() & kwargs.keys()
        if twice:
            raise ArgumentValidationError(f"{self.name}: argument given twice - at `$.{sorted(twice)[0]}`")
        return named | dict(kwargs)


class Query(Function[P, R_co]):
    """A function that reads one snapshot of the database."""

    kind = "query"


class Mutation(Function[P, R_co]):
    """A function that reads and writes in one serialisable transaction."""

    kind = "mutation"


class Action(Function[P, R_co]):
    """A function that may talk to the world; each query or mutation it runs is its own transaction.

    Args:
        handler: See `Function`.
        public: See `Function`.
        retry: Whether and how it is tried again where it was scheduled; None to run it at most once.
    """

    kind = "action"

    def __init__(self, handler: Callable[..., R_co], *, public: bool, retry: Retry | None = None) -> None:
        super().__init__(handler, public=public)
        if retry is not None and not isinstance(retry, Retry):
            raise RegistrationError(f"@action(retry={retry!r}) takes a Retry(max_attempts=...)")
        self.retry = retry


def query(handler: Callable[Concatenate[QueryCtx, P], R]) -> Query[P, R]:
    """Register a public query."""
    return Query(handler, public=True)


def mutation(handler: Callable[Concatenate[MutationCtx, P], R]) -> Mutation[P, R]:
    """Register a public mutation."""
    return Mutation(handler, public=True)


@overload
def action(handler: Callable[Concatenate[ActionCtx, P], R], /) -> Action[P, R]: ...
@overload
def action(*, retry: Retry | None = None) -> Callable[[Callable[Concatenate[ActionCtx, P], R]], Action[P, R]]: ...
def action(handler: Callable[..., Any] | None = None, /, *, retry: Retry | None = None) -> Any:
    """Register a public action.

    Args:
        handler: The function.
        retry: How it is tried again where it was scheduled and failed; without, it runs at most once.
    """
    return _action(handler, public=True, retry=retry)


def internal_query(handler: Callable[Concatenate[QueryCtx, P], R]) -> Query[P, R]:
    """Register a query that only your own code can call."""
    return Query(handler, public=False)


def internal_mutation(handler: Callable[Concatenate[MutationCtx, P], R]) -> Mutation[P, R]:
    """Register a mutation that only your own code can call."""
    return Mutation(handler, public=False)


@overload
def internal_action(handler: Callable[Concatenate[ActionCtx, P], R], /) -> Action[P, R]: ...
@overload
def internal_action(
    *, retry: Retry | None = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], R]], Action[P, R]]: ...
def internal_action(handler: Callable[..., Any] | None = None, /, *, retry: Retry | None = None) -> Any:
    """Register an action that only your own code can call; see `action`."""
    return _action(handler, public=False, retry=retry)


def _action(handler: Callable[..., Any] | None, *, public: bool, retry: Retry | None) -> Any:
    if handler is None:
        return functools.partial(Action, public=public, retry=retry)
    return Action(handler, public=public, retry=retry)


class Arguments:
    """Checks all arguments of a call at once.

    Args:
        parameters: The parameters by name.
        hints: Their annotations.
        where: Whose they are, for messages.

    Attributes:
        are_plain: Whether all are texts, integers and booleans, which come out of JSON as they went in.

    Raises:
        RegistrationError: An annotation cannot be validated, or a default does not match its own.
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
        self._decoder = msgspec.json.Decoder(struct, dec_hook=one_of_json)
        self._remaining = [(name, check) for name, validator in validators.items() if (check := validator.remaining)]
        self._validators = list(validators.values())

    def bind(self, table_names: dict[str, str]) -> list[str]:
        """Tell the ids which tables they mean; answer the class names that are not in the schema."""
        return [name for validator in self._validators for name in validator.bind(table_names)]

    def check(self, values: Any) -> dict[str, Any]:
        """The arguments that Python code gave, by name, with those left out."""
        return self._check_rest(self._conversion.python(values, True), True)

    def check_json(self, values: Any) -> dict[str, Any]:
        """The arguments that came out of a JSON parser, by name, with those left out."""
        return self._check_rest(self._conversion.json(values), False)

    def read_json(self, text: bytes) -> dict[str, Any]:
        """The arguments that are in a JSON text, by name, with those left out."""
        return self._check_rest(self._decoder.decode(text), False)

    def _check_rest(self, record: Any, trusting: bool) -> dict[str, Any]:
        arguments = msgspec.structs.asdict(record)
        for name, check in self._remaining:
            try:
                check(arguments[name], trusting)
            except InvalidValueError as error:
                raise error.inside(f".{name}") from None
        return arguments


def plain_name(handler: Callable[..., Any]) -> str:
    return f"{handler.__module__.rpartition('.')[2]}:{handler.__name__}"


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function without that of the ctx, whose class may be imported for type checkers only."""
    function: Any = inspect.unwrap(handler)
    first = next(iter(inspect.signature(function).parameters))
    annotations = {name: hint for name, hint in function.__annotations__.items() if name != first}
    holder = types.SimpleNamespace(__annotations__=annotations)
    return typing.get_type_hints(holder, function.__globals__, include_extras=True)


def _default(parameter: inspect.Parameter, validator: Validator, where: str) -> tuple[Any, ...]:
    """The default of a field of the arguments' struct, if it has one."""
    default = parameter.default
    if default is parameter.empty:
        return ()
    try:
        if default is not UNSET:
            validator.check(default)
    except InvalidValueError as error:
        raise RegistrationError(f"{where}({parameter.name}): the default {default!r} is wrong: {error}") from None
    if isinstance(default, _UNCHANGING):
        return (default,)
    return (msgspec.field(default_factory=functools.partial(copy.deepcopy, default)),)


def _parameters(handler: Callable[..., Any], where: str) -> dict[str, inspect.Parameter]:
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
