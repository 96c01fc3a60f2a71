"""`npx convex data`: the names of the tables, and the documents of one.

The tables of the application are listed. Those of the package that functions may read (`ctx.db.system`) can be asked
for by name. The others hold hashes of credentials, or what senders have sent, and stay closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec.structs import fields

from flask_convex_http.convex_cli.refusals import DENIED
from flask_convex_http.database.pages import Page, PaginationOptions
from flask_convex_http.database.query import Query
from flask_convex_http.errors import FunctionLimitError
from flask_convex_http.function_api.encoding import Encoders
from flask_convex_http.function_api.failures import CallError
from flask_convex_http.function_api.values import ValueFormatError
from flask_convex_http.functions.function import QueryFunction
from flask_convex_http.runtime import QueryCtx
from flask_convex_http.schema.documents import Document, Schema
from flask_convex_http.schema.system_tables import READABLE

TABLES, TABLE_DATA = "_system/cli/tables:default", "_system/cli/tableData:default"
#: Bytes of documents after which a page ends, since a function reads and returns a limited number.
_LARGE_PAGE = 4 * 2**20
#: Bytes that a page never has, unless it is one document.
_LARGEST_PAGE = 16 * 2**20
#: How much larger each part of a page is than the one before. The first part has one document, which may be large.
_GROWTH, _LARGEST_PART = 4, 1000


def table_queries(schema: Schema, encoders: Encoders) -> dict[str, QueryFunction[..., Any]]:
    """Return the queries by their names.

    Args:
        schema: The tables.
        encoders: Encodes documents for clients.
    """
    own = {table.name: table.document for table in schema.tables.values() if not table.system}
    system = {schema.table_for(document).name: document for document in READABLE}
    names = sorted(own)
    shown = _shown_by(encoders)

    def tables(ctx: QueryCtx, *, paginationOpts: PaginationOptions) -> dict[str, Any]:
        return {"page": [{"name": name} for name in names], "isDone": True, "continueCursor": ""}

    def table_data(
        ctx: QueryCtx, *, table: str, paginationOpts: PaginationOptions, order: Literal["asc", "desc"] = "desc"
    ) -> dict[str, Any]:
        if table in own:
            query: Query[Any] = ctx.db.query(own[table])
        elif table in system:
            query = ctx.db.system.query(system[table])
        else:
            raise CallError(_refusal(table, table in schema.tables, [*names, *system]))
        page = _large_page(query.order(order), paginationOpts)
        documents = [shown(document) for document in page.page]
        return {"page": documents, "isDone": page.is_done, "continueCursor": page.continue_cursor}

    return {TABLES: QueryFunction(tables, public=False), TABLE_DATA: QueryFunction(table_data, public=False)}


def _refusal(name: str, is_known: bool, readable: list[str]) -> str:
    """Return the error for a table that cannot be read."""
    reason = "belongs to the package and stays closed" if is_known else "does not exist"
    return f"{DENIED}: the table {name[:100]!r} {reason}. The tables are {', '.join(readable)}."


def _large_page(query: Query[Any], options: PaginationOptions) -> Page[Any]:
    """Return a page with as many documents as the client asks for, unless they are large."""
    documents: list[Document] = []
    size, count, cursor = 0, 1, options.cursor
    while True:
        part = _part(query, min(count, options.num_items - len(documents)), cursor, may_fail=bool(documents))
        size += 0 if part is None else len(_as_text(part.page))
        if part is None or (documents and size > _LARGEST_PAGE):
            return Page(page=documents, is_done=False, continue_cursor=cursor or "")
        documents += part.page
        cursor, count = part.continue_cursor, min(count * _GROWTH, _LARGEST_PART)
        if part.is_done or size > _LARGE_PAGE or len(documents) >= options.num_items:
            return Page(page=documents, is_done=part.is_done, continue_cursor=cursor)


def _part(query: Query[Any], num_items: int, cursor: str | None, *, may_fail: bool) -> Page[Any] | None:
    """Return a part of a page, or None if the query would read more than a function may."""
    try:
        return query.paginate(num_items=num_items, cursor=cursor)
    except FunctionLimitError:
        if may_fail:
            return None
        raise


# --- documents that JavaScript cannot hold ----------------------------------------------------------------------------


def _shown_by(encoders: Encoders) -> Callable[[Any], Any]:
    """Return a function that replaces the values of a document that clients cannot receive by their JSON as text."""

    def is_receivable(value: Any) -> bool:
        try:
            return _has_plain_keys(encoders.encode(value))
        except (ValueFormatError, TypeError):
            return False

    def shown(document: Any) -> Any:
        if is_receivable(document):
            return document
        kind = type(document)
        values = {encoders.wire(kind, field.name): getattr(document, field.name) for field in fields(kind)}
        return {name: value if is_receivable(value) else _as_text(value) for name, value in values.items()}

    return shown


def _has_plain_keys(value: Any) -> bool:
    """Return whether the JavaScript client accepts the keys of encoded JSON: those of printable ASCII."""
    if isinstance(value, list):
        return all(_has_plain_keys(part) for part in value)
    if not isinstance(value, dict):
        return True
    return all(key.isascii() and key.isprintable() and _has_plain_keys(part) for key, part in value.items())


def _as_text(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode(errors="replace")
