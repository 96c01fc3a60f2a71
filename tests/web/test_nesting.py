"""Deeply nested JSON is the client's mistake, wherever it arrives."""

from pathlib import Path

import msgspec
import pytest
from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import ActionCtx, HttpRouter, read_json
from tests.web.apps import deployed, send


class Tree(msgspec.Struct):
    """A body that contains itself."""

    children: list["Tree"] = []


class Item(msgspec.Struct):
    """A body of a few levels, whose names may have brackets."""

    names: list[str] = []


def router() -> HttpRouter:
    """Return a router that reads JSON in each way."""
    http = HttpRouter("http", __name__)

    @http.post("/any")
    def anything(ctx: ActionCtx, request: Request) -> dict[str, bool]:
        read_json(request)
        return {"ok": True}

    @http.post("/tree")
    def tree(ctx: ActionCtx, request: Request) -> dict[str, bool]:
        read_json(request, Tree)
        return {"ok": True}

    @http.post("/item")
    def item(ctx: ActionCtx, request: Request) -> dict[str, bool]:
        read_json(request, Item)
        return {"ok": True}

    @http.post("/flask")
    def flask(ctx: ActionCtx, request: Request) -> dict[str, bool]:
        request.get_json()
        return {"ok": True}

    return http


def lists(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def trees(levels: int) -> bytes:
    """Return objects with lists, two levels each."""
    return b'{"children":[' * levels + b"]}" * levels


def post(app: Flask, path: str, body: bytes) -> TestResponse:
    """Send a JSON body."""
    return send(app, "POST", path, body, CONTENT_TYPE="application/json", CONTENT_LENGTH=str(len(body)))


@pytest.mark.parametrize(
    ("path", "accepted", "refused"),
    [("/any", lists(64), lists(65)), ("/tree", trees(32), trees(33)), ("/flask", lists(64), lists(65))],
)
def test_json_has_up_to_64_levels(tmp_path: Path, path: str, accepted: bytes, refused: bytes) -> None:
    """JSON of 64 levels is read, and JSON of more levels is 400, also beyond the stack of the interpreter."""
    with deployed(tmp_path, router()) as app:
        assert post(app, path, accepted).status_code == 200
        for body in (refused, lists(5_000), trees(5_000), lists(960)):
            assert post(app, path, body).status_code == 400
        if path != "/flask":
            assert "at most 64 levels" in post(app, path, refused).get_data(as_text=True)


def test_brackets_in_texts_are_no_levels(tmp_path: Path) -> None:
    """Many brackets in texts and beside each other are accepted."""
    with deployed(tmp_path, router()) as app:
        assert post(app, "/any", b'["' + b"[{" * 500 + b'", [], [], {}' + b", []" * 100 + b"]").status_code == 200
        assert post(app, "/item", b'{"names": ["' + b"[{" * 500 + b'"]}').status_code == 200
