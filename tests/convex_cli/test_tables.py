"""`npx convex data`: the tables of an app, and the documents of one."""

from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import Document, FunctionApi, MutationCtx, Schema, mutation
from tests.convex_cli.command_line import ask, page, refused
from tests.databases import EACH_ENGINE
from tests.function_api.shop import call, post, shop
from tests.web.apps import deployed

pytestmark = EACH_ENGINE


class Note(Document, table="notes"):
    body_text: str
    extra: Any = None


@mutation
def add_note(ctx: MutationCtx, *, size: int = 0, extra: Any = None) -> None:
    ctx.db.insert(Note(body_text="x" * size, extra=extra))


@mutation
def add_hidden(ctx: MutationCtx) -> None:
    """Insert a document whose values Convex's JSON or its JavaScript client cannot hold."""
    ctx.db.insert(Note(body_text="odd", extra={"$ref": "x", "é": 2**80}))


NOTES: dict[str, Any] = {"schema": Schema(Note), "functions": [add_note, add_hidden]}


def test_tables_are_those_of_the_app(tmp_path: Path) -> None:
    """The names of the application's tables are listed, and none of the package's."""
    with shop(tmp_path) as app:
        assert ask(app, "tables", paginationOpts=page(10000)) == {
            "page": [{"name": "items"}],
            "isDone": True,
            "continueCursor": "",
        }


def test_documents_in_pages(tmp_path: Path) -> None:
    """The documents of a table come in pages as clients see them, the newest first by default."""
    with shop(tmp_path) as app:
        for name in "abcdefg":
            call(app, "mutation", "createItem", {"name": name})
        names, cursor, pages = [], None, 0
        for _ in range(10):
            found = ask(app, "tableData", table="items", order="asc", paginationOpts=page(3, cursor))
            names += [item["name"] for item in found["page"]]
            cursor, pages = found["continueCursor"], pages + 1
            if found["isDone"]:
                break
        assert (names, pages) == (list("abcdefg"), 3)
        newest = ask(app, "tableData", table="items", paginationOpts=page(1))["page"][0]
        assert (newest["name"], newest["unitPrice"], newest["inStock"]) == ("g", 1.0, {"$integer": "AAAAAAAAAAA="})
        assert newest["_id"].startswith("items_") and newest["_creationTime"] > 0


def test_pages_of_large_documents_are_short(tmp_path: Path) -> None:
    """A page of large documents ends before the limit of what a function reads."""
    with deployed(tmp_path, **NOTES, function_api=True, CONVEX_MAX_READ_BYTES=12_000_000) as app:
        for _ in range(7):
            call(app, "mutation", "testTables:addNote", {"size": 2_000_000})
        found, cursor, is_done = [], None, False
        while not is_done:
            got = ask(app, "tableData", table="notes", paginationOpts=page(101, cursor))
            cursor, is_done = got["continueCursor"], got["isDone"]
            assert 1 <= len(got["page"]) < 7
            found += [note["_id"] for note in got["page"]]
        assert len(set(found)) == len(found) == 7


def test_values_that_clients_cannot_hold(tmp_path: Path) -> None:
    """A value that the JavaScript client could not read is shown as a text of JSON, and hides no other value."""
    with deployed(tmp_path, **NOTES, function_api=FunctionApi(casing=None)) as app:
        call(app, "mutation", "test_tables:add_note", {"extra": {"a": [1]}})
        call(app, "mutation", "test_tables:add_hidden")
        odd, plain = ask(app, "tableData", table="notes", paginationOpts=page())["page"]
        assert (odd["body_text"], odd["extra"]) == ("odd", '{"$ref":"x","é":1208925819614629174706176}')
        assert odd.keys() == plain.keys() == {"_id", "_creationTime", "body_text", "extra"}
        assert plain["extra"] == {"a": [1.0]}


def test_system_tables(tmp_path: Path) -> None:
    """The package's tables that functions may read can be asked for by name; the others stay closed."""
    with shop(tmp_path) as app:
        for name in ("_storage", "_scheduled_functions", "_webhooks"):
            assert ask(app, "tableData", table=name, paginationOpts=page())["page"] == []
        for name in ("_settings", "api_keys", "access_tokens", "_webhook_requests", "_idempotency_keys", "_commits"):
            error = refused(app, "tableData", table=name, paginationOpts=page())
            assert f"the table {name!r} belongs to the package" in error
        error = refused(app, "tableData", table="products", paginationOpts=page())
        assert error.endswith(
            "'products' does not exist. The tables are items, _storage, _scheduled_functions, _webhooks."
        )


@pytest.mark.parametrize("arguments", [{}, {"table": 1}, {"table": "items", "order": "up"}, {"table": "items"}])
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, Any]) -> None:
    """Wrong arguments are an error of the call."""
    with shop(tmp_path) as app:
        given = {"paginationOpts": page(), "other": 1} | arguments
        assert "ArgumentValidationError" in refused(app, "tableData", **given)


def test_only_for_administrators(tmp_path: Path) -> None:
    """Callers without an admin key do not learn that the queries exist."""
    with shop(tmp_path) as app:
        for name in ("tables", "tableData", "modules:apiSpec", "convexUrl:cloudUrl", "queryEnvironmentVariables"):
            path = f"_system/cli/{name}"
            body = {"path": path, "args": {"paginationOpts": page()}}
            for url in ("/api/query", "/api/action"):
                message = post(app, url, body).get_json()["errorMessage"]
                path = path if ":" in path else f"{path}:default"
                assert message.endswith(f"Could not find public function for '{path}'.")
