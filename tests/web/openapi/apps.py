"""Build an app with a document, and read that."""

from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http import ConvexHTTP, HttpRouter, Schema
from tests.web.typed import Desk, Lamp


def app_of(folder: Path, *routers: HttpRouter, openapi: Any = True, **options: Any) -> Flask:
    """Return an app with these routers and a document."""
    app = Flask("test_app", instance_path=str(folder))
    app.config.update(CONVEX_WORKER="off", TESTING=True)
    ConvexHTTP(app, schema=Schema(Lamp, Desk), openapi=openapi, **options)
    for router in routers:
        app.register_blueprint(router)
    return app


def document_of(folder: Path, *routers: HttpRouter, **options: Any) -> dict[str, Any]:
    """Return the document of an app with these routers."""
    response = app_of(folder, *routers, **options).test_client().get("/openapi.json")
    assert response.status_code == 200
    document: dict[str, Any] | None = response.json
    assert document is not None
    return document


def operation_of(folder: Path, router: HttpRouter, **options: Any) -> dict[str, Any]:
    """Return the only operation of a router."""
    document = document_of(folder, router, **options)
    (item,) = document["paths"].values()
    (operation,) = item.values()
    found: dict[str, Any] = operation
    return found
