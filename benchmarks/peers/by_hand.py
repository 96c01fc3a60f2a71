"""The app by hand: Flask on `sqlite3`. It does not import flask_convex_http."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response, jsonify, request

from benchmarks.peers.sqlite_items import Items


def create_app(folder: str, durability: str) -> Flask:
    """Return the app with its endpoints, for gunicorn."""
    app = Flask(__name__)
    items = Items(Path(folder, "items.db"), durability)

    @app.get("/api/items/<item_id>")
    def get_item(item_id: str) -> tuple[Response, int]:
        item = items.get(item_id)
        return (jsonify(error="There is no such item"), 404) if item is None else (jsonify(item), 200)

    @app.get("/api/items")
    def list_items() -> Response:
        return jsonify(items.newest())

    @app.post("/api/items")
    def create_item() -> tuple[Response, int]:
        body = request.get_json()
        if not isinstance(body, dict):
            return jsonify(error="Expected an object"), 400
        if not body.keys() <= {"name", "description"}:
            return jsonify(error="Unknown field"), 400
        name, description = body.get("name"), body.get("description")
        if not isinstance(name, str):
            return jsonify(error="name must be a text"), 400
        if description is not None and not isinstance(description, str):
            return jsonify(error="description must be a text"), 400
        return jsonify(items.create(name, description)), 201

    return app
