"""The extension: one instance serves several apps, and opens nothing before a request needs it."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request

from flask_convex_http import (
    ActionCtx,
    ConfigurationError,
    ConvexHTTP,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    UserIdentity,
    internal_mutation,
    internal_query,
    require_api_key,
)
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.web.apps import backend_of, deployed, send


class Note(Document, table="notes"):
    """A note."""

    text: str


@internal_mutation
def add(ctx: MutationCtx, *, text: str) -> Id[Note]:
    """Add a note."""
    return ctx.db.insert(Note(text=text))


@internal_query
def texts(ctx: QueryCtx) -> list[str]:
    """Return the texts of all notes."""
    return [note.text for note in ctx.db.query(Note).collect()]


@internal_query
def who(ctx: QueryCtx) -> str | None:
    """Return the caller's subject, or None."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.subject


SCHEMA = Schema(Note)
FUNCTIONS: list[Any] = [add, texts, who]


def notes() -> HttpRouter:
    """Return a router with endpoints that write, read, and require an API key."""
    http = HttpRouter("http", __name__)

    @http.get("/notes")
    def get(ctx: ActionCtx, request: Request) -> list[str]:
        return ctx.run_query(texts)

    @http.post(path_prefix="/notes/")
    def post(ctx: ActionCtx, request: Request, text: str) -> dict[str, str]:
        return {"id": ctx.run_mutation(add, text=text)}

    @http.get("/guarded")
    @require_api_key
    def guarded(ctx: ActionCtx, request: Request) -> str:
        return "in"

    return http


def new_app(folder: Path, **config: Any) -> Flask:
    """Return an app whose instance folder exists, and whose requests start no worker."""
    folder.mkdir(exist_ok=True)
    app = Flask("test_app", instance_path=str(folder))
    app.config.update({"CONVEX_WORKER": "off"} | config)
    return app


def test_two_apps_with_one_instance(tmp_path: Path) -> None:
    """One ConvexHTTP serves two apps, each with a database of its own."""
    convex, http = ConvexHTTP(schema=SCHEMA, functions=FUNCTIONS), notes()
    apps = [new_app(tmp_path / name) for name in ("one", "two")]
    for app in apps:
        convex.init_app(app)
        app.register_blueprint(http)
        with app.app_context():
            convex.migrate()
    try:
        assert send(apps[0], "POST", "/notes/first").status_code == 200
        assert [send(app, "GET", "/notes").json for app in apps] == [["first"], []]
        assert all((tmp_path / name / "convex.db").exists() for name in ("one", "two"))
        with apps[1].app_context():
            assert convex.backend is backend_of(apps[1])
            assert convex.ctx().run_query(texts) == []
            assert convex.ctx(UserIdentity(subject="ada", issuer="me")).run_query(who) == "ada"
        key, _ = backend_of(apps[0]).api_keys.create(name="me")
        assert [send(app, "GET", "/guarded", HTTP_X_API_KEY=key).status_code for app in apps] == [200, 403]
    finally:
        for app in apps:
            backend_of(app).close()


@pytest.mark.parametrize("given", [True, False])
def test_init_opens_nothing(tmp_path: Path, given: bool) -> None:
    """Neither init, with the app given now or later, nor a request without a database creates a file or a thread."""
    app, threads = new_app(tmp_path), threading.enumerate()
    if given:
        ConvexHTTP(app, schema=SCHEMA, functions=FUNCTIONS)
    else:
        ConvexHTTP(schema=SCHEMA, functions=FUNCTIONS).init_app(app)
    app.register_blueprint(notes())
    assert send(app, "GET", "/missing").status_code == 404
    assert send(app, "GET", "/guarded").status_code == 401
    assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= set(threads)  # those of earlier tests may end meanwhile
    backend_of(app).close()


@pytest.mark.parametrize("prefix", ["", "FLASK_"])
def test_the_environment_names_the_place_of_all_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """An app that does not read its environment stores documents and files where CONVEX_DATABASE_URL says."""
    monkeypatch.setenv(f"{prefix}CONVEX_DATABASE_URL", f"sqlite:///{tmp_path}/data/shop.db")
    app = new_app(tmp_path / "instance")
    convex = ConvexHTTP(app, schema=SCHEMA, functions=FUNCTIONS)
    with app.app_context():
        convex.migrate()
        convex.ctx().storage.store(b"photo", content_type="text/plain")
        convex.backend.close()
    assert {"shop.db", "shop-files.db"} <= set(os.listdir(tmp_path / "data"))
    assert os.listdir(tmp_path / "instance") == []


def test_a_test_does_not_use_the_data_of_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app with TESTING uses its own instance folder, regardless of the environment."""
    monkeypatch.setenv("CONVEX_DATABASE_URL", f"sqlite:///{tmp_path}/precious.db")
    app = new_app(tmp_path / "instance", TESTING=True)
    ConvexHTTP(app, schema=SCHEMA, functions=FUNCTIONS)
    assert backend_of(app).location.path == tmp_path / "instance" / "convex.db"
    backend_of(app).close()


def test_second_init_is_rejected(tmp_path: Path) -> None:
    """A second init_app of one app raises ConfigurationError, also by another instance."""
    app = new_app(tmp_path)
    convex = ConvexHTTP(app)
    for again in (convex, ConvexHTTP()):
        with pytest.raises(ConfigurationError, match="call init_app once"):
            again.init_app(app)
    backend_of(app).close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CONVEX_DATABASE_URL", "mysql://user:hunter2@host/db"),
        ("CONVEX_STORAGE_URL", ""),
        ("CONVEX_SECRET", "hunter2"),
        ("CONVEX_SITE_URL", "example.com"),
        ("CONVEX_MAX_BODY_BYTES", 0),
        ("CONVEX_MAX_BODY_BYTES", "hunter2"),
        ("CONVEX_MAX_UPLOAD_BYTES", True),
        ("CONVEX_API_KEY_PREFIX", "A_b"),
        ("CONVEX_DURABILITY", "off"),
        ("CONVEX_WRITE_TIMEOUT", "10"),
        ("CONVEX_WRITE_TIMEOUT", 0),
        ("CONVEX_WRITE_QUEUE", 0),
    ],
)
def test_bad_setting_is_named_at_init(tmp_path: Path, key: str, value: object) -> None:
    """A wrong setting fails at init; the message names it and shows no secret."""
    app = new_app(tmp_path, **{key: value})
    with pytest.raises(ConfigurationError, match=key) as caught:
        ConvexHTTP(app)
    assert "hunter2" not in str(caught.value)
    assert "convex_http" not in app.extensions


@pytest.mark.parametrize(("durability", "synchronous"), [(None, 2), ("full", 2), ("normal", 1)])
def test_durability_reaches_the_database(tmp_path: Path, durability: str | None, synchronous: int) -> None:
    """CONVEX_DURABILITY sets SQLite's synchronous: FULL by default, NORMAL for "normal"."""
    url = "sqlite:///a.db"
    with deployed(tmp_path, schema=SCHEMA, CONVEX_DATABASE_URL=url, CONVEX_DURABILITY=durability) as app:
        engine = backend_of(app).engine
        assert isinstance(engine, SQLiteEngine)
        found = engine.write(lambda transaction: transaction._connection.execute("PRAGMA synchronous").fetchone()[0])
    assert found == synchronous


def test_missing_functions_module_is_rejected_at_init(tmp_path: Path) -> None:
    """A functions module that does not exist raises RegistrationError at init."""
    with pytest.raises(RegistrationError, match="no_such_module"):
        ConvexHTTP(new_app(tmp_path), functions=["no_such_module"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schema": [Note]}, r"schema= takes a Schema, such as Schema\(Item\)"),
        ({"schema": Note}, r"schema= takes a Schema, such as Schema\(Item\)"),
        ({"functions": add}, r"functions= takes a list: write functions=\[add\]"),
        ({"functions": "shop"}, r"functions= takes a list: write functions=\['shop'\]"),
    ],
)
def test_arguments_of_another_type_are_rejected(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A schema that is no Schema, and functions that are no list, raise RegistrationError, which says what to write."""
    with pytest.raises(RegistrationError, match=message):
        ConvexHTTP(new_app(tmp_path), **arguments)


def test_pending_migration_is_described_in_the_log_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The 503 of an app with a pending migration names the command; only the log names the tables."""
    before, after = new_app(tmp_path), new_app(tmp_path)
    with before.app_context():
        ConvexHTTP(before).migrate()
    ConvexHTTP(after, schema=SCHEMA, functions=FUNCTIONS)
    after.register_blueprint(notes())
    try:
        response = send(after, "GET", "/notes")
        assert response.status_code == 503
        assert response.json == {"error": "The database is not migrated; run `flask convex migrate`"}
        assert "create table notes" in caplog.text
    finally:
        for app in (before, after):
            backend_of(app).close()


def test_unmigrated_database_is_503(tmp_path: Path) -> None:
    """Before the first migration requests are 503 and name the command; after it they work at once."""
    app = new_app(tmp_path)
    convex = ConvexHTTP(app, schema=SCHEMA, functions=FUNCTIONS)
    app.register_blueprint(notes())
    try:
        for method, path in (("GET", "/notes"), ("POST", "/notes/a")):
            response = send(app, method, path)
            assert response.status_code == 503
            assert "flask convex migrate" in (response.json or {})["error"]
        with app.app_context():
            convex.migrate()
        assert send(app, "POST", "/notes/a").status_code == 200
    finally:
        backend_of(app).close()


def test_app_without_the_extension_raises(tmp_path: Path) -> None:
    """A router on an app without the extension raises RuntimeError, which names `init_app`."""
    app = Flask("plain")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(notes())
    with pytest.raises(RuntimeError, match=r"convex\.init_app\(app\)"):
        send(app, "GET", "/notes")


def test_routers_may_come_before_the_extension(tmp_path: Path) -> None:
    """A router that is registered before init_app works like one that is registered after it."""
    app = new_app(tmp_path, CONVEX_DATABASE_URL="sqlite:///:memory:")
    app.register_blueprint(notes())
    convex = ConvexHTTP(schema=SCHEMA, functions=FUNCTIONS)
    convex.init_app(app)
    try:
        with app.app_context():
            convex.migrate()
        assert send(app, "GET", "/notes").json == []
    finally:
        backend_of(app).close()


def test_host_app_is_unchanged(tmp_path: Path) -> None:
    """The host app's own views, JSON provider, converters and error pages stay as they were."""
    with deployed(tmp_path, notes(), schema=SCHEMA, functions=FUNCTIONS) as app:
        app.add_url_rule("/own/<int:number>", view_func=lambda number: {"b": number, "a": 1}, endpoint="own")
        app.add_url_rule("/fails", view_func=lambda: str(1 / 0), endpoint="fails")
        assert send(app, "GET", "/own/3").json == {"a": 1, "b": 3}
        assert send(app, "GET", "/fails").content_type.startswith("text/html")
        assert app.url_map.merge_slashes and app.url_map.strict_slashes


def test_commands_are_registered(tmp_path: Path) -> None:
    """`flask convex` is among the app's commands after init_app."""
    with deployed(tmp_path) as app:
        assert "convex" in app.cli.commands
