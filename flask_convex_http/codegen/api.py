"""Describe what clients may call: the public functions, and the records and tables in their types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask_convex_http.codegen.names import name_records
from flask_convex_http.codegen.reader import Reader
from flask_convex_http.codegen.types import Api, CallableFunction, DocumentTable, Field, PageType, Record, Scalar
from flask_convex_http.function_api.names import Casing, wire_name
from flask_convex_http.functions.function import Function
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.web.openapi.texts import described

#: The parameters of a paginated query.
_PAGING = ("num_items", "cursor")


def api_of(
    functions: Iterable[Function[Any, Any]],
    schema: Schema,
    casing: Casing,
    *,
    taken: Iterable[str],
    for_javascript: bool,
) -> Api:
    """Return the description of an app.

    Args:
        functions: All functions of the app. Internal ones are left out.
        schema: The tables.
        casing: The casing of names for clients.
        taken: Names that records cannot have in the language of the client.
        for_javascript: Whether the clients are those of Convex. They have two types of numbers, and page by
            `paginationOpts`.
    """
    reader = Reader(schema, casing, for_javascript=for_javascript)
    public = [
        callable_function(function, reader, casing, for_javascript=for_javascript)
        for function in functions
        if function.public
    ]
    tables = [_table(table, reader, casing) for table in schema.tables.values() if not table.system]
    return Api(
        tuple(sorted(public, key=lambda function: function.path)),
        tuple(sorted(tables, key=lambda table: table.name)),
        tuple(name_records(reader.records, taken)),
    )


def callable_function(
    function: Function[Any, Any], reader: Reader, casing: Casing, *, for_javascript: bool
) -> CallableFunction:
    """Return the description of a function.

    Args:
        function: The function.
        reader: Reads its annotations.
        casing: See `api_of`.
        for_javascript: See `api_of`.
    """
    modules, _, name = function.name.rpartition(":")
    python_path = (*(part for part in modules.split("/") if part), name)
    arguments = [
        reader.field(
            argument,
            annotation,
            is_sent=True,
            is_optional=function.parameters[argument].default is not function.parameters[argument].empty,
        )
        for argument, annotation in function.argument_types.items()
    ]
    result = reader.type_of(function.result_type, is_sent=False)
    if for_javascript and isinstance(result, PageType):
        arguments = _with_pagination_options(arguments)
    path = tuple(wire_name(part, casing) for part in python_path)
    return CallableFunction(path, python_path, function.kind, tuple(arguments), result, described(function.__doc__))


def _with_pagination_options(arguments: list[Field]) -> list[Field]:
    """Return the arguments with `paginationOpts` instead of `num_items` and `cursor`, which the function API reads."""
    others = [argument for argument in arguments if argument.name not in _PAGING]
    if len(arguments) - len(others) < len(_PAGING):
        return arguments
    return [*others, Field("pagination_opts", "paginationOpts", Scalar("pagination options"), False)]


def _table(table: Table[Any], reader: Reader, casing: Casing) -> DocumentTable:
    document = reader.type_of(table.document, is_sent=False)
    assert isinstance(document, Record)
    indexes = {
        name: (*(wire_name(field, casing) for field in index.fields), "_creationTime")
        for name, index in table.indexes.items()
    }
    return DocumentTable(table.name, document, indexes)
