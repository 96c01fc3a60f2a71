"""`flask convex admin-key`."""

from flask import Flask

from tests.cli.conftest import Convex
from tests.cli.shop import make_app


def is_valid(folder: object, key: str) -> bool:
    """Return whether an app on the same database accepts a key."""
    app: Flask = make_app(str(folder))
    backend = app.extensions["convex_http"]
    found: bool = backend.admin_keys.is_valid(key)
    backend.close()
    return found


def test_new_admin_key(convex: Convex, tmp_path: object) -> None:
    """A new admin key alone is on stdout, works in other processes, and is in no list."""
    created = convex("admin-key", "--name", "laptop")
    key = created.out.strip()
    assert (created.status, created.out) == (0, f"{key}\n")
    assert is_valid(tmp_path, key)
    assert convex("admin-key", "--json").json["key"] != key
    listed = convex("admin-key", "--list")
    assert key[:12] in listed.out
    assert "laptop" in listed.out
    assert key not in listed.out
    assert len(convex("admin-key", "--list", "--json").json) == 2


def test_revoked_admin_key(convex: Convex, tmp_path: object) -> None:
    """A key is revoked by its start, at once and for good; an unknown start is an error."""
    key, other = convex("admin-key").out.strip(), convex("admin-key").out.strip()
    assert convex("admin-key", "--revoke", key[:12], "--json").json[0]["hint"] == key[:12]
    assert (is_valid(tmp_path, key), is_valid(tmp_path, other)) == (False, True)
    again = convex("admin-key", "--revoke", key[:12])
    assert (again.status, "No admin key begins with" in again.err) == (1, True)
    assert convex("admin-key", "--revoke-all").status == 0
    assert not is_valid(tmp_path, other)
    assert convex("admin-key", "--list").err.startswith("There are no admin keys")


def test_only_one_operation(convex: Convex) -> None:
    """Two operations at once are wrong usage."""
    assert convex("admin-key", "--list", "--revoke-all").status == 2
