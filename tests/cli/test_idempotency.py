"""`flask convex idempotency`."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http.schema.system_tables import IdempotencyKey
from flask_convex_http.testing import Clock
from tests.idempotency.shop import app_of, count, post, router


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(tmp_path: Path, clock: Clock) -> Iterator[Flask]:
    """The app with two keys."""
    with app_of(tmp_path, router(), clock=clock) as created:
        post(created, "k1")
        clock.advance(timedelta(hours=1))
        post(created, "k2", "Chair")
        yield created


def convex(app: Flask, *arguments: str) -> str:
    """Run a command that succeeds, and return its output."""
    result = app.test_cli_runner().invoke(args=["convex", "idempotency", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list(app: Flask) -> None:
    """The newest key comes first, and no body is printed."""
    lines = convex(app, "list").splitlines()
    assert lines[0].split() == ["KEY", "CALLER", "REQUEST", "STATUS", "CREATED", "EXPIRES"]
    assert [line.split()[:5] for line in lines[1:]] == [
        [key, "anonymous", "POST", "/orders", "201"] for key in ("k2", "k1")
    ]
    [found] = json.loads(convex(app, "list", "--key", "k1", "--json"))
    assert (found["key"], found["identity"], found["status"]) == ("k1", None, 201)
    assert "body" not in found
    for unknown in ("k3", "\udcff", "k\x00"):
        assert convex(app, "list", "--key", unknown) == "There is no such key.\n"
        assert convex(app, "purge", "--key", unknown) == "Deleted 0 keys.\n"


def test_purge(app: Flask, clock: Clock) -> None:
    """`purge` deletes expired keys, one key, or all of them."""
    assert convex(app, "purge") == "Deleted 0 keys.\n"
    assert convex(app, "purge", "--key", "k2") == "Deleted 1 key.\n"
    clock.advance(timedelta(hours=23))
    assert convex(app, "purge", "--json") == '{"deleted":1}\n'
    assert convex(app, "list") == "There are no keys.\n"
    post(app, "k3")
    assert convex(app, "purge", "--all") == "Deleted 1 key.\n"
    assert count(app, IdempotencyKey) == 0


def test_purge_takes_one_option(app: Flask) -> None:
    """A key and all keys exclude each other."""
    result = app.test_cli_runner().invoke(args=["convex", "idempotency", "purge", "--all", "--key", "k1"])
    assert (result.exit_code, count(app, IdempotencyKey)) == (2, 2)
