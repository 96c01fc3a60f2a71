"""One client and a real server: what the test client cannot show, over sockets and with curl."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from example_app.schema import Item, Payment, Upload, User, WebhookRecord
from tests.example.deliveries import checkout_completed, clerk_user, from_clerk, from_stripe
from tests.processes.servers import KINDS, Deployment, ask, serving

MIB = 2**20

either = pytest.mark.parametrize("kind", KINDS)


def migrated(folder: Path) -> Deployment:
    """A deployment whose database has its tables."""
    deployment = Deployment(folder)
    deployment.migrate()
    return deployment


def random_file(folder: Path, size: int) -> Path:
    """A file of random bytes."""
    path = folder / "upload.bin"
    path.write_bytes(os.urandom(size))
    return path


@either
def test_one_connection_serves_many_requests(kind: str, tmp_path: Path) -> None:
    """A client keeps its connection over bodies, HEAD, errors and refusals, and each answer is that of its request."""
    with serving(kind, migrated(tmp_path)) as server, closing(server.connect()) as connection:
        assert ask(connection, "GET", "/health").json == {"status": "ok"}
        socket = connection.sock
        head = ask(connection, "HEAD", "/health")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "15")
        made = ask(connection, "POST", "/api/items", {"name": "Lamp", "description": "Grüße"})
        assert (made.status, made.json["name"]) == (201, "Lamp")
        assert ask(connection, "GET", "/api/items").json == [made.json]
        assert ask(connection, "GET", "/nothing").status == 404
        assert ask(connection, "GET", "/api/protected").json == {"error": "Missing API key"}
        assert ask(connection, "GET", "/health").json == {"status": "ok"}
        assert connection.sock is socket


@either
def test_unread_body_is_not_taken_for_a_request(kind: str, tmp_path: Path) -> None:
    """A body that no handler read is never the next request of its connection."""
    smuggled = b"GET /api/users/smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 100
    with serving(kind, migrated(tmp_path)) as server:
        for path in ("/health", "/nothing", "/api/items", "/webhooks/stripe"):
            with closing(server.connect()) as connection:
                refused = ask(connection, "POST", path, smuggled, {"Content-Type": "text/plain"})
                assert refused.status in (400, 404, 405, 415)
                assert ask(connection, "GET", "/health").json == {"status": "ok"}


@either
def test_webhooks_of_the_vendors_libraries_are_applied(kind: str, tmp_path: Path) -> None:
    """What stripe and svix sign is applied; the same bytes tampered with are refused."""
    deployment = migrated(tmp_path)
    with serving(kind, deployment) as server:
        checkout = from_stripe(checkout_completed())
        user = from_clerk(clerk_user("user.created"))
        for delivery in (checkout, user):
            answer = server.deliver(delivery)
            assert (answer.status, answer.body) == (200, b"OK")
            assert server.deliver(delivery.with_body(delivery.body + b"\n")).status == 400
    assert [payment.amount_total for payment in deployment.rows(Payment)] == [2198]
    assert [user.name for user in deployment.rows(User)] == ["Ada Lovelace"]
    assert [record.source for record in deployment.rows(WebhookRecord)] == ["stripe", "clerk"]


@either
def test_preflight_is_answered_to_curl(kind: str, tmp_path: Path) -> None:
    """A preflight gets its leave without a body, and the request after it the header a browser looks for."""
    origin = ("-H", "Origin: https://shop.example")
    wanted = ("-H", "Access-Control-Request-Method: POST", "-H", "Access-Control-Request-Headers: content-type")
    with serving(kind, migrated(tmp_path)) as server:
        preflight = server.curl("/api/data", "-X", "OPTIONS", *origin, *wanted)
        assert (preflight.status, preflight.body) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert preflight.headers["access-control-allow-methods"] == "POST"
        assert preflight.headers["access-control-allow-headers"] == "content-type"
        asked = ("-H", "Content-Type: application/json", "-d", '{"n":1}')
        answer = server.curl("/api/data?filter=x", *origin, *asked)
        assert answer.json == {"received": {"n": 1}, "filter": "x"}
        assert answer.headers["access-control-allow-origin"] == "*"


@either
def test_large_file_goes_up_and_comes_back(kind: str, tmp_path: Path) -> None:
    """10 MiB go up in one request and come back behind the redirect: whole, in part, and as headers only."""
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
        again = server.curl(path, "-L", "-H", f"If-None-Match: {whole.headers['etag']}")
        assert (again.status, again.body) == (304, b"")
        in_chunks = server.curl("/api/upload", *upload, "-H", "Transfer-Encoding: chunked").json["storageId"]
        assert server.curl(f"/files/{in_chunks}", "-L").body == content.read_bytes()
    assert len(deployment.rows(Upload)) == 2


@either
@pytest.mark.parametrize("in_chunks", [False, True], ids=["announced", "chunked"])
def test_upload_over_the_limit_is_refused(kind: str, in_chunks: bool, tmp_path: Path) -> None:
    """30 MiB, announced or in chunks, are 413 in JSON; nothing of them is kept, and the server goes on."""
    deployment = migrated(tmp_path)
    content = random_file(tmp_path, 30 * MIB)
    chunked = ("-H", "Transfer-Encoding: chunked") if in_chunks else ()
    with serving(kind, deployment) as server:
        answer = server.curl("/api/upload", "--data-binary", f"@{content}", *chunked)
        assert (answer.status, list(answer.json)) == (413, ["error"])
        assert server.request("GET", "/health").status == 200
    assert deployment.rows(Upload) == []
    assert sum(file.stat().st_size for file in tmp_path.glob("files.db*")) < 30 * MIB


@either
def test_key_of_the_command_line_works_until_it_is_revoked(kind: str, tmp_path: Path) -> None:
    """A key that another process made opens the endpoint of a running server, and a revoked one does not."""
    deployment = migrated(tmp_path)
    with serving(kind, deployment) as server:
        key = deployment.answer("keys", "create", "--name", "ci")
        headers = {"X-API-Key": key["key"]}
        for _ in range(6):  # each of the workers
            assert server.request("GET", "/api/protected", headers=headers).json["key"] == "ci"
        assert deployment.command("keys", "revoke", "ci").returncode == 0
        for _ in range(6):
            refused = server.request("GET", "/api/protected", headers=headers)
            assert (refused.status, refused.json) == (403, {"error": "Invalid API key"})
        assert key["key"] not in server.output


@either
def test_server_on_a_database_without_tables_says_what_to_do(kind: str, tmp_path: Path) -> None:
    """Without tables the app starts and answers 503 with the command; after it the same process serves."""
    deployment = Deployment(tmp_path)
    with serving(kind, deployment) as server:
        for method, body in (("GET", None), ("POST", {"name": "Lamp"})):
            answer = server.request(method, "/api/items", body)
            assert answer.status == 503
            assert "flask convex migrate" in answer.json["error"]
        assert server.deliver(from_stripe(checkout_completed())).status == 503
        assert server.request("GET", "/health").status == 200
        assert deployment.command("migrate").returncode == 0
        for _ in range(6):
            assert server.request("POST", "/api/items", {"name": "Lamp"}).status == 201
    assert len(deployment.rows(Item)) == 6
