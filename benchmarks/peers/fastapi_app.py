"""The app by hand on FastAPI: models of pydantic, and functions that FastAPI runs on threads, as its tutorial does.

It runs in the environment of the peers. It does not import flask_convex_http.
"""

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException  # type: ignore[import-not-found]
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.peers.sqlite_items import Items

_items = Items(Path(os.environ["PEER_DATABASE"]), "full")


class NewItem(BaseModel):
    """The body of POST /api/items."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str | None = None


class Item(BaseModel):
    """An item in a response."""

    id: str = Field(alias="_id")
    creation_time: float = Field(alias="_creationTime")
    name: str
    description: str | None


def get_item(item_id: str) -> dict[str, Any]:
    """Return one item."""
    item = _items.get(item_id)
    if item is None:
        raise HTTPException(404, "There is no such item")
    return item


def list_items() -> list[dict[str, Any]]:
    """Return the ten newest items."""
    return _items.newest()


def create_item(body: NewItem) -> dict[str, Any]:
    """Store an item."""
    return _items.create(body.name, body.description)


app = FastAPI()
app.add_api_route("/api/items/{item_id}", get_item, response_model=Item)
app.add_api_route("/api/items", list_items, response_model=list[Item])
app.add_api_route("/api/items", create_item, methods=["POST"], status_code=201, response_model=Item)
