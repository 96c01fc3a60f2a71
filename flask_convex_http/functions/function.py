"""Queries, mutations and actions: the `Function` that each decorator returns.

A `Function` validates its arguments and its result. `runtime/` runs it.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, ParamSpec, TypeAlias, TypeVar

import msgspec

from flask_convex_http.errors import (
    ArgumentRangeError,
    ArgumentValidationError,
    FunctionCallError,
    RegistrationError,
    ReturnsValidationError,
)
from flask_convex_http.functions.arguments import Arguments, hints_of, parameters_of
from flask_convex_http.retry import Retry
from flask_convex_http.schema.columns import kind_of
from flask_convex_http.validation.annotations import describe, id_markers
from flask_convex_http.validation.conversion import CHECK_ERRORS, invalid_value, may_come_from_json
from flask_convex_http.validation.validator import InvalidValueError, Validator

if TYPE_CHECKING:
    from flask_convex_http.runtime import MutationCtx
    from flask_convex_http.schema.documents import Schema

P = ParamSpec("P")
#: Covariant, because mypy rejects `sorted(ctx.run_query(names))` otherwise: it expects a query of an Iterable there.
R_co = TypeVar("R_co", covariant=True)
Kind = Literal["query", "mutation", "action"]
#: Kinds of values that have a few bytes.
_LITTLE_KINDS = ("integer", "real", "boolean", "datetime", "date", "uuid")
#: Kinds of values that cannot change.
_VALUE_KINDS = ("text", *_LITTLE_KINDS)
#: Gets the ctx of a mutation, the arguments of the run that failed and its error as a text.
FailureHook: TypeAlias = "Callable[[MutationCtx, dict[str, Any], str], None]"
#: Gets the same after the process that ran it has died. Returns the milliseconds until the next run, or None for none.
LostHook: TypeAlias = "Callable[[MutationCtx, dict[str, Any], str], float | None]"


class Function(Generic[P, R_co]):
    """A registered function, which is called through a ctx and never directly.

    Args:
        handler: The decorated Python function. Its first parameter is the ctx; all others are passed by name.
        public: Whether clients may call it over the function API.

    Attributes:
        name: Its name in the registry, such as "items:create".
        schema: The schema that it was bound to, or None.
        takes_values: Whether every argument is of a type whose values cannot change, such as a text or a number.
        returns_little: Whether its annotation bounds the result to some bytes, such as None, an id or a number.

    Raises:
        RegistrationError: A parameter or an annotation cannot work.
    """

    kind: ClassVar[Kind]

    def __init__(self, handler: Callable[..., R_co], *, public: bool) -> None:
        if not inspect.isfunction(handler):
            raise RegistrationError(f"@{self.kind} is put on a plain function, not on {handler!r}")
        self.handler = handler
        self.public = public
        self.name = default_name(handler)
        self.__doc__ = handler.__doc__
        self.__module__ = handler.__module__
        self.__name__ = handler.__name__
        self._where = f"{handler.__module__}.{handler.__qualname__}"
        self.parameters = parameters_of(handler, self._where)
        self.schema: Schema | None = None
        self._hints: dict[str, Any] | None = None
        self._arguments: Arguments | None = None
        self._returns: Validator | None = None
        self.returns_little = self.takes_values = False
        with contextlib.suppress(NameError):  # bind() resolves forward references
            self._compile()

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    if not TYPE_CHECKING:  # type checkers report a direct call themselves

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Raise `FunctionCallError`, since a direct call would run outside a transaction."""
            raise FunctionCallError(
                f"{self.name} was called directly; write ctx.run_{self.kind}({self.__name__}, ...) instead"
            )

    def bind(self, schema: Schema) -> None:
        """Resolve the tables that the annotations refer to. A second call with the same schema does nothing.

        Raises:
            RegistrationError: An annotation cannot be read, or refers to a class that is not in the schema.
        """
        if self.schema is schema:
            return
        try:
            self._compile()
        except NameError as error:
            raise RegistrationError(f"{self._where}: {error}; annotations must be readable at run time") from None
        self._bind_ids(self._arguments, schema)
        self._bind_ids(self._returns, schema)
        self.schema = schema

    def check_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, json: bool = False
    ) -> dict[str, Any]:
        """Return the validated arguments by name, defaults included.

        Args:
            args: Positional arguments.
            kwargs: Arguments by name.
            json: Whether they were parsed from JSON, in which dates, bytes and the like are text.

        Raises:
            ArgumentValidationError: An argument is missing, unknown or does not match. The message has its path.
            ArgumentRangeError: An argument has the right type, and its value is not accepted.
        """
        if args:
            kwargs = self._by_name(args, kwargs)
        if self._arguments is None:
            raise RegistrationError(f"{self._where} was called before it was bound to a schema")
        try:
            return self._arguments.check_json(kwargs) if json else self._arguments.check(kwargs)
        except CHECK_ERRORS as error:
            raise self._wrong_argument(invalid_value(error)) from None

    def arguments_as_json(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Validate the given arguments, and return them as JSON that `check_arguments` accepts with `json=True`.

        Raises:
            ArgumentValidationError: An argument does not match, or JSON cannot hold it.
        """
        if args:
            kwargs = self._by_name(args, kwargs)
        encoded = self._encoded(kwargs)
        if encoded is not None:
            return encoded
        checked = self.check_arguments((), kwargs)
        assert self._arguments  # check_arguments raises otherwise
        try:
            text = msgspec.json.encode({name: checked[name] for name in kwargs})
            is_same = self._arguments.are_plain or self._arguments.read_json(text) == checked
        except (*CHECK_ERRORS, ValueError, ArithmeticError, msgspec.MsgspecError):
            is_same = False
        if not is_same:
            kind = ArgumentRangeError if may_come_from_json(kwargs) else ArgumentValidationError
            raise kind(f"{self.name}: the arguments must be values that JSON can hold (no NaN, bytes or dates in Any)")
        return text

    def _encoded(self, kwargs: Mapping[str, Any]) -> bytes | None:
        """Return arguments as JSON without a copy of each, or None if `check_arguments` has to look at them."""
        try:
            return self._arguments.encode(kwargs) if self._arguments else None
        except (*CHECK_ERRORS, ValueError, ArithmeticError, msgspec.MsgspecError):  # the other way names the argument
            return None

    def check_returns(self, value: Any) -> Any:
        """Return the validated result.

        Raises:
            ReturnsValidationError: The result does not match the annotation.
        """
        if self._returns is None:
            return value
        try:
            return self._returns.check(value)
        except InvalidValueError as error:
            raise ReturnsValidationError(f"{self.name} returned a wrong value: {error}") from None

    @property
    def argument_types(self) -> dict[str, Any]:
        """The annotations by parameter name."""
        hints = self._annotations()
        return {name: hints[name] for name in self.parameters}

    @property
    def result_type(self) -> Any:
        """The annotation of the result."""
        return self._annotations().get("return", Any)

    def _annotations(self) -> dict[str, Any]:
        """Return the annotations, which are read once: a function named `list` hides the class in those after it."""
        if self._hints is None:
            self._hints = hints_of(self.handler)
        return self._hints

    def _compile(self) -> None:
        if self._arguments is not None:
            return
        hints, returns = self._annotations(), self.result_type
        self.returns_little = returns is type(None) or kind_of(returns) in _LITTLE_KINDS or _is_id(returns)
        self._returns = None if returns is Any else Validator(returns, f"{self._where} -> {describe(returns)}")
        self._arguments = Arguments(self.parameters, hints, self._where)
        self.takes_values = all(kind_of(hints[name]) in _VALUE_KINDS for name in self.parameters)

    def _bind_ids(self, validator: Arguments | Validator | None, schema: Schema) -> None:
        unknown = validator.bind(schema.id_prefixes) if validator else []
        if unknown:
            raise RegistrationError(
                f"{self._where} refers to Id[{unknown[0]}], which is not in the schema: add {unknown[0]} to Schema(...)"
            )

    def _wrong_argument(self, error: InvalidValueError) -> ArgumentValidationError:
        message = f"{self.name}: {error}"
        if error.is_of_range:
            return ArgumentRangeError(message, error.client_message)
        return ArgumentValidationError(message)

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


class QueryFunction(Function[P, R_co]):
    """A function that reads one snapshot of the database."""

    kind = "query"


class MutationFunction(Function[P, R_co]):
    """A function that reads and writes in one serializable transaction.

    Args:
        handler: See `Function`.
        public: See `Function`.
        on_failure: Called after a scheduled run has failed, in the transaction that records the failure. The writes of
            the run are rolled back by then. For functions of the package itself.
        on_lost: Called after the process that ran it has died, in the transaction that records that. For functions of
            the package itself.
    """

    kind = "mutation"

    def __init__(
        self,
        handler: Callable[..., R_co],
        *,
        public: bool,
        on_failure: FailureHook | None = None,
        on_lost: LostHook | None = None,
    ) -> None:
        super().__init__(handler, public=public)
        self.on_failure = on_failure
        self.on_lost = on_lost


class ActionFunction(Function[P, R_co]):
    """A function with side effects outside the database. Each query or mutation that it runs is a transaction.

    Args:
        handler: See `Function`.
        public: See `Function`.
        retry: How a scheduled run is retried, or None to run it at most once.
        on_failure: Runs after the last attempt of a scheduled run has failed, in the transaction that records it.
    """

    kind = "action"

    def __init__(
        self,
        handler: Callable[..., R_co],
        *,
        public: bool,
        retry: Retry | None = None,
        on_failure: MutationFunction[..., Any] | None = None,
    ) -> None:
        super().__init__(handler, public=public)
        if retry is not None and not isinstance(retry, Retry):
            raise RegistrationError(f"@action(retry={retry!r}) takes a Retry(max_attempts=...)")
        self.retry = retry
        self.on_failure = on_failure
        if on_failure is not None:
            _check_on_failure(self, on_failure)

    def bind(self, schema: Schema) -> None:
        """See `Function`."""
        super().bind(schema)
        if self.on_failure is not None:
            self.on_failure.bind(schema)


def _check_on_failure(function: ActionFunction[Any, Any], on_failure: MutationFunction[..., Any]) -> None:
    """Check that the mutation takes the error first, then each argument of the action.

    Raises:
        RegistrationError: It does not, or it is no mutation.
    """
    if not isinstance(on_failure, MutationFunction):
        raise RegistrationError(
            f"{function.name}: on_failure={on_failure!r} must be a function with @internal_mutation or @mutation"
        )
    expected = list(function.parameters)
    first, rest = list(on_failure.parameters.values())[:1], list(on_failure.parameters.values())[1:]
    takes_error = bool(first) and first[0].kind is not first[0].KEYWORD_ONLY
    required = {parameter.name for parameter in rest if parameter.default is parameter.empty}
    if not takes_error or not required <= set(expected) <= {parameter.name for parameter in rest}:
        arguments = "".join(f", {name}: ..." for name in expected)
        raise RegistrationError(
            f"{function.name}: its on_failure takes the error and the arguments of the action; write "
            f"def {on_failure.__name__}(ctx: MutationCtx, error: str{', *' if expected else ''}{arguments})"
        )


def _is_id(annotation: Any) -> bool:
    return kind_of(annotation) == "text" and next(id_markers(annotation), None) is not None


def default_name(handler: Callable[..., Any]) -> str:
    """Return the name of a function that is registered by itself: its module's last part and its own name."""
    return f"{handler.__module__.rpartition('.')[2]}:{handler.__name__}"
