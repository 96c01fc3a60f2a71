"""The views of `by_hand` without a database: they show what Flask and gunicorn take of each request."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from benchmarks import items
from benchmarks.peers.work import LISTED


def create_app() -> Flask:
    """Return the app with its endpoints, for gunicorn."""
    app = Flask(__name__)

    @app.get("/api/items/<item_id>")
    def get_item(item_id: str) -> Response:
        return jsonify(_item(item_id, items.NAME, items.DESCRIPTION))

    @app.get("/api/items")
    def list_items() -> Response:
        return jsonify([_item(str(number), items.NAME, items.DESCRIPTION) for number in range(LISTED)])

    @app.post("/api/items")
    def create_item() -> tuple[Response, int]:
        body = request.get_json()
        return jsonify(_item("1", body["name"], body["description"])), 201

    return app


def _item(item_id: str, name: str, description: str) -> dict[str, str]:
    return {"_id": item_id, "name": name, "description": description}
