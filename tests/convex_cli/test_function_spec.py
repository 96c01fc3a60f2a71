"""`npx convex function-spec`: the functions with their types, and the routes."""

import enum
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

from flask_convex_http import Document, FunctionApi, HttpRouter, Id, QueryCtx, Schema, internal_query, query
from tests.convex_cli.command_line import ask
from tests.function_api.shop import admin_key, shop
from tests.web.apps import deployed


class Place(Document, table="places"):
    full_name: str
    parent: Id["Place"] | None = None


class Tree(msgspec.Struct):
    label: str
    children: list["Tree"] = []


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Options(TypedDict):
    depth: NotRequired[int]


@query
def find(
    ctx: QueryCtx,
    *,
    place_id: Id[Place],
    color: Color = Color.RED,
    level: Literal[1, "top", None] = None,
    sizes: dict[str, float],
    pair: tuple[int, bytes],
    options: Options,
) -> Tree | None:
    """Return a tree."""
    return None


@internal_query
def places(ctx: QueryCtx) -> list[Place]:
    """Return places."""
    return []


def required(kind: Any) -> Any:
    return {"fieldType": kind, "optional": False}


def optional(kind: Any) -> Any:
    return {"fieldType": kind, "optional": True}


def union(*members: Any) -> Any:
    return {"type": "union", "value": list(members)}


def literal(value: Any) -> Any:
    return {"type": "literal", "value": value}


STRING, NUMBER, BIGINT, NULL = ({"type": name} for name in ("string", "number", "bigint", "null"))
ONE = {"$integer": "AQAAAAAAAAA="}


def test_functions(tmp_path: Path) -> None:
    """Each function has its name, kind and visibility, and its types as validators; a type within itself is any."""
    with deployed(tmp_path, schema=Schema(Place), functions=[find, places], function_api=True) as app:
        found = {spec["identifier"]: spec for spec in ask(app, "modules:apiSpec")}
    assert found["testFunctionSpec.js:find"] == {
        "identifier": "testFunctionSpec.js:find",
        "functionType": "Query",
        "visibility": {"kind": "public"},
        "args": {
            "type": "object",
            "value": {
                "placeId": required({"type": "id", "tableName": "places"}),
                "color": optional(union(literal("red"), literal("blue"))),
                "level": optional(union(literal(1.0), literal(ONE), literal("top"), NULL)),
                "sizes": required({"type": "record", "keys": STRING, "values": required(NUMBER)}),
                "pair": required({"type": "array", "value": union(NUMBER, BIGINT, {"type": "bytes"})}),
                "options": required({"type": "object", "value": {"depth": optional(union(NUMBER, BIGINT))}}),
            },
        },
        "returns": union(
            {
                "type": "object",
                "value": {
                    "label": required(STRING),
                    "children": required({"type": "array", "value": {"type": "any"}}),
                },
            },
            NULL,
        ),
    }
    listed = found["testFunctionSpec.js:places"]
    assert listed["visibility"] == {"kind": "internal"}
    assert listed["returns"]["value"]["value"] == {
        "_id": required({"type": "id", "tableName": "places"}),
        "_creationTime": required(NUMBER),
        "fullName": required(STRING),
        "parent": required(union({"type": "id", "tableName": "places"}, NULL)),
    }


def test_pages_and_routes(tmp_path: Path) -> None:
    """A paginated function takes `paginationOpts`. Routes have their paths, and a prefix ends in a star."""
    http = HttpRouter("http", __name__)

    @http.get("/health")
    def health() -> str:
        return "ok"

    @http.post(path_prefix="/hooks/", cors="*")
    def hooks(suffix: str) -> str:
        return suffix

    with shop(tmp_path, http) as app:
        found = ask(app, "modules:apiSpec")
    pages = [spec for spec in found if spec.get("identifier") in ("shop.js:listPages", "shop.js:listPaged")]
    assert len(pages) == 2
    for spec in pages:
        options = spec["args"]["value"]["paginationOpts"]["fieldType"]["value"]
        assert options["numItems"] == required(NUMBER) and options["cursor"] == required(union(STRING, NULL))
        assert set(spec["returns"]["value"]) == {"page", "isDone", "continueCursor"}
    assert [spec for spec in found if spec["functionType"] == "HttpAction"] == [
        {"functionType": "HttpAction", "method": "GET", "path": "/health"},
        {"functionType": "HttpAction", "method": "POST", "path": "/hooks/*"},
    ]


def test_urls(tmp_path: Path) -> None:
    """The URLs are those at which the client has reached the app, with the prefix of the function API."""
    with shop(tmp_path) as app:
        assert ask(app, "convexUrl:cloudUrl") == ask(app, "convexUrl:siteUrl") == "http://localhost"
    with shop(tmp_path / "prefix", function_api=FunctionApi(prefix="/convex")) as app:
        body = {"path": "_system/cli/convexUrl:cloudUrl", "args": {}}
        key = {"Authorization": f"Convex {admin_key(app)}"}
        response = app.test_client().post("/convex/api/query", json=body, headers=key)
        assert response.get_json()["value"] == "http://localhost/convex"
