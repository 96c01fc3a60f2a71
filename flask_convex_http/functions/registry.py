"""The registry: finds functions by name."""

from __future__ import annotations

import difflib
import importlib
import itertools
import types
from collections.abc import Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

from flask_convex_http.errors import FunctionCallError, FunctionNotFoundError, RegistrationError
from flask_convex_http.functions.function import ActionFunction, Function, Kind, default_name
from flask_convex_http.schema.documents import Schema
from flask_convex_http.validation.records import shorten

P = ParamSpec("P")
R = TypeVar("R")

#: The similarity of a misspelt name, for difflib. Less would let two functions of one module be similar.
_SIMILAR = 0.85


class Registry:
    """Functions by name: `items:create` is `create` in the module `items` below the common package.

    Iterating yields the application's functions in the order of their names.

    Args:
        sources: Modules, names of modules, or single functions.

    Raises:
        RegistrationError: A module cannot be imported, or two functions have one name.
    """

    def __init__(self, sources: Iterable[str | types.ModuleType | Function[Any, Any]] = ()) -> None:
        self._functions: dict[str, Function[Any, Any]] = {}
        self._own: dict[str, Function[Any, Any]] = {}
        if isinstance(sources, str):
            raise RegistrationError(f"functions= takes a list: write functions=[{sources!r}]")
        sources = list(sources)
        modules = [_module(source) for source in sources if not isinstance(source, Function)]
        package = _common_package([module.__name__ for module in modules])
        for module in modules:
            path = module.__name__.removeprefix(package).lstrip(".").replace(".", "/")
            for defined in _defined_in(module):
                self._add(f"{path}:{defined.__name__}", defined)
        known = set(self._functions.values())
        for function in sources:
            if isinstance(function, Function) and function not in known:
                self._add(default_name(function.handler), function)
        for function in self:
            if isinstance(function, ActionFunction) and function.on_failure is not None:
                self._own.setdefault(function.on_failure.name, function.on_failure)  # a worker may schedule it

    def __iter__(self) -> Iterator[Function[Any, Any]]:
        """Yield the application's functions in the order of their names."""
        return iter([self._functions[name] for name in sorted(self._functions)])

    def bind(self, schema: Schema) -> None:
        """Resolve the annotations of every function against a schema."""
        for function in self:
            function.bind(schema)

    def resolve(self, function: Function[P, R] | str, kind: Kind) -> Function[P, R]:
        """Return the function that a reference or a name means.

        Raises:
            FunctionNotFoundError: No function has this name.
            FunctionCallError: The function is of another kind, or is not registered.
        """
        found = self.find(function) if isinstance(function, str) else function
        if isinstance(found, Function) and found.kind == kind:
            return found
        if not isinstance(found, Function):
            name = getattr(found, "__name__", repr(found))
            raise FunctionCallError(
                f"{name} is not a registered function; decorate it with @{kind} or @internal_{kind}"
            )
        raise FunctionCallError(
            f"{found.name} is a {found.kind} and was run as a {kind}; "
            f"write ctx.run_{found.kind}(...) where that is allowed"
        )

    def has(self, function: Function[Any, Any]) -> bool:
        """Return whether a function is registered under its name."""
        return self.get(function.name) is function

    def get(self, name: str) -> Function[Any, Any] | None:
        """Return the function with this name, or None."""
        return self._functions.get(name) or self._own.get(name)

    def find(self, name: str) -> Function[Any, Any]:
        """Return the function with this name.

        Raises:
            FunctionNotFoundError: No function has this name.
        """
        function = self.get(name)
        if function is None:
            near = self._near(name)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise FunctionNotFoundError(
                f"Could not find function {shorten(name)!r}; {hint}"
                "`flask convex functions` lists those that functions= of ConvexHTTP names"
            )
        return function

    def _near(self, name: str) -> list[str]:
        """Return the names that a misspelt one may mean: the one of the same function elsewhere, or similar ones."""
        elsewhere = [each for each in self._functions if each.partition(":")[2] == name.rpartition(":")[2]]
        return elsewhere if len(elsewhere) == 1 else difflib.get_close_matches(name, self._functions, cutoff=_SIMILAR)

    def add_own(self, name: str, function: Function[Any, Any]) -> None:
        """Register a function of the package itself, which iteration leaves out."""
        function.name = name
        self._own[name] = function

    def _add(self, name: str, function: Function[Any, Any]) -> None:
        other = self._functions.setdefault(name, function)
        if other is not function:
            raise RegistrationError(f"Two functions are called {name}; rename one")
        function.name = name


def _defined_in(module: types.ModuleType) -> list[Function[Any, Any]]:
    found = (value for value in vars(module).values() if isinstance(value, Function))
    return [function for function in found if function.__module__ == module.__name__]


def _module(source: str | types.ModuleType) -> types.ModuleType:
    if isinstance(source, types.ModuleType):
        return source
    if not isinstance(source, str) or not source or source.startswith("."):
        raise RegistrationError(
            f"functions= takes full names of modules, modules and registered functions, not {source!r}"
        )
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name and (source == error.name or source.startswith(error.name + ".")):
            raise RegistrationError(f"functions= names the module {source!r}, which does not exist") from None
        raise


def _common_package(names: list[str]) -> str:
    """Return the common package of all modules, so that `app.items` and `app.users` become `items` and `users`."""
    parents = [name.split(".")[:-1] for name in names]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return ".".join(parts[0] for parts in common)
