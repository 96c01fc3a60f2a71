"""Tables: rows by index, documents with their references, changes of documents, and exports."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from flask import Response
from werkzeug.exceptions import NotFound

from flask_convex_http.dashboard.documents import (
    DELETE,
    INSERT,
    PATCH,
    converted,
    fields_of,
    page_of,
    reading,
    references_in,
    texts_of,
    type_of,
    version_of,
)
from flask_convex_http.dashboard.export import MEDIA_TYPES, export
from flask_convex_http.dashboard.fields import FormField, read_fields
from flask_convex_http.dashboard.index_filters import CONDITIONS, Condition, conditions_of
from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.database.pages import Page as Rows
from flask_convex_http.errors import (
    ConvexHTTPError,
    DocumentNotFoundError,
    DocumentValidationError,
    FunctionLimitError,
    QueryError,
)
from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Table

page = Page("tables", "Tables")

_ROWS, _MOST_ROWS = 25, 200
_VERSION = "_version"
_TOO_LARGE = "These documents are too large to be read at once. Add rows=1 to the address to see them one by one."


@page.get()
def index(visit: Visit) -> Response:
    """List the tables of the application."""
    reader = visit.backend.tables
    tables = [(table, reader.count(table.name)) for table in _tables(visit)]
    return visit.render("tables.html", tables=tables, others=reader.undescribed())


@page.get("/<name>")
def rows(visit: Visit, name: str) -> Response:
    """List rows of a table in the order of an index."""
    table = _table(visit, name)
    chosen = visit.choice("index", list(table.indexes), "by_creation_time")
    order = visit.choice("order", ("asc", "desc"), "desc")
    conditions, arguments = conditions_of(visit, table, table.indexes[chosen])
    found, error = _read(visit, table, chosen, order, arguments)
    return visit.render(
        "tables_rows.html",
        table=table,
        page_of=partial(page_of, visit),
        index=chosen,
        order=order,
        conditions=conditions,
        choices=CONDITIONS,
        error=error or _first_error(conditions),
        rows=[msgspec.to_builtins(document) for document in found.page],
        next=None if found.is_done else found.continue_cursor,
        count=visit.backend.tables.count(name),
        size=_mean_size(found.page),
        types={field: type_of(table, field) for field in table.columns},
        defaults={field: _default(column) for field, column in table.columns.items()},
    )


@page.get("/<name>/export.<any(csv, json):form>")
def download(visit: Visit, name: str, form: str) -> Response:
    """Export a table."""
    response = Response(export(visit.backend, _table(visit, name), form), content_type=MEDIA_TYPES[form])
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return response


@page.get("/<name>/new")
def new(visit: Visit, name: str) -> Response:
    """Show the form of a new document."""
    table = _table(visit, name)
    return _form(visit, table, fields_of(table, is_new=True), {}, {})


@page.post("/<name>/new")
def insert(visit: Visit, name: str) -> Response:
    """Insert a document."""
    table = _table(visit, name)
    fields = fields_of(table, is_new=True)
    values, errors = _given(visit, table, fields)
    if errors:
        return _form(visit, table, fields, visit.request.form, errors, status=400)
    try:
        document_id = visit.ctx().run_mutation(INSERT, table=name, values=values)
    except ConvexHTTPError as error:
        return _form(visit, table, fields, visit.request.form, {}, failed=_reason(error), status=409)
    return visit.redirect("tables_document", name=name, document_id=document_id, done="Inserted the document.")


@page.get("/<name>/<document_id>")
def document(visit: Visit, name: str, document_id: str) -> Response:
    """Show a document."""
    table = _table(visit, name)
    found = _document(visit, table, document_id)
    values = msgspec.to_builtins(found)
    return visit.render(
        "tables_document.html",
        table=table,
        page_of=partial(page_of, visit),
        id=document_id,
        time=found.creation_time,
        values={field: values[field] for field in table.columns},
        types={field: type_of(table, field) for field in table.columns},
        references=references_in(visit, [each for each in map(values.get, table.columns) if not isinstance(each, str)]),
    )


@page.get("/<name>/<document_id>/edit")
def edit(visit: Visit, name: str, document_id: str) -> Response:
    """Show the form of a document."""
    table = _table(visit, name)
    found, fields = _document(visit, table, document_id), fields_of(table, is_new=False)
    texts, too_long = texts_of(fields, found)
    shown = [field for field in fields if field.name in texts]
    return _form(visit, table, shown, texts, {}, id=document_id, version=version_of(found), too_long=too_long)


@page.post("/<name>/<document_id>/edit")
def patch(visit: Visit, name: str, document_id: str) -> Response:
    """Change the fields of a document that differ from the form as it was shown."""
    table = _table(visit, name)
    found, fields = _document(visit, table, document_id), fields_of(table, is_new=False)
    texts, too_long = texts_of(fields, found)
    shown = [field for field in fields if field.name in texts]
    changed = [field for field in shown if _differs(visit, field, texts[field.name])]
    version = visit.field(_VERSION)
    more: dict[str, Any] = {"id": document_id, "version": version, "too_long": too_long}
    values, errors = _given(visit, table, changed)
    if errors:
        return _form(visit, table, shown, visit.request.form, errors, status=400, **more)
    try:
        visit.ctx().run_mutation(PATCH, document_id=document_id, values=values, version=version)
    except ConvexHTTPError as error:
        return _form(visit, table, shown, visit.request.form, {}, failed=_reason(error), status=409, **more)
    done = f"Changed {', '.join(values)}." if values else "Nothing was changed."
    return visit.redirect("tables_document", name=name, document_id=document_id, done=done)


@page.post("/<name>/<document_id>/delete")
def delete(visit: Visit, name: str, document_id: str) -> Response:
    """Delete a document."""
    _document(visit, _table(visit, name), document_id)
    try:
        visit.ctx().run_mutation(DELETE, document_id=document_id)
    except DocumentNotFoundError:
        return visit.redirect("tables_rows", name=name, failed="The document was deleted before.")
    return visit.redirect("tables_rows", name=name, done=f"Deleted {document_id}.")


# --- parts ------------------------------------------------------------------------------------------------------------


def _tables(visit: Visit) -> list[Table[Any]]:
    tables = visit.backend.schema.tables.values()
    return sorted((table for table in tables if not table.system), key=lambda table: table.name)


def _table(visit: Visit, name: str) -> Table[Any]:
    """Return a table of the application.

    Raises:
        NotFound: There is none of that name.
    """
    table = visit.backend.schema.tables.get(name)
    if table is None or table.system:
        raise NotFound
    return table


def _document(visit: Visit, table: Table[Any], document_id: str) -> Any:
    """Return a document of a table.

    Raises:
        NotFound: There is none with that id.
    """
    if visit.backend.schema.likely_table_of(document_id) is not table:
        raise NotFound
    with reading(visit.backend) as db:
        found: Any = db.get(Id(document_id))
    if found is None:
        raise NotFound
    return found


def _read(visit: Visit, table: Table[Any], index: str, order: str, arguments: dict[str, Any]) -> tuple[Rows[Any], str]:
    """Return a page of rows, or an empty one and the reason why a condition cannot be used."""
    limit, cursor = visit.number("rows", _ROWS, _MOST_ROWS), visit.text("cursor") or None
    try:
        with reading(visit.backend) as db:
            query = db.query(table.document).with_index(index, **arguments)
            return query.order("desc" if order == "desc" else "asc").paginate(num_items=limit, cursor=cursor), ""
    except QueryError as error:
        return Rows(page=[], is_done=True, continue_cursor=""), str(error)
    except FunctionLimitError:
        return Rows(page=[], is_done=True, continue_cursor=""), _TOO_LARGE


def _given(visit: Visit, table: Table[Any], fields: list[FormField]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a form as a document has them, and the errors of the others."""
    values, errors = read_fields(fields, visit.request.form)
    found, more = converted(table, values)
    return found, errors | more


def _differs(visit: Visit, field: FormField, text: str) -> bool:
    """Return whether a form has another text, apart from line ends, which browsers change."""
    sent = visit.request.form.get(field.name, "")
    return sent.replace("\r\n", "\n") != text.replace("\r\n", "\n")


def _form(
    visit: Visit,
    table: Table[Any],
    fields: list[FormField],
    texts: Any,
    errors: dict[str, str],
    *,
    id: str = "",
    version: str = "",
    too_long: list[str] | None = None,
    failed: str = "",
    status: int = 200,
) -> Response:
    return visit.render(
        "tables_form.html",
        status,
        table=table,
        fields=fields,
        texts=texts,
        errors=errors,
        id=id,
        version=version,
        version_field=_VERSION,
        too_long=too_long or [],
        failed=failed,
    )


def _reason(error: ConvexHTTPError) -> str:
    """Return why the database has refused a change.

    Raises:
        ConvexHTTPError: It has not: the error is another one.
    """
    if not error.public and not isinstance(error, DocumentValidationError):
        raise error
    return str(error)


def _first_error(conditions: list[Condition]) -> str:
    return next((f"{each.field.name}: {each.error}" for each in conditions if each.error), "")


def _mean_size(documents: list[Any]) -> float:
    """Return the mean size of documents as JSON, which stands for that of all."""
    sizes = [len(msgspec.json.encode(document)) for document in documents]
    return sum(sizes) / max(len(sizes), 1)


def _default(column: Any) -> str:
    default = column.default
    return "" if default is msgspec.UNSET else repr(default)
