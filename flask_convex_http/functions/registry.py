"""Functions by name: which modules they come from, what they are called, and which one a reference means."""

from __future__ import annotations

import importlib
import itertools
import types
from collections.abc import Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

from flask_convex_http.errors import FunctionCallError, FunctionNotFoundError, RegistrationError
from flask_convex_http.functions.function import Function, Kind, plain_name
from flask_convex_http.schema.documents import Schema
from flask_convex_http.validation.records import shorten

P = ParamSpec("P")
R = TypeVar("R")


class Registry:
    """Functions by name: `items:create` is `create` in the module `items` below the common package.

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
            for function in vars(module).values():
                if isinstance(function, Function) and function.__module__ == module.__name__:
                    self._add(f"{path}:{function.__name__}", function)
        known = set(self._functions.values())
        for function in sources:
            if isinstance(function, Function) and function not in known:
                self._add(plain_name(function.handler), function)

    def __iter__(self) -> Iterator[Function[Any, Any]]:
        """All functions in the order of their names."""
        return iter([self._functions[name] for name in sorted(self._functions)])

    def bind(self, schema: Schema) -> None:
        """Resolve the annotations of every function against a schema."""
        for function in self:
            function.bind(schema)

    def resolve(self, function: Function[P, R] | str, kind: Kind) -> Function[P, R]:
        """The function meant by a reference or a name.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: It is of another kind, or not a registered function.
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
        """Whether a function can be found by its name."""
        return self.get(function.name) is function

    def get(self, name: str) -> Function[Any, Any] | None:
        """The function of a name, if there is one."""
        return self._functions.get(name) or self._own.get(name)

    def find(self, name: str) -> Function[Any, Any]:
        """The function of a name.

        Raises:
            FunctionNotFoundError: There is none.
        """
        function = self.get(name)
        if function is None:
            raise FunctionNotFoundError(
                f"Could not find function {shorten(name)!r}; `flask convex functions` lists them"
            )
        return function

    def add_own(self, name: str, function: Function[Any, Any]) -> None:
        """Register a function of the package itself, which no list shows."""
        function.name = name
        self._own[name] = function

    def _add(self, name: str, function: Function[Any, Any]) -> None:
        other = self._functions.setdefault(name, function)
        if other is not function:
            raise RegistrationError(f"Two functions are called {name}; rename one")
        function.name = name


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
    """The package all modules are in, so that `app.items` and `app.users` are `items` and `users`."""
    parents = [name.split(".")[:-1] for name in names]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return ".".join(parts[0] for parts in common)
