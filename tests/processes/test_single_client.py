"""One client and a real server, over sockets and with curl, for behaviour that Flask's test client does not show."""

import contextlib
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from example_app.schema import Item, Payment, Upload, User, WebhookRecord
from tests.example.deliveries import checkout_completed, clerk_user, from_clerk, from_stripe
from tests.lengths import LONG
from tests.processes.servers import Deployment, each_kind, send_request, serving

MIB = 2**20


def migrated(folder: Path) -> Deployment:
    """Return a deployment with tables."""
    deployment = Deployment(folder)
    deployment.migrate()
    return deployment


def random_file(folder: Path, size: int) -> Path:
    """Create a file of random bytes."""
    path = folder / "upload.bin"
    path.write_bytes(os.urandom(size))
    return path


@LONG
@each_kind
def test_one_connection_serves_many_requests(kind: str, tmp_path: Path) -> None:
    """A connection stays open over bodies, HEAD and errors, and each response belongs to its request."""
    with serving(kind, migrated(tmp_path)) as server, closing(server.connect()) as connection:
        assert send_request(connection, "GET", "/health").json == {"status": "ok"}
        socket = connection.sock
        head = send_request(connection, "HEAD", "/health")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "15")
        created = send_request(connection, "POST", "/api/items", {"name": "Lamp", "description": "Grüße"})
        assert (created.status, created.json["name"]) == (201, "Lamp")
        assert send_request(connection, "GET", "/api/items").json == [created.json]
        assert send_request(connection, "GET", "/nothing").status == 404
        assert send_request(connection, "GET", "/api/protected").json == {"error": "Missing API key"}
        assert send_request(connection, "GET", "/health").json == {"status": "ok"}
        assert connection.sock is socket


@each_kind
def test_unread_body_is_not_parsed_as_a_request(kind: str, tmp_path: Path) -> None:
    """A body that no handler reads is never parsed as the next request of its connection.

    granian closes the connection if the body, which is a packet of its own, arrives after the response.
    """
    closing_allowed = contextlib.suppress(*[ConnectionError] if kind == "granian" else [])
    smuggled = b"GET /api/users/smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 100
    with serving(kind, migrated(tmp_path)) as server:
        for path in ("/health", "/nothing", "/api/items", "/webhooks/stripe"):
            with closing(server.connect()) as connection, closing_allowed:
                response = send_request(connection, "POST", path, smuggled, {"Content-Type": "text/plain"})
                assert response.status in (400, 404, 405, 415)
                assert send_request(connection, "GET", "/health").json == {"status": "ok"}


@each_kind
def test_webhooks_of_the_vendors_libraries_are_applied(kind: str, tmp_path: Path) -> None:
    """Deliveries that stripe and svix sign are applied, and changed ones are rejected.

    The log has a line with time and level for each, although the app configures no logging.
    """
    deployment = migrated(tmp_path)
    with serving(kind, deployment) as server:
        checkout = from_stripe(checkout_completed())
        user = from_clerk(clerk_user("user.created"))
        for delivery in (checkout, user):
            response = server.deliver(delivery)
            assert (response.status, response.body) == (200, b"OK")
            assert server.deliver(delivery.with_body(delivery.body + b"\n")).status == 400
        lines = re.findall(r"^\[?\d{4}-\d\d-\d\d .* \[?INFO\b.*?(Webhook .*)", server.output, flags=re.MULTILINE)
    assert [(" was accepted with 200 [" in line, " was rejected: no-match: " in line) for line in lines] == [
        (True, False),
        (False, True),
    ] * 2
    assert [payment.amount_total for payment in deployment.rows(Payment)] == [2198]
    assert [user.name for user in deployment.rows(User)] == ["Ada Lovelace"]
    assert [record.source for record in deployment.rows(WebhookRecord)] == ["stripe", "clerk"]


@LONG
@each_kind
def test_preflight_with_curl(kind: str, tmp_path: Path) -> None:
    """A preflight is 204 without a body, and the request after it has Access-Control-Allow-Origin."""
    origin = ("-H", "Origin: https://shop.example")
    request = ("-H", "Access-Control-Request-Method: POST", "-H", "Access-Control-Request-Headers: content-type")
    with serving(kind, migrated(tmp_path)) as server:
        preflight = server.curl("/api/data", "-X", "OPTIONS", *origin, *request)
        assert (preflight.status, preflight.body) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert preflight.headers["access-control-allow-methods"] == "POST"
        assert preflight.headers["access-control-allow-headers"] == "content-type"
        options = ("-H", "Content-Type: application/json", "-d", '{"n":1}')
        response = server.curl("/api/data?filter=x", *origin, *options)
        assert response.json == {"received": {"n": 1}, "filter": "x"}
        assert response.headers["access-control-allow-origin"] == "*"


@LONG
@each_kind
def test_large_file_is_uploaded_and_downloaded(kind: str, tmp_path: Path) -> None:
    """A file of 10 MiB is uploaded in one request and downloaded whole, in part, and as headers only."""
    deployment = migrated(tmp_path)
    content = random_file(tmp_path, 10 * MIB)
    upload = ("--data-binary", f"@{content}", "-H", "Content-Type: application/octet-stream")
    with serving(kind, deployment) as server:
        path = f"/files/{server.curl('/api/upload', *upload).json['storageId']}"
        whole = server.curl(path, "-L")
        assert (whole.status, whole.body == content.read_bytes()) == (200, True)
        part = server.curl(path, "-L", "-r", "100-199")
        assert (part.status, part.body) == (206, content.read_bytes()[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{10 * MIB}"
        head = server.curl(path, "-L", "-I")
        assert (head.status, head.headers["content-length"]) == (200, str(10 * MIB))
        unchanged = server.curl(path, "-L", "-H", f"If-None-Match: {whole.headers['etag']}")
        assert (unchanged.status, unchanged.body) == (304, b"")
        in_chunks = server.curl("/api/upload", *upload, "-H", "Transfer-Encoding: chunked").json["storageId"]
        assert server.curl(f"/files/{in_chunks}", "-L").body == content.read_bytes()
    assert len(deployment.rows(Upload)) == 2


@LONG
@each_kind
@pytest.mark.parametrize("in_chunks", [False, True], ids=["announced", "chunked"])
def test_upload_over_the_limit_is_413(kind: str, in_chunks: bool, tmp_path: Path) -> None:
    """An upload of 30 MiB, announced or in chunks, is 413 in JSON; nothing is stored, and the server goes on."""
    deployment = migrated(tmp_path)
    content = random_file(tmp_path, 30 * MIB)
    chunked = ("-H", "Transfer-Encoding: chunked") if in_chunks else ()
    with serving(kind, deployment) as server:
        response = server.curl("/api/upload", "--data-binary", f"@{content}", *chunked)
        assert (response.status, list(response.json)) == (413, ["error"])
        assert server.request("GET", "/health").status == 200
    assert deployment.rows(Upload) == []
    assert sum(file.stat().st_size for file in tmp_path.glob("files.db*")) < 30 * MIB


@LONG
@each_kind
def test_key_from_the_cli_works_until_it_is_revoked(kind: str, tmp_path: Path) -> None:
    """A running server accepts a key that the CLI creates, and rejects it after the CLI revokes it."""
    deployment = migrated(tmp_path)
    with serving(kind, deployment) as server:
        key = deployment.command_json("keys", "create", "--name", "ci")
        headers = {"X-API-Key": key["key"]}
        for _ in range(6):  # so that each worker responds
            assert server.request("GET", "/api/protected", headers=headers).json["key"] == "ci"
        assert deployment.command("keys", "revoke", "ci").returncode == 0
        for _ in range(6):
            response = server.request("GET", "/api/protected", headers=headers)
            assert (response.status, response.json) == (403, {"error": "Invalid API key"})
        assert key["key"] not in server.output


@LONG
@each_kind
def test_server_without_tables_names_the_command(kind: str, tmp_path: Path) -> None:
    """A server without tables responds 503 with the command, and works after the migration without a restart."""
    deployment = Deployment(tmp_path)
    with serving(kind, deployment) as server:
        for method, body in (("GET", None), ("POST", {"name": "Lamp"})):
            response = server.request(method, "/api/items", body)
            assert response.status == 503
            assert "flask convex migrate" in response.json["error"]
        assert server.deliver(from_stripe(checkout_completed())).status == 503
        assert server.request("GET", "/health").status == 200
        assert deployment.command("migrate").returncode == 0
        for _ in range(6):
            assert server.request("POST", "/api/items", {"name": "Lamp"}).status == 201
    assert len(deployment.rows(Item)) == 6
