"""Read and change the documents of the application's tables, as an operator.

Reads are those of `ctx.db`, with its limits. Changes are mutations of the package's own, so that they are validated as
the application's are, and the commit log names the operator as their cause.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from flask_convex_http.backend import Backend
from flask_convex_http.dashboard.fields import FormField, form_field, write_value
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.database.db import DatabaseReader
from flask_convex_http.errors import ConvexError, DocumentNotFoundError
from flask_convex_http.functions.function import MutationFunction
from flask_convex_http.ids import Id
from flask_convex_http.runtime import MutationCtx
from flask_convex_http.schema.documents import Document, Table
from flask_convex_http.validation.annotations import describe
from flask_convex_http.validation.validator import InvalidValueError

INSERT, PATCH, DELETE = "_dashboard:insert", "_dashboard:patch", "_dashboard:delete"
#: The pages of documents of the package itself, with the variable of their path.
_OWN_PAGES = {
    "_storage": ("files_details", "file"),
    "_scheduled_functions": ("jobs_job", "job"),
    "_webhooks": ("webhooks_delivery", "delivery"),
}
#: Characters of a value that a form shows. A longer one is changed by a function.
LONGEST_FIELD = 64 * 1024
_CHANGED = "The document was changed since the form was opened. Reload it, and make your change again."


def add_functions(backend: Backend) -> None:
    """Register the mutations that change documents."""
    schema = backend.schema

    def insert(ctx: MutationCtx, *, table: str, values: Any) -> str:
        return ctx.db.insert(schema.tables[table].document(**values))

    def patch(ctx: MutationCtx, *, document_id: str, values: Any, version: str) -> None:
        if version_of(_required(ctx, Id(document_id))) != version:
            raise ConvexError(_CHANGED, status=409)
        ctx.db.patch(Id(document_id), **values)

    def delete(ctx: MutationCtx, *, document_id: str) -> None:
        ctx.db.delete(Id(document_id))

    for name, handler in ((INSERT, insert), (PATCH, patch), (DELETE, delete)):
        backend.functions.add_own(name, MutationFunction(handler, public=False))


@contextmanager
def reading(backend: Backend) -> Iterator[DatabaseReader]:
    """Yield a reader of one snapshot, as `ctx.db` of a query."""
    runtime = backend.runtime
    with backend.engine.snapshot() as snapshot:
        yield DatabaseReader(snapshot, backend.schema, (runtime.cursors, "_dashboard"), runtime.limits)


def version_of(document: Document) -> str:
    """Return a text that changes when any field of a document changes."""
    return hashlib.blake2b(msgspec.json.encode(document), digest_size=16).hexdigest()


def fields_of(table: Table[Any], *, is_new: bool) -> list[FormField]:
    """Return the form fields of a document. Those of a new one may be left out where they have a default."""
    fields = []
    for name, column in table.columns.items():
        default = column.default if is_new else msgspec.UNSET
        fields.append(
            form_field(
                name,
                column.validator.annotation,
                is_required=default is msgspec.UNSET,
                default=None if default is msgspec.UNSET else repr(default),
            )
        )
    return fields


def texts_of(fields: list[FormField], document: Document) -> tuple[dict[str, str], list[str]]:
    """Return the texts of a document's form by field, and the names of the fields that are too long for one."""
    values = msgspec.to_builtins(document)
    texts = {field.name: write_value(field, values[field.name]) for field in fields}
    too_long = [name for name, text in texts.items() if len(text) > LONGEST_FIELD]
    return {name: text for name, text in texts.items() if name not in too_long}, too_long


def converted(table: Table[Any], values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return JSON values as the fields of a document have them, and the errors of the others by field."""
    found: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, value in values.items():
        try:
            found[name] = table.columns[name].validator.check_json(value)
        except InvalidValueError as error:
            errors[name] = str(error).removesuffix(" - at `$`")
    return found, errors


def type_of(table: Table[Any], name: str) -> str:
    """Return the type of a field as source code."""
    return describe(table.columns[name].validator.annotation)


def page_of(visit: Visit, value: Any) -> str | None:
    """Return the path of the page about the document with an id, or None if a value is no such id."""
    table = visit.backend.schema.likely_table_of(value)
    if table is None:
        return None
    if not table.system:
        return visit.url("tables_document", name=table.name, document_id=value)
    endpoint, variable = _OWN_PAGES.get(table.name, ("", ""))
    return visit.url(endpoint, **{variable: value}) if endpoint else None


def references_in(visit: Visit, value: Any) -> list[str]:
    """Return the ids within a JSON value that a page shows, each once."""
    found: dict[str, None] = {}
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
        elif page_of(visit, each):
            found[each] = None
    return list(found)


def _required(ctx: MutationCtx, document_id: Id[Any]) -> Any:
    document = ctx.db.get(document_id)
    if document is None:
        raise DocumentNotFoundError(f"There is no document {document_id}")
    return document
