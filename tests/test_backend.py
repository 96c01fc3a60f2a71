"""A backend without a web framework: functions by name with arguments from JSON, migration, and closing."""

import datetime
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    ConfigurationError,
    Document,
    FunctionNotFoundError,
    Id,
    MigrationRequiredError,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    action,
    internal_mutation,
    query,
)
from flask_convex_http.backend import Backend, Functions
from flask_convex_http.config import Settings
from flask_convex_http.signing import Signing
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend, settings_in

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


class Event(Document, table="events"):
    at: datetime.datetime
    payload: bytes
    tags: set[str]


@internal_mutation
def add(ctx: MutationCtx, *, at: datetime.datetime, payload: bytes, tags: set[str] = set()) -> Id[Event]:  # noqa: B006
    return ctx.db.insert(Event(at=at, payload=payload, tags=tags))


@query
def get(ctx: QueryCtx, *, id: Id[Event]) -> Event | None:
    return ctx.db.get(id)


@action
def add_twice(ctx: ActionCtx, *, at: datetime.datetime) -> list[Id[Event]]:
    return [ctx.run_mutation(add, at=at, payload=b"") for _ in range(2)]


SCHEMA = Schema(Event)
FUNCTIONS: Functions = [add, get, add_twice]


def test_run_by_name() -> None:
    """A function of any kind runs by name, and dates, bytes and sets are decoded from JSON arguments."""
    arguments = json.loads('{"at": "2026-01-02T13:00:00+01:00", "payload": "AP8=", "tags": ["a", "b"]}')
    with memory_backend(SCHEMA, FUNCTIONS) as backend:
        event_id = backend.run("test_backend:add", arguments)
        event = backend.run("test_backend:get", {"id": event_id})
        assert len(set(backend.run("test_backend:add_twice", {"at": "2026-01-02T12:00:00Z"}))) == 2
    assert (event.id, event.at, event.payload, event.tags) == (event_id, NOON, b"\0\xff", {"a", "b"})


@pytest.mark.parametrize(
    "arguments",
    [{}, [], None, "x", 1, {"at": 1}, {"at": "noon"}, {"at": "2026-01-02T12:00:00"}, {"at": NOON.isoformat(), "x": 1}],
)
def test_run_with_wrong_arguments(arguments: Any) -> None:
    """Arguments that do not match the function raise ArgumentValidationError, also if they are no object."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend, pytest.raises(ArgumentValidationError, match=r"- at `\$"):
        backend.run("test_backend:add_twice", arguments)


def test_run_unknown_function() -> None:
    """An unknown name raises FunctionNotFoundError."""
    with memory_backend(SCHEMA, FUNCTIONS) as backend, pytest.raises(FunctionNotFoundError):
        backend.run("test_backend:nothing", {})


def test_nothing_is_opened_before_use(tmp_path: Path) -> None:
    """Creating a backend opens no file."""
    backend = Backend(Settings(), SCHEMA, FUNCTIONS, folder=tmp_path / "instance")
    assert list(tmp_path.iterdir()) == []
    backend.close()


def test_before_the_first_migration(tmp_path: Path) -> None:
    """Before the first migration every function raises MigrationRequiredError, which names the command."""
    backend = Backend(settings_in(tmp_path), SCHEMA, FUNCTIONS, folder=tmp_path)
    for name in ("add_twice", "get"):
        arguments = {"id": f"events_{'0' * 32}"} if name == "get" else {"at": "2026-01-02T12:00:00Z"}
        with pytest.raises(MigrationRequiredError, match="flask convex migrate"):
            backend.run(f"test_backend:{name}", arguments)
    backend.close()


def test_later_migration_keeps_the_secret(tmp_path: Path) -> None:
    """The first migration creates a secret that later ones keep, and a dry run creates none."""
    backend = Backend(settings_in(tmp_path), SCHEMA, folder=tmp_path)
    backend.migrate(dry_run=True)
    with pytest.raises(MigrationRequiredError):
        backend.signing.sign("file", "text")
    backend.migrate()
    signature = backend.signing.sign("file", "text")
    backend.migrate()
    backend.close()
    reopened = Backend(settings_in(tmp_path), SCHEMA, folder=tmp_path)
    assert reopened.signing.verify("file", "text", signature)
    reopened.close()


def test_a_migration_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A migration is one line at INFO, and each of its steps one at DEBUG; a second migration has nothing to log."""
    backend = Backend(settings_in(tmp_path), SCHEMA, folder=tmp_path)
    with caplog.at_level(logging.DEBUG, "flask_convex_http"):
        backend.migrate(dry_run=True)
        assert caplog.records == []
        steps = backend.migrate()
        first, *others = caplog.records
        backend.migrate()
    backend.close()
    assert first.levelno == logging.INFO and first.getMessage().endswith(f": {len(steps)} steps")
    assert [record.levelno for record in others] == [logging.DEBUG] * len(steps)
    assert len(caplog.records) == 1 + len(steps)


def test_secret_from_the_settings() -> None:
    """A secret in the settings takes precedence."""
    secret = "a secret of more than 32 characters"
    settings = Settings(database_url="sqlite:///:memory:", storage_url="sqlite:///:memory:", secret=secret)
    backend = Backend(settings, SCHEMA, folder=Path())
    assert backend.signing.sign("file", "text") == Signing(lambda: secret).sign("file", "text")
    backend.close()


def test_invalid_functions_fail_at_the_start() -> None:
    """Functions that do not fit the schema raise RegistrationError when the backend is created."""
    with pytest.raises(RegistrationError, match=r"refers to Id\[Event\], which is not in the schema"):
        Backend(Settings(), Schema(), FUNCTIONS, folder=Path())


def test_site() -> None:
    """URLs start with the site of the settings, or else with that of the caller; without both they are an error."""
    with memory_backend(SCHEMA) as backend:
        assert (
            backend.ctx(site=lambda: "https://a.example").storage.generate_upload_url().startswith("https://a.example/")
        )
        with pytest.raises(ConfigurationError, match="CONVEX_SITE_URL"):
            backend.ctx().storage.generate_upload_url()
    backend = Backend(Settings(site_url="https://b.example", secret="a" * 32), SCHEMA, folder=Path())
    assert backend.ctx(site=lambda: "https://a.example").storage.generate_upload_url().startswith("https://b.example/")
    backend.close()
