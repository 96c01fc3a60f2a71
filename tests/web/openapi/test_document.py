"""The OpenAPI document: what each part of a route becomes."""

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from flask import Blueprint, Flask, Request, Response

from flask_convex_http import (
    OIDC,
    ActionCtx,
    HttpRouter,
    Id,
    LiveQuery,
    MutationCtx,
    Page,
    QueryCtx,
    RegistrationError,
    Stripe,
    WebhookEvent,
    json_errors,
    query,
    rate_limit,
    require_api_key,
    require_bearer,
    require_identity,
)
from tests.web.openapi.apps import app_of, document_of, operation_of
from tests.web.typed import Desk, Lamp, NewLamp, Paging


def statuses(operation: dict[str, Any]) -> set[str]:
    """Return the statuses of an operation's responses."""
    return set(operation["responses"])


def router_of(handler: Any, path: str = "/x", method: str = "GET", **options: Any) -> HttpRouter:
    """Return a router with one route."""
    router = HttpRouter("shop", __name__)
    router.route(path, method=method, **options)(handler)
    return router


def test_head_of_a_document(tmp_path: Path) -> None:
    """Without options a document has the app's name and version 1, and no paths."""
    document = document_of(tmp_path)
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "test_app", "version": "1"}
    assert document["paths"] == {}


def test_body_and_response(tmp_path: Path) -> None:
    """A body and a returned document are components, with the status of the route and the errors of a body."""

    def create(body: NewLamp) -> Lamp:
        """Create a lamp.

        Its name is unique.

        Args:
            body: The lamp.
        """
        raise NotImplementedError

    document = document_of(tmp_path, router_of(create, method="POST", status=201))
    operation = document["paths"]["/x"]["post"]
    assert (operation["operationId"], operation["summary"]) == ("create", "Create a lamp")
    assert operation["description"] == "Its name is unique."
    assert operation["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewLamp"}}},
    }
    assert statuses(operation) == {"201", "400", "413", "415", "default"}
    assert operation["responses"]["201"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Lamp"
    }
    schemas = document["components"]["schemas"]
    assert schemas["NewLamp"]["required"] == ["name"]
    assert schemas["NewLamp"]["additionalProperties"] is False
    assert schemas["Lamp"]["required"] == ["_id", "_creationTime", "name"]
    assert schemas["Lamp"]["properties"]["_id"]["pattern"] == "^lamps_[0-9a-f]{32}$"
    bad = document["components"]["responses"]["BadRequest"]
    assert bad["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    assert schemas["Error"]["required"] == ["error"]


def test_query_string(tmp_path: Path) -> None:
    """Each field of `query` is a parameter, with its limits and its default, and none of them is null."""
    operation = operation_of(tmp_path, router_of(lambda_with_query))
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}
    assert parameters["cursor"] == {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}}
    assert parameters["tags"]["schema"] == {"type": "array", "items": {"type": "string"}, "default": []}
    assert parameters["since"]["schema"] == {"type": "string", "format": "date-time"}
    assert statuses(operation) == {"200", "400", "default"}


def lambda_with_query(query: Paging) -> list[Lamp]:
    """Have a query string."""
    raise NotImplementedError


def test_path_variables(tmp_path: Path) -> None:
    """A variable has the schema of its annotation, or else of its converter, and one that may not match is 404."""

    def show(lamp: Id[Lamp], day: datetime.date, number: int, kind: str) -> dict[str, int]:
        raise NotImplementedError

    operation = operation_of(tmp_path, router_of(show, "/x/<lamp>/<day>/<int(max=9):number>/<any(a, b):kind>"))
    found = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert found["lamp"] == {"type": "string", "pattern": "^lamps_[0-9a-f]{32}$"}
    assert found["day"] == {"type": "string", "format": "date"}
    assert found["number"] == {"type": "integer"}
    assert statuses(operation) == {"200", "404", "default"}


def test_converters_without_annotations(tmp_path: Path) -> None:
    """A variable without an annotation has the schema of its converter."""

    def show(ctx, request, number, kind, name):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    path = "/x/<int(max=9):number>/<any(a, b):kind>/<string(minlength=2):name>"
    operation = operation_of(tmp_path, router_of(show, path))
    found = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert found["number"] == {"type": "integer", "minimum": 0, "maximum": 9}
    assert found["kind"] == {"type": "string", "enum": ["a", "b"]}
    assert found["name"] == {"type": "string", "minLength": 2}


def test_full_paths(tmp_path: Path) -> None:
    """A path has the prefixes of its router and of the blueprint around it, and its variables, slash and prefix."""
    inner = HttpRouter("inner", __name__, url_prefix="/<tenant>/v1")

    @inner.get("/lamps/")
    def lamps(tenant: str) -> None: ...

    @inner.get(path_prefix="/files/")
    def rest(tenant: str, suffix: str) -> None: ...

    outer = Blueprint("outer", __name__, url_prefix="/api")
    outer.register_blueprint(inner)
    app = app_of(tmp_path)
    app.register_blueprint(outer)
    app.register_blueprint(inner, name="again", url_prefix="/b/<tenant>")
    document = app.test_client().get("/openapi.json").json
    assert document is not None
    assert list(document["paths"]) == [
        *("/api/{tenant}/v1/lamps/", "/api/{tenant}/v1/files/{suffix}"),
        *("/b/{tenant}/lamps/", "/b/{tenant}/files/{suffix}"),
    ]
    ids = [item["get"]["operationId"] for item in document["paths"].values()]
    assert ids == ["lamps", "rest", "again_lamps", "again_rest"]
    assert [tag["name"] for tag in document["tags"]] == ["outer.inner", "again"]


def test_literal_characters_of_a_path(tmp_path: Path) -> None:
    """Braces and other characters that a URL or a template reserves are percent-encoded."""
    path = "/{x}/<name>/100% {a}?#"
    document = document_of(tmp_path, router_of(lambda name: {}, path))
    assert list(document["paths"]) == ["/%7Bx%7D/{name}/100%25%20%7Ba%7D%3F%23"]


def test_two_names_of_one_variable(tmp_path: Path) -> None:
    """Routes whose paths differ in the names of their variables share a path, since OpenAPI allows one of them."""
    router = HttpRouter("shop", __name__)

    @router.get("/lamps/<lamp>")
    def show(lamp: Id[Lamp]) -> None: ...

    @router.delete("/lamps/<lamp_id>")
    def remove(lamp_id: Id[Lamp]) -> None: ...

    @router.get(path_prefix="/lamps/")
    def rest(suffix: str) -> None: ...

    document = document_of(tmp_path, router)
    (path,) = document["paths"]
    assert path == "/lamps/{lamp}"
    assert {method: found["operationId"] for method, found in document["paths"][path].items()} == {
        "get": "show",
        "delete": "remove",
    }
    assert document["paths"][path]["delete"]["parameters"][0]["name"] == "lamp"


def test_guards(tmp_path: Path) -> None:
    """A guard is a security requirement with its scopes, and adds 401 and 403."""
    router = HttpRouter("shop", __name__)

    @router.get("/key")
    @require_api_key(scopes=["read"])
    def key() -> None: ...

    @router.get("/token")
    @require_bearer
    def token() -> None: ...

    @router.get("/any")
    @require_identity
    def anyone() -> None: ...

    issuer = OIDC("https://acme.example", audience="shop")
    document = document_of(tmp_path, router, auth_providers=[issuer])
    security = {path: item["get"]["security"] for path, item in document["paths"].items()}
    assert security["/key"] == [{"apiKey": ["read"]}, {"bearer": ["read"]}]
    assert security["/token"] == [{"bearer": []}, {"oidc": []}]
    assert security["/any"] == [{"apiKey": []}, {"bearer": []}, {"oidc": []}]
    assert {"401", "403"} < statuses(document["paths"]["/key"]["get"])
    schemes = document["components"]["securitySchemes"]
    assert schemes["apiKey"]["name"] == "X-API-Key"
    assert schemes["oidc"]["openIdConnectUrl"] == "https://acme.example/.well-known/openid-configuration"


def test_limits_and_idempotency(tmp_path: Path) -> None:
    """A rate limit adds 429 and its headers, and an idempotent route its header and 409 and 422."""

    @rate_limit(rate=1, period=1)
    def create(ctx: MutationCtx, body: NewLamp) -> None: ...

    operation = operation_of(tmp_path, router_of(create, method="POST", idempotent=True))
    (header,) = operation["parameters"]
    assert (header["name"], header["in"], header["required"]) == ("Idempotency-Key", "header", True)
    assert statuses(operation) == {"204", "400", "409", "413", "415", "422", "429", "503", "default"}
    assert set(operation["responses"]["204"]["headers"]) == {"RateLimit-Policy", "RateLimit", "Idempotency-Replayed"}


def test_untyped_handlers(tmp_path: Path) -> None:
    """A handler that takes the request may read any body, and one that returns a Response may respond anything."""

    def create(ctx: ActionCtx, request: Request) -> dict[str, Any] | Response:
        raise NotImplementedError

    operation = operation_of(tmp_path, router_of(create, method="POST"))
    assert operation["requestBody"] == {"required": False, "content": {"*/*": {}}}
    assert operation["responses"]["default"] == {"description": "Another response of the handler."}
    assert operation["responses"]["200"]["content"] == {"application/json": {"schema": {"type": "object"}}}


class Kinds(msgspec.Struct):
    """Types that the package's own rules concern."""

    desk: Id[Desk] | None
    lamps: list[Id[Lamp]]
    other: Any
    size: Annotated[int, msgspec.Meta(description="In meters.")] = 1
    kind: Literal["a", "b"] = "a"


def test_described_body(tmp_path: Path) -> None:
    """The document has the types of `openapi_body=`, with the tables of ids, and bytes have no schema."""

    def receive(request: Request) -> dict[str, str]:
        raise NotImplementedError

    types = {"application/json": list[Id[Lamp]], "text/csv": bytes}
    operation = operation_of(tmp_path, router_of(receive, method="POST", openapi_body=types))
    ids = {"type": "array", "items": {"type": "string", "pattern": "^lamps_[0-9a-f]{32}$"}}
    content = {"application/json": {"schema": ids}, "text/csv": {}}
    assert operation["requestBody"] == {"required": True, "content": content}
    assert statuses(operation) == {"200", "400", "413", "415", "default"}


def test_described_body_is_not_checked(tmp_path: Path) -> None:
    """A request that does not match `openapi_body=` reaches the handler as it is."""

    def receive(request: Request) -> str:
        return request.get_data(as_text=True)

    router = router_of(receive, method="POST", openapi_body={"application/json": NewLamp})
    client = app_of(tmp_path, router).test_client()
    assert client.post("/x", data=b"[", content_type="text/plain").text == "["


def test_body_is_described_once() -> None:
    """A handler that takes `body` cannot have `openapi_body=` too."""
    with pytest.raises(RegistrationError, match="drop openapi_body="):
        router_of(lambda body: "", method="POST", openapi_body={"application/json": NewLamp})


def test_components(tmp_path: Path) -> None:
    """Ids have patterns, and a default is required in a response but not in a request; generics are named."""
    router = HttpRouter("shop", __name__)

    @router.post("/in")
    def receive(body: Kinds) -> str: ...  # type: ignore[empty-body]

    @router.get("/out")
    def send() -> Page[Lamp]: ...  # type: ignore[empty-body]

    schemas = document_of(tmp_path, router)["components"]["schemas"]
    assert list(schemas) == sorted(schemas)
    kinds = schemas["Kinds"]
    assert kinds["required"] == ["desk", "lamps", "other"]
    assert kinds["properties"]["desk"]["anyOf"][0]["pattern"] == "^desks_[0-9a-f]{32}$"
    assert kinds["properties"]["lamps"]["items"]["pattern"] == "^lamps_[0-9a-f]{32}$"
    assert kinds["properties"]["size"]["description"] == "In meters."
    assert schemas["Page_Lamp_"]["description"] == "One page of a paginated query."
    other = HttpRouter("shop", __name__)
    other.get("/out")(lambda_with_kinds)
    assert "kind" in document_of(tmp_path, other)["components"]["schemas"]["Kinds"]["required"]


def lambda_with_kinds() -> Kinds:
    """Return a record."""
    raise NotImplementedError


def test_types_that_json_schema_cannot_say(tmp_path: Path) -> None:
    """A class of the application's own JSON encoder, or a type that msgspec refuses, is any value."""

    def send() -> list[Flask] | dict[str, str | bytes]:
        raise NotImplementedError

    operation = operation_of(tmp_path, router_of(send))
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {
        "anyOf": [{"type": "array", "items": {"title": "Flask"}}, {}]
    }


@pytest.mark.parametrize(("is_json", "content"), [(True, "application/json"), (False, "text/html")])
def test_not_found(tmp_path: Path, is_json: bool, content: str) -> None:
    """The 404 of a variable is JSON if the app has `json_errors`, and else HTML."""

    def show(day: datetime.date) -> None: ...

    app = app_of(tmp_path, router_of(show, "/<day>"))
    if is_json:
        json_errors(app)
    document = app.test_client().get("/openapi.json").json
    assert document is not None
    assert list(document["components"]["responses"]["NotFound"]["content"]) == [content]
    assert app.test_client().get("/none").content_type.startswith(content)


def test_webhooks(tmp_path: Path) -> None:
    """A webhook is in `webhooks` and not in `paths`, with its description and the responses of a rejection."""
    router = HttpRouter("hooks", __name__, url_prefix="/hooks")

    stripe = router.webhook("/stripe", Stripe(secret="whsec_test"), mode="enqueue")

    @stripe.on("invoice.paid")
    def paid(ctx: MutationCtx, event: WebhookEvent, invoice: Kinds) -> None:
        raise NotImplementedError

    @stripe.otherwise
    def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
        """Record payments."""

    document = document_of(tmp_path, router)
    assert document["paths"] == {}
    operation = document["webhooks"]["on_stripe"]["post"]
    assert operation["summary"] == "Record payments"
    assert "/hooks/stripe" in operation["description"]
    assert {"200", "202", "400", "413", "415", "503"} < statuses(operation)
    (media,) = document["webhooks"]["invoice.paid"]["post"]["requestBody"]["content"].values()
    data = media["schema"]["properties"]["data"]
    assert data["properties"]["object"] == {"$ref": "#/components/schemas/Kinds"}


def test_methods(tmp_path: Path) -> None:
    """A route of two methods has two operations with ids of their own, and HEAD and OPTIONS are left out."""
    router = HttpRouter("shop", __name__, cors="*")

    @router.route("/x", methods=["GET", "DELETE"])
    def both() -> None: ...

    document = document_of(tmp_path, router)
    assert {method: found["operationId"] for method, found in document["paths"]["/x"].items()} == {
        "get": "both_get",
        "delete": "both_delete",
    }


def test_streams_of_events(tmp_path: Path) -> None:
    """A route of `http.live` or `http.changes` has a stream of events as its response."""

    @query
    def newest(ctx: QueryCtx) -> list[Lamp]:
        """Return nothing."""
        return []

    def handler(ctx: ActionCtx, request: Request) -> LiveQuery[list[Lamp]]:
        """Stream lamps."""
        return LiveQuery(newest)

    router = HttpRouter("shop", __name__)
    router.live("/lamps", newest)
    router.live("/more")(handler)
    router.changes("/changes")
    paths = document_of(tmp_path, router, functions=[newest])["paths"]
    for path in ("/lamps", "/more", "/changes"):
        assert paths[path]["get"]["responses"]["200"]["content"] == {
            "text/event-stream": {"schema": {"type": "string"}}
        }
