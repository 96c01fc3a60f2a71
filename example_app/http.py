"""HTTP endpoints: each form of Convex's guide to HTTP actions, in Flask."""

from typing import Annotated, Any

import msgspec
from flask import Request, Response, redirect, render_template, url_for
from werkzeug.wrappers import Response as BaseResponse

from flask_convex_http import (
    ActionCtx,
    HttpRouter,
    Id,
    error_response,
    json_response,
    rate_limit,
    read_json,
    require_api_key,
    require_bearer,
)

from . import files, items, process, reports
from .schema import Item, Report

http = HttpRouter("http", __name__, template_folder="templates")


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/items."""

    name: str
    description: str | None = None


class Paging(msgspec.Struct):
    """The query string of GET /api/items."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10


class Contact(msgspec.Struct):
    """The form of POST /api/form."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    email: Annotated[str, msgspec.Meta(min_length=1)]


class Work(msgspec.Struct):
    """The body of POST /api/process."""

    data: Any


class NewReport(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/reports."""

    words: str


@http.get("/")
def index(ctx: ActionCtx, request: Request) -> str:
    """Show a page that links the endpoints."""
    return render_template("index.html")


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
    """Report that the app responds."""
    return {"status": "ok"}


@http.post("/api/data", cors="*")
def receive_data(ctx: ActionCtx, request: Request, body: Any) -> dict[str, Any]:
    """Receive JSON from any origin, with a query parameter."""
    return {"received": body, "filter": request.args.get("filter")}


@http.post("/api/form", openapi_body={"application/x-www-form-urlencoded": Contact, "multipart/form-data": Contact})
def receive_form(ctx: ActionCtx, request: Request) -> dict[str, str] | Response:
    """Receive a form, urlencoded or multipart."""
    for field in ("name", "email"):
        if not request.form.get(field):
            return error_response(f"Missing required field: {field}", 400)
    return {"name": request.form["name"], "email": request.form["email"]}


@http.post("/api/upload")
def upload(ctx: ActionCtx, request: Request) -> dict[str, str]:
    """Store the raw bytes of the body as a file."""
    file_id = ctx.storage.store(request.stream, content_type=request.content_type)
    ctx.run_mutation(files.record, file=file_id)
    return {"storageId": file_id}


@http.get("/files/<file_id>")
def get_file(ctx: ActionCtx, request: Request, file_id: str) -> BaseResponse:
    """Redirect to the file's signed URL."""
    url = ctx.storage.get_url(Id(file_id))
    if url is None:
        return error_response("File not found", 404)
    return redirect(url, code=302)


@http.get(path_prefix="/api/users/")
def get_user(ctx: ActionCtx, request: Request, suffix: str) -> dict[str, str]:
    """Match every path below the prefix."""
    return {"userId": suffix}


@http.get("/api/protected")
@require_api_key
def protected(ctx: ActionCtx, request: Request) -> dict[str, Any]:
    """Require an API key: `flask --app example_app convex keys create --name me`."""
    identity = ctx.auth.get_user_identity()
    return {"message": "Access granted", "key": identity and identity.name}


@http.get("/api/user")
@require_bearer
def current_user(ctx: ActionCtx, request: Request) -> Response:
    """Require a token: `flask --app example_app convex tokens create --subject user_1`."""
    return json_response(ctx.auth.get_user_identity())


@http.post("/api/items", status=201)
def create_item(ctx: ActionCtx, body: NewItem) -> Item | None:
    """Run a mutation with a validated body, and return the stored document."""
    item_id = ctx.run_mutation(items.create, name=body.name, description=body.description)
    return ctx.run_query(items.get, id=item_id)


@http.get("/api/items")
def list_items(ctx: ActionCtx, query: Paging) -> list[Item]:
    """Return the newest items."""
    return ctx.run_query(items.list_items, limit=query.limit)


@http.post("/api/process", openapi_body={"application/json": Work})
def process_body(ctx: ActionCtx, request: Request) -> dict[str, Any] | Response:
    """Check a body by hand and run an action."""
    body = read_json(request)
    if not isinstance(body, dict) or "data" not in body:
        return error_response("Missing required field: data", 400)
    return {"success": True, "result": ctx.run_action(process.process_data, data=body["data"])}


@http.post("/api/reports")
@rate_limit(rate=60, period=60)
def start_report(ctx: ActionCtx, body: NewReport) -> Response:
    """Schedule a report and respond at once; each client may do so once a second on average."""
    report = ctx.run_mutation(reports.start, words=body.words)
    return json_response({"id": report}, 202, {"Location": url_for("http.get_report", report=report)})


@http.get("/api/reports/<report>")
def get_report(ctx: ActionCtx, report: Id[Report]) -> reports.Progress | Response:
    """Return the progress of a report."""
    return ctx.run_query(reports.progress, report=report) or error_response("No such report", 404)
