"""The endpoints of the example application, except its webhooks."""

import io
import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from example_app.schema import Item, Upload
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.application import example

pytestmark = EACH_ENGINE

PREFLIGHT = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
BROWSER = {"Origin": "https://shop.example"}
UNKNOWN_KEY = {"X-API-Key": "cvx_" + "0" * 49}
UNKNOWN_TOKEN = {"Authorization": "Bearer sesame"}
TEXT = {"data": b"{}", "content_type": "text/plain"}
BROKEN = {"data": b'{"name": ', "content_type": "application/json"}
ROUTERS = ("http.", "webhooks.")
NUMBER = "$.limit"


@dataclass(frozen=True)
class Scenario:
    """A request and the expected response."""

    request: str
    status: int
    #: Texts in the body.
    contains: tuple[str, ...] = ()
    #: Texts in neither the body nor the headers.
    excludes: tuple[str, ...] = ("Traceback",)
    #: Headers of the response.
    headers: dict[str, str] = field(default_factory=dict)
    #: The methods that a 405 names in Allow.
    methods: set[str] = field(default_factory=set)
    #: Further arguments for the client's request.
    sent: dict[str, Any] = field(default_factory=dict)


SCENARIOS = [
    Scenario("GET /health", 200, ('{"status":"ok"}',)),
    Scenario("HEAD /health", 200, excludes=("status", "Access-Control")),
    Scenario("POST /health", 405, ('{"error":',), methods={"GET", "HEAD"}),
    Scenario("GET /health/", 404, ('{"error":',), excludes=("<html", "Location")),
    Scenario("GET /nothing/here", 404, ('{"error":',), excludes=("<html",)),
    # JSON and CORS
    Scenario(
        "POST /api/data?filter=active",
        200,
        ('"received":{"a":1}', '"filter":"active"'),
        headers={"Access-Control-Allow-Origin": "*"},
        sent={"json": {"a": 1}, "headers": BROWSER},
    ),
    Scenario("POST /api/data", 200, ('"received":[1,"two",null]', '"filter":null'), sent={"json": [1, "two", None]}),
    Scenario("POST /api/data?filter=%C3%A9&filter=b", 200, ('"filter":"é"',), sent={"json": {}}),
    Scenario("POST /api/data", 400, ("Invalid JSON body",), headers={"Access-Control-Allow-Origin": "*"}, sent=BROKEN),
    Scenario("POST /api/data", 415, ("application/json",), headers={"Access-Control-Allow-Origin": "*"}, sent=TEXT),
    Scenario("GET /api/data", 405, ('{"error":',), headers={"Access-Control-Allow-Origin": "*"}),
    Scenario(
        "OPTIONS /api/data",
        204,
        headers={
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "content-type",
        },
        sent={"headers": PREFLIGHT | {"Access-Control-Request-Headers": "content-type"}},
    ),
    Scenario("OPTIONS /api/items", 405, excludes=("Access-Control-Allow",), sent={"headers": PREFLIGHT}),
    # forms
    Scenario(
        "POST /api/form",
        200,
        ('"name":"Zoë & Co"', '"email":"zoe@example.org"'),
        sent={"data": {"name": "Zoë & Co", "email": "zoe@example.org"}},
    ),
    Scenario(
        "POST /api/form",
        200,
        ('"name":"Ada"', '"email":"ada@example.org"'),
        sent={
            "data": {"name": "Ada", "email": "ada@example.org", "extra": (io.BytesIO(b"\0"), "a.bin")},
            "content_type": "multipart/form-data",
        },
    ),
    Scenario("POST /api/form", 400, ("Missing required field: name",), sent={"data": {"email": "a@b"}}),
    Scenario("POST /api/form", 400, ("Missing required field: email",), sent={"data": {"name": "Ada", "email": ""}}),
    Scenario("POST /api/form", 400, ("Missing required field: name",), sent={"json": {"name": "Ada"}}),
    # a prefix
    Scenario("GET /api/users/123", 200, ('{"userId":"123"}',)),
    Scenario("GET /api/users/a/b/", 200, ('{"userId":"a/b/"}',)),
    Scenario("GET /api/users/", 200, ('{"userId":""}',)),
    Scenario("GET /api/users/a%20b%3Fc", 200, ('{"userId":"a b?c"}',)),
    Scenario("GET /api/users/%22%0d%0aSet-Cookie:x", 200, (r"\"\r\nSet-Cookie:x",)),
    Scenario("GET /api/users", 404, ('{"error":',)),
    Scenario("POST /api/users/123", 405, methods={"GET", "HEAD"}),
    # items
    Scenario(
        "POST /api/items", 201, ('"name":"Lamp"', '"_id":"items_', '"_creationTime":'), sent={"json": {"name": "Lamp"}}
    ),
    Scenario(
        "POST /api/items",
        201,
        ('"description":"<b>bright</b> 💡"',),
        sent={"json": {"name": "Lamp", "description": "<b>bright</b> 💡"}},
    ),
    Scenario("POST /api/items", 400, ("name",), sent={"json": {}}),
    Scenario("POST /api/items", 400, ("$.name",), sent={"json": {"name": 5}}),
    Scenario("POST /api/items", 400, ("colour",), sent={"json": {"name": "Lamp", "colour": "red"}}),
    Scenario("POST /api/items", 400, ('{"error":',), sent={"json": ["Lamp"]}),
    Scenario("POST /api/items", 400, ("Invalid JSON body",), sent=BROKEN),
    Scenario("POST /api/items", 415, ("application/json",), sent=TEXT),
    Scenario("GET /api/items", 200, ("[]",)),
    Scenario("GET /api/items?limit=100", 200, ("[]",)),
    *[
        Scenario(f"GET /api/items?limit={limit}", 400, (NUMBER,))
        for limit in ("0", "101", "-1", "ten", "", "1.0", "1e2", "%D9%A3", "+1", "%201", "1%0A", "000001" + "9" * 5000)
    ],
    # an action
    Scenario(
        "POST /api/process",
        200,
        ('"success":true', '"result":{"type":"dict","data":{"n":1}}'),
        sent={"json": {"data": {"n": 1}}},
    ),
    Scenario("POST /api/process", 200, ('"result":{"type":"null","data":null}',), sent={"json": {"data": None}}),
    Scenario("POST /api/process", 415, ("application/json",), sent=TEXT),
    Scenario("POST /api/process", 400, ('{"error":"Invalid JSON body"}',), sent=BROKEN),
    Scenario("POST /api/process", 400, ('{"error":"Missing required field: data"}',), sent={"json": {"date": 1}}),
    Scenario("POST /api/process", 400, ('{"error":"Missing required field: data"}',), sent={"json": ["data"]}),
    # files
    Scenario("GET /api/upload", 405, methods={"POST"}),
    *[
        Scenario(f"GET /files/{file_id}", 404, ('{"error":"File not found"}',))
        for file_id in (
            "nothing",
            "_storage_" + "0" * 32,
            "items_" + "0" * 32,
            "_storage_",
            "%00",
            "..%5C..",
            "%F0%9F%92%A1",
            "a" * 3000,
        )
    ],
    # credentials
    Scenario("GET /api/protected", 401, ('{"error":"Missing API key"}',)),
    Scenario("GET /api/protected", 403, ('{"error":"Invalid API key"}',), sent={"headers": UNKNOWN_KEY}),
    Scenario("GET /api/protected", 403, excludes=("sesame",), sent={"headers": {"X-API-Key": "sesame"}}),
    Scenario("GET /api/user", 401, ('{"error":"Missing or invalid Authorization header"}',)),
    Scenario("GET /api/user", 401, sent={"headers": {"Authorization": "Basic YTpi"}}),
    Scenario("GET /api/user", 403, ('{"error":"Invalid token"}',), sent={"headers": UNKNOWN_TOKEN}),
]


@SLOW_ON_POSTGRES
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.request[:40]}-{scenario.status}")
def test_scenario(scenario: Scenario) -> None:
    """Each request of the table has the response of the table."""
    method, path = scenario.request.split(" ", 1)
    with example() as app, app.client.open(path, method=method, **deepcopy(scenario.sent)) as response:
        body = response.get_data(as_text=True)
        assert response.status_code == scenario.status, body
        assert [text for text in scenario.contains if text not in body] == []
        assert [text for text in scenario.excludes if text in body or text in str(response.headers)] == []
        assert {name: response.headers.get(name) for name in scenario.headers} == scenario.headers
        assert set(response.allow) >= scenario.methods
        if body:
            assert response.mimetype == "application/json"


def test_items_are_listed_newest_first_up_to_the_limit() -> None:
    """The list has the newest items, up to the limit, which is ten by default."""
    with example() as app:
        created = [app.client.post("/api/items", json={"name": f"Lamp {number}"}).json for number in range(12)]
        newest = created[::-1]
        assert app.client.get("/api/items").json == newest[:10]
        assert app.client.get("/api/items?limit=3").json == newest[:3]
        assert app.client.get("/api/items?limit=100").json == newest
        assert len(app.rows(Item)) == 12


def test_rejected_item_is_not_stored() -> None:
    """A rejected body stores no item."""
    with example() as app:
        assert app.client.post("/api/items", json={"name": "Lamp", "colour": "red"}).status_code == 400
        assert app.rows(Item) == []


@pytest.mark.parametrize("content", [b"", b"\0\xff" * 300_000, "Grüße".encode()], ids=["empty", "binary", "text"])
def test_uploaded_bytes_can_be_downloaded(content: bytes) -> None:
    """An upload returns an id, whose URL redirects to the same bytes with the same content type."""
    with example() as app:
        uploaded = app.client.post("/api/upload", data=content, content_type="image/png").json
        assert uploaded is not None
        assert list(uploaded) == ["storageId"]
        redirect = app.client.get(f"/files/{uploaded['storageId']}")
        assert redirect.status_code == 302
        assert re.match(r"http://localhost/api/storage/_storage_[0-9a-f]{32}\?", redirect.headers["Location"])
        with app.client.get(redirect.headers["Location"]) as file:
            assert (file.status_code, file.data, file.content_type) == (200, content, "image/png")
        assert [upload.file for upload in app.rows(Upload)] == [uploaded["storageId"]]


def test_uploaded_html_is_a_download() -> None:
    """An uploaded HTML page is a download with a sandbox policy."""
    with example() as app:
        uploaded = app.client.post("/api/upload", data=b"<script>alert(1)</script>", content_type="text/html").json
        assert uploaded is not None
        with app.client.get(f"/files/{uploaded['storageId']}", follow_redirects=True) as file:
            assert file.headers["Content-Disposition"].startswith("attachment")
            assert "sandbox" in file.headers["Content-Security-Policy"]


def test_upload_over_the_limit_is_413() -> None:
    """An upload of one byte more than the default limit of 20 MiB is 413 in JSON, and nothing is stored."""
    with example() as app:
        response = app.client.post("/api/upload", data=bytes(20 * 2**20 + 1))
        assert (response.status_code, response.mimetype) == (413, "application/json")
        assert app.rows(Upload) == []


def test_api_key_from_the_cli() -> None:
    """A key that the CLI created works until the CLI revokes it."""
    with example() as app:
        key = app.command("keys", "create", "--name", "ci")
        headers = {"X-API-Key": key["key"]}
        assert app.client.get("/api/protected", headers=headers).json == {"message": "Access granted", "key": "ci"}
        app.command("keys", "revoke", "ci")
        response = app.client.get("/api/protected", headers=headers)
        assert (response.status_code, response.json) == (403, {"error": "Invalid API key"})


def test_token_from_the_cli() -> None:
    """A token that the CLI created names its subject until the CLI revokes it, and is no API key."""
    with example() as app:
        token = app.command("tokens", "create", "--subject", "user_1", "--scope", "read")
        headers = {"Authorization": f"Bearer {token['token']}"}
        identity = app.client.get("/api/user", headers=headers).json
        assert identity == {"subject": "user_1", "issuer": "access_token", "scopes": ["read"]}
        assert app.client.get("/api/protected", headers={"X-API-Key": token["token"]}).status_code == 403
        app.command("tokens", "revoke", token["_id"])
        assert app.client.get("/api/user", headers=headers).status_code == 403


def test_first_page_has_no_broken_link() -> None:
    """The first page is HTML, mentions every route of the example, and has no broken link."""
    with example() as app:
        page = app.client.get("/")
        assert (page.status_code, page.mimetype) == (200, "text/html")
        own = {
            str(rule).partition("<")[0] for rule in app.app.url_map.iter_rules() if rule.endpoint.startswith(ROUTERS)
        }
        assert sorted(route for route in own if route not in page.text) == []
        links = re.findall(r'href="([^"]+)"', page.text)
        assert len(links) >= 5
        assert [link for link in links if app.client.get(link).status_code not in (200, 401)] == []


def test_first_page_shows_a_working_command() -> None:
    """The curl command of the first page has the host of the request and a body that the app accepts."""
    with example() as app:
        page = app.client.get("/", base_url="http://lamps.example:8080").text
        command = re.search(r"curl (\S+) -H 'Content-Type: application/json' -d '([^']+)'", page)
        assert command is not None
        assert command[1] == "http://lamps.example:8080/api/items"
        assert app.client.post(command[1], json=json.loads(command[2])).status_code == 201
