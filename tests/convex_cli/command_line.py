"""Calls queries as Convex's command line does."""

from typing import Any

from flask import Flask

from tests.function_api.shop import admin_key, call


def ask(app: Flask, name: str, **arguments: Any) -> Any:
    """Return the result of a query, called with an admin key."""
    response = _call(app, name, arguments)
    assert response["status"] == "success", response
    return response["value"]


def refused(app: Flask, name: str, **arguments: Any) -> str:
    """Return the error of a query, without the line with the request id."""
    response = _call(app, name, arguments)
    assert response["status"] == "error", response
    return str(response["errorMessage"]).partition("\n")[2]


def page(num_items: int = 101, cursor: str | None = None) -> dict[str, Any]:
    """Return the options of a page."""
    return {"numItems": num_items, "cursor": cursor}


def _call(app: Flask, name: str, arguments: dict[str, Any]) -> Any:
    path = name if name.partition(":")[1] else f"{name}:default"
    key = f"Convex {admin_key(app)}"
    return call(app, "query", f"_system/cli/{path}", arguments, form="convex_encoded_json", Authorization=key)
