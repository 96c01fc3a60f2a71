"""The commit log: changes with their causes, and undo with a preview."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import Forbidden, NotFound

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import HIGHEST, Visit
from flask_convex_http.errors import ArgumentRangeError, UndoRefusedError
from flask_convex_http.history.rows import Commit

page = Page("history", "History")

_COMMITS, _CHANGES, _REVISIONS = 50, 50, 50
#: The changes of each commit in the list of commits.
_SHOWN = 3


@page.get()
def index(visit: Visit) -> Response:
    """List commits, the newest first."""
    tables = sorted(table.name for table in visit.backend.schema.tables.values() if not table.system)
    table, cause = visit.choice("table", tables), visit.text("cause")
    found = visit.backend.history.page(
        limit=_COMMITS, changes=_SHOWN, older_than=visit.older(), table=table or None, cause=cause or None
    )
    rows = [(listed, causes_of(listed.commit)) for listed in found.commits]
    is_on = visit.backend.settings.history != "off"
    return visit.render(
        "history.html", rows=rows, next=found.older_than, tables=tables, table=table, cause=cause, is_on=is_on
    )


@page.get("/<int:number>")
def commit(visit: Visit, number: int) -> Response:
    """Show the changes of a commit, with the values before and after it."""
    first = visit.number("first", 1, HIGHEST) - 1
    found = visit.backend.history.commit_page(number, first=first, limit=_CHANGES) if number < HIGHEST else None
    if found is None:
        raise NotFound
    last = first + len(found.commit.changes)
    return visit.render(
        "history_commit.html",
        commit=found.commit,
        causes=causes_of(found.commit),
        count=found.count,
        first=first + 1,
        last=last,
        next=last + 1 if first < last < found.count else None,
    )


@page.get("/document")
def document(visit: Visit) -> Response:
    """Show who changed a document, the newest change first."""
    document_id = visit.text("id")
    try:
        found = visit.backend.history.revision_page(document_id, limit=_REVISIONS, older_than=visit.older())
    except ArgumentRangeError as error:
        return visit.redirect("history_index", failed=str(error))
    rows = [(each, causes_of(each.commit)) for each in found.revisions]
    return visit.render("history_document.html", id=document_id, rows=rows, next=found.older_than)


@page.get("/undo")
def preview(visit: Visit) -> Response:
    """Preview the undo of a commit, a request or a delivery."""
    if not visit.can_write:  # the preview waits for the writer, as the undo itself
        raise Forbidden("This session is read-only; log in with an admin key that is not")
    what = visit.text("what")
    try:
        report = visit.backend.undo.run(what, only_show=True)
    except UndoRefusedError as error:
        return visit.render("history_undo.html", 409, what=what, report=None, refused=str(error))
    return visit.render("history_undo.html", what=what, report=report, refused="")


@page.post("/undo")
def undo(visit: Visit) -> Response:
    """Undo a commit, a request or a delivery."""
    what = visit.field("what")
    try:
        report = visit.backend.undo.run(what, caller=visit.operator())
    except UndoRefusedError as error:
        return visit.redirect("history_index", failed=str(error))
    count = len(report.rows)
    return visit.redirect("history_index", done=f"Undid {what}: {count} row{'' if count == 1 else 's'} changed.")


def causes_of(commit: Commit) -> list[tuple[str, str]]:
    """Return the causes of a commit as pairs of a kind and a name."""
    causes = {
        "function": commit.function,
        "delivery": commit.delivery,
        "request": commit.request_id,
        "cron": commit.cron,
        "job": commit.job,
        "identity": commit.identity,
    }
    return [(kind, name) for kind, name in causes.items() if name is not None]
