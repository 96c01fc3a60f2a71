"""Clients of apps in tests."""

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flask_convex_http import Schema
from flask_convex_http.codegen.api import api_of
from flask_convex_http.codegen.python import python_module, taken_names
from flask_convex_http.codegen.types import Api
from flask_convex_http.codegen.typescript import TAKEN, typescript_files
from flask_convex_http.function_api.names import Casing
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.schema.system_tables import StoredFile

Functions = Iterable[Function[Any, Any]]


def _api(
    functions: Functions, schema: Schema, casing: Casing, modules: Mapping[str, str], *, for_javascript: bool
) -> Api:
    registry, extended = Registry(functions), schema.extended([StoredFile])
    registry.bind(extended)
    for function in registry:
        module, _, name = function.name.partition(":")
        function.name = f"{modules.get(name, module)}:{name}"
    taken = TAKEN if for_javascript else taken_names()
    return api_of(registry, extended, casing, taken=taken, for_javascript=for_javascript)


def typescript(
    functions: Functions,
    schema: Schema | None = None,
    casing: Casing = "camel",
    modules: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the files of a client in TypeScript.

    Args:
        functions: The functions.
        schema: The tables.
        casing: The casing of names for clients.
        modules: The modules of functions by their names.
    """
    return typescript_files(_api(functions, schema or Schema(), casing, modules, for_javascript=True))


def python(
    functions: Functions,
    schema: Schema | None = None,
    casing: Casing = "camel",
    modules: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the module of a client in Python. See `typescript`."""
    return python_module(_api(functions, schema or Schema(), casing, modules, for_javascript=False))


@contextmanager
def imported(text: str, folder: Path) -> Iterator[Any]:
    """Write a client in Python into a folder, and yield its module."""
    path = folder / "app_client.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("app_client", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["app_client"] = importlib.util.module_from_spec(spec)  # where dataclass looks for ClassVar
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["app_client"]
