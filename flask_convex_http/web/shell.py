"""The names of `flask shell`: the extension, a ctx, the documents, and the functions with their modules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from flask_convex_http.backend import Backend
from flask_convex_http.schema.system_tables import DOCUMENTS

#: Names of Flask's own, which stay.
_TAKEN = frozenset({"app", "g"})


def shell_context(convex: Any, backend: Backend) -> dict[str, Any]:
    """Return the names for a shell of an app, and print a line about them if it is Flask's.

    `ctx` runs functions. `read` and `write` call a Python function with the ctx of a query or a mutation, as in
    `read(lambda ctx: ctx.db.query(Item).take(5))`. Documents and functions have their own names, and modules of
    functions their last one, unless something else has it.

    Args:
        convex: The extension.
        backend: The backend of the app.
    """
    names = _documents(backend) | _modules(backend) | _functions(backend)
    names |= {
        "convex": convex,
        "ctx": backend.ctx(),
        "read": partial(_call, backend, backend.runtime.read),
        "write": partial(_call, backend, backend.runtime.transact),
    }
    if _is_shell():
        click.echo(_hint(names, backend), err=True)
    return {name: value for name, value in names.items() if name not in _TAKEN}


def _call(backend: Backend, run: Callable[[Any, Any], Any], body: Callable[[Any], Any]) -> Any:
    return run(body, backend.caller())


def _documents(backend: Backend) -> dict[str, Any]:
    own = [table.document for table in backend.schema.tables.values() if table.document not in DOCUMENTS]
    return {document.__name__: document for document in own}


def _modules(backend: Backend) -> dict[str, Any]:
    return {
        function.__module__.rpartition(".")[2]: sys.modules[function.__module__]
        for function in backend.functions
        if function.__module__ in sys.modules
    }


def _functions(backend: Backend) -> dict[str, Any]:
    """Return the functions whose name no other one has."""
    names = [function.__name__ for function in backend.functions]
    return {function.__name__: function for function in backend.functions if names.count(function.__name__) == 1}


def _is_shell() -> bool:
    command = click.get_current_context(silent=True)
    return command is not None and command.info_name == "shell"


def _hint(names: dict[str, Any], backend: Backend) -> str:
    documents = [name for name in names if name in _documents(backend)]
    example = f"read(lambda ctx: ctx.db.query({documents[0]}).take(5))" if documents else "ctx.run_query(...)"
    others = ", ".join([*documents, "functions by name"])
    return f"There are convex, ctx, read, write, {others}. For example: {example}"
