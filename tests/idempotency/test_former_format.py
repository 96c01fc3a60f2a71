"""The keys of earlier releases: with indexes of digests and of expiry, and later with the whole digest as the id."""

from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from flask import Flask

from flask_convex_http import ConvexHTTP, MigrationRequiredError, Schema
from flask_convex_http.schema.system_tables import IdempotencyKey
from tests.databases import EACH_ENGINE, folder_config, rows
from tests.idempotency.shop import Order, app_of, count, orders, post, router
from tests.web.apps import backend_of

pytestmark = EACH_ENGINE

#: The table as those releases have created it.
TABLE = """
CREATE TABLE "former" (
   "_id" {text} PRIMARY KEY NOT NULL,
   "_creation_time" {real} NOT NULL,
   "digest" {text} NOT NULL,
   "fingerprint" {text} NOT NULL,
   "key" {text} NOT NULL,
   "identity" {text},
   "method" {text} NOT NULL,
   "path" {text} NOT NULL,
   "request_id" {text} NOT NULL,
   "expires" {real} NOT NULL,
   "status" {integer} NOT NULL,
   "headers" {json} NOT NULL,
   "body" {blob} NOT NULL
)"""
CREATE = {
    "sqlite": TABLE.format(text="TEXT", real="REAL", integer="INTEGER", json="TEXT", blob="BLOB")
    + " STRICT, WITHOUT ROWID",
    "postgres": TABLE.format(
        text='text COLLATE "C"', real="double precision", integer="bigint", json="json", blob="bytea"
    ),
}
COPY = """
INSERT INTO "former" SELECT '_idempotency_keys_01a19467e800' || "_id", "_creation_time", "_id" || '0123456789abcdef',
"fingerprint", "key", "identity", "method", "path", "request_id", "expires", "status", "headers", "body"
FROM "_idempotency_keys" """
INDEXES = {"by_digest": 'UNIQUE INDEX {} ("digest")', "by_expiry": 'INDEX {} ("expires", "_id")'}


def restore_format(folder: Path, engine: str) -> None:
    """Give the keys of a database the format of those releases."""
    for statement in (CREATE[engine], COPY, 'DROP TABLE "_idempotency_keys"'):
        rows(folder, statement)
    rows(folder, 'ALTER TABLE "former" RENAME TO "_idempotency_keys"')
    for name, index in INDEXES.items():
        rows(folder, "CREATE " + index.format(f'"_idempotency_keys.{name}" ON "_idempotency_keys"'))
    [(text,)] = rows(folder, "SELECT value FROM _settings WHERE key = 'shape'")
    shape = msgspec.json.decode(text)
    shape["_idempotency_keys"]["columns"]["digest"] = {"kind": "text", "nullable": False}
    shape["_idempotency_keys"]["indexes"] = {
        "by_digest": {"fields": ["digest"], "unique": True},
        "by_expiry": {"fields": ["expires"], "unique": False},
    }
    rows(folder, "UPDATE _settings SET value = ? WHERE key = 'shape'", msgspec.json.encode(shape).decode())


@pytest.mark.parametrize("knows_shape", [True, False])
def test_migrate(tmp_path: Path, each_engine: str, knows_shape: bool) -> None:
    """A migration keeps the keys of earlier releases, so that a retry gets the stored response."""
    with app_of(tmp_path, router(), is_kept=True) as app:
        first = [post(app, key).data for key in ("k1", "k2")]
    restore_format(tmp_path, each_engine)
    if not knows_shape:
        rows(tmp_path, "DELETE FROM _settings WHERE key = 'shape'")
    check_migrated(tmp_path, first)


def test_migrate_long_ids(tmp_path: Path) -> None:
    """A migration shortens the ids of keys. Before it no request is served, since a retry would run again."""
    with app_of(tmp_path, router(), is_kept=True) as app:
        first = [post(app, key).data for key in ("k1", "k2")]
    rows(tmp_path, """UPDATE "_idempotency_keys" SET "_id" = '_idempotency_keys_' || "_id" || '0123456789abcdef'""")
    app = Flask("test_app", instance_path=str(tmp_path))
    app.config.update({"CONVEX_WORKER": "off"} | folder_config(tmp_path))
    ConvexHTTP(app, schema=Schema(Order))
    with closing(backend_of(app)), pytest.raises(MigrationRequiredError, match="shorten the ids of _idempotency_keys"):
        backend_of(app).idempotency.list_keys(None, 9)
    check_migrated(tmp_path, first)


def check_migrated(folder: Path, first: list[bytes]) -> None:
    """Check that a retry with one of the keys k1 and k2 gets its stored response, and that no step is left."""
    with app_of(folder, router(), is_kept=True) as app:
        assert [post(app, key).data for key in ("k1", "k2")] == first
        assert post(app, "k1", "Chair").status_code == 422
        assert post(app, "k3").status_code == 201
        assert (orders(app), count(app, IdempotencyKey)) == (3, 3)
        assert [key.key for key in backend_of(app).idempotency.list_keys(None, 9)] == ["k3", "k2", "k1"]
        assert app.test_cli_runner().invoke(args=["convex", "check"]).exit_code == 0
        assert backend_of(app).migrate() == []
