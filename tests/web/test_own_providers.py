"""Providers of an application: signed URLs, handshakes and batches, over HTTP."""

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_convex_http import (
    Content,
    Delivery,
    Document,
    Handshake,
    HttpRouter,
    MutationCtx,
    Profile,
    Provider,
    QueryCtx,
    Schema,
    SharedSecret,
    VerificationUnavailableError,
    WebhookEvent,
    internal_query,
)
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.headers import url_of
from tests.web.apps import backend_of, deployed

SECRET = "a secret of the tests"


class Order(Document, table="orders"):
    """An order that a webhook inserts."""

    event: str


@internal_query
def orders(ctx: QueryCtx) -> list[str]:
    """Return the event ids of all orders."""
    return [order.event for order in ctx.db.query(Order).order("asc").collect()]


class Lamps(Provider):
    """A sender that signs the method, the URL and the body, and sends one event or an array of them."""

    name = "lamps"
    required_headers = (("X-Lamps-Signature",),)
    handshake_methods = ("GET",)
    profile = Profile(
        signed=("body", "url", "method"),
        id_from="body.id",
        id_is_signed=True,
        timeout=timedelta(seconds=5),
        redelivery=timedelta(days=1),
        rejected_status=401,
    )

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the signature."""
        message = f"{delivery.method} {delivery.url} ".encode() + delivery.body
        return hmac.compare_digest(delivery.header("X-Lamps-Signature"), hmac.digest(key, message, "sha256").hex())

    def read(self, delivery: Delivery) -> Content:
        """Read a single event."""
        return self.read_element(json.loads(delivery.body), delivery)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an element of an array."""
        return Content(id=element["id"], type="lamp", data=element, payload=element)

    def handshake(self, event: WebhookEvent) -> dict[str, int] | None:
        """Return a signed pong."""
        if event.id != "ping":
            return None
        label, key = self.current_keys().usable[0]
        return {"type": 1, "key": len(key), "same": int(label == event.secret_label)}

    def unsigned_handshake(self, delivery: Delivery) -> str | Handshake | None:
        """Return the challenge, or the secret of Asana's kind of handshake."""
        if delivery.method == "GET" and hmac.compare_digest(delivery.query["token"].encode(), b"t"):
            return delivery.query["challenge"]
        given = delivery.headers.get("x-hook-secret")
        return None if given is None else Handshake(status=204, headers={"X-Hook-Secret": given})


def sign(body: bytes, url: str = "http://localhost/lamps") -> dict[str, str]:
    """Return the headers of a delivery."""
    message = f"POST {url} ".encode() + body
    return {"X-Lamps-Signature": hmac.digest(SECRET.encode(), message, "sha256").hex()}


@contextmanager
def receiving(folder: Path, failing: set[str] | None = None) -> Iterator[Flask]:
    """Yield an app with the webhook. Events whose id is in `failing` fail."""
    http = HttpRouter("http", __name__)

    @http.webhook("/lamps", Lamps(secret=SECRET))
    def on_lamp(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Order(event=event.id))
        if event.id in (failing or ()):
            raise VerificationUnavailableError("a failure of the test")

    with deployed(folder, http, schema=Schema(Order), functions=[orders]) as app:
        yield app


def stored(app: Flask) -> list[str]:
    """Return the ids of the events that have run."""
    return backend_of(app).ctx().run_query(orders)


def test_signed_url_is_verified_and_replayed(tmp_path: Path) -> None:
    """A signed URL is the one the sender wrote, with its query; it is stored, so that a replay verifies it again."""
    body = b'{"id": "a"}'
    with receiving(tmp_path) as app:
        client = app.test_client()
        url = "/lamps?b=%41&a=1"
        headers = sign(body, f"http://localhost{url}")
        assert client.post(url, data=body, headers=headers).status_code == 200
        assert client.post("/lamps?b=A&a=1", data=body, headers=headers).status_code == 401
        backend = backend_of(app)
        with backend.engine.snapshot() as snapshot:
            [delivery] = backend.inbox.deliveries.of_state(snapshot, "done").collect()
        with app.app_context():
            assert Replays(backend.inbox).replay(delivery.id).outcome == "done"
        assert stored(app) == ["a", "a"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"id": 7}', "Webhook id must be a text, not int"),
        (b'{"id": ["a"]}', "Webhook id must be a text, not list"),
        (b'{"id": ""}', "Webhook id is empty"),
    ],
)
def test_id_that_is_no_text_rejects_the_delivery(tmp_path: Path, body: bytes, message: str) -> None:
    """A provider that reads an id that is no text, or is empty, rejects the delivery and says so."""
    with receiving(tmp_path) as app:
        response = app.test_client().post("/lamps", data=body, headers=sign(body))
        assert (response.status_code, response.get_json()) == (400, {"error": message})
        assert stored(app) == []


@pytest.mark.parametrize("place", ["query", "header", "basic"])
def test_static_secret_is_not_stored(tmp_path: Path, place: str) -> None:
    """A secret in a header or the URL reaches neither the handler nor the database, and a replay works."""
    seen: list[str] = []
    provider = SharedSecret(secret=SECRET, id_field="id", **{place: "token"})  # type: ignore[arg-type]
    http = HttpRouter("http", __name__)
    http.webhook("/doors", provider)(lambda ctx, event: seen.extend([*event.headers, *event.headers.values()]))
    sent = provider.sign_request(
        SignedRequest(body=b'{"id": "a"}', url="http://localhost/doors"),
        secret=SECRET,
        event_id="a",
        event_type="",
        now=0,
    )
    with deployed(tmp_path, http) as app:
        assert app.test_client().post(sent.url, data=sent.body, headers=sent.headers).status_code == 200
        backend = backend_of(app)
        with backend.engine.snapshot() as snapshot:
            [delivery] = backend.inbox.deliveries.of_state(snapshot, "done").collect()
            request = backend.inbox.deliveries.request(snapshot, delivery.id)
        assert request is not None
        assert SECRET not in str(request.headers)
        with app.app_context():
            assert Replays(backend.inbox).replay(delivery.id).outcome == "done"
    assert seen
    assert not any(SECRET in value or value == "authorization" for value in seen)


def test_url_behind_a_proxy_is_the_clients(tmp_path: Path) -> None:
    """With ProxyFix the signed URL has the scheme, the host and the prefix that the sender used."""
    body = b'{"id": "a"}'
    with receiving(tmp_path) as app:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_prefix=1)  # type: ignore[method-assign]
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "X-Forwarded-Prefix": "/s"}
        headers = {**sign(body, "https://shop.example/s/lamps"), **forwarded}
        assert app.test_client().post("/lamps", data=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"PATH_INFO": "/a b", "RAW_URI": "/a%20b?x=1"}, "/a%20b"),
        ({"PATH_INFO": "/a~b", "RAW_URI": "/a%7Eb"}, "/a%7Eb"),
        ({"PATH_INFO": "/b", "SCRIPT_NAME": "/a", "REQUEST_URI": "/a/b"}, "/a/b"),
        ({"PATH_INFO": "/%7E", "SCRIPT_NAME": "/a c", "RAW_URI": "/%257E"}, "/a%20c/%257E"),
        ({"PATH_INFO": "/\xc3\xa1"}, "/%C3%A1"),
        ({"PATH_INFO": "/b", "RAW_URI": "http://other.example/c"}, "/b"),
        ({"PATH_INFO": "/b", "RAW_URI": "/other"}, "/b"),
    ],
)
def test_path_is_as_the_client_wrote_it(environ: dict[str, str], path: str) -> None:
    """The path of a URL is spelled as on the wire if the server kept it, and never another one than was matched."""
    assert url_of({"wsgi.url_scheme": "https", "HTTP_HOST": "a.example", **environ}) == f"https://a.example{path}"


def test_get_verifies_the_url(tmp_path: Path) -> None:
    """A GET handshake returns the challenge as text for the right token, and the sender's status for any other."""
    with receiving(tmp_path) as app:
        client = app.test_client()
        response = client.get("/lamps?token=t&challenge=%3Cb%3E")
        assert (response.status_code, response.text, response.mimetype) == (200, "<b>", "text/plain")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        for query in ("token=x&challenge=1", "token=t", "", "token=%ff", "&".join(["a=1"] * 2000)):
            assert client.get(f"/lamps?{query}").status_code == 401
        assert client.put("/lamps").status_code == 405


def test_post_verifies_the_url(tmp_path: Path) -> None:
    """A POST handshake is replied to, signed with JSON or unsigned with headers, and runs nothing."""
    body = b'{"id": "ping"}'
    with receiving(tmp_path) as app:
        client = app.test_client()
        signed = client.post("/lamps", data=body, headers=sign(body))
        assert signed.json == {"type": 1, "key": len(SECRET), "same": 1}
        unsigned = client.post("/lamps", headers={"X-Hook-Secret": "s"})
        assert (unsigned.status_code, unsigned.headers["X-Hook-Secret"]) == (204, "s")
        assert client.post("/lamps").status_code == 401
        assert stored(app) == []


def test_each_element_of_a_batch_runs_once(tmp_path: Path) -> None:
    """Each element is a delivery of its own: a failed one is run again with the batch, and the others are not."""
    failing, body = {"b"}, b'[{"id": "a"}, {"id": "b"}, {"id": "a"}, {"id": "c"}]'
    with receiving(tmp_path, failing) as app:
        client = app.test_client()
        assert client.post("/lamps", data=body, headers=sign(body)).status_code == 503
        assert stored(app) == ["a", "c"]
        failing.clear()
        assert client.post("/lamps", data=body, headers=sign(body)).status_code == 200
        assert client.post("/lamps", data=b"[]", headers=sign(b"[]")).status_code == 200
        assert sorted(stored(app)) == ["a", "b", "c"]
        backend = backend_of(app)
        with backend.engine.snapshot() as snapshot:
            first = backend.inbox.deliveries.of_state(snapshot, "done").collect()[0]
            request = backend.inbox.deliveries.request(snapshot, first.id)
        assert request is not None
        assert request.headers[":element"].endswith("/4")
        with app.app_context():
            assert Replays(backend.inbox).replay(first.id).outcome == "done"
        assert len(stored(app)) == 4


def test_batch_with_a_malformed_element_is_rejected(tmp_path: Path) -> None:
    """A signed batch of which one element is no event runs nothing."""
    body = b'[{"id": "a"}, 5]'
    with receiving(tmp_path) as app:
        assert app.test_client().post("/lamps", data=body, headers=sign(body)).status_code == 400
        assert stored(app) == []


def test_keys_that_cannot_be_fetched_are_503(tmp_path: Path) -> None:
    """A provider whose keys cannot be fetched lets the sender retry."""

    class Unreachable(Lamps):
        has_secrets = False

        def matches(self, delivery: Delivery, key: bytes) -> bool:
            raise VerificationUnavailableError("https://keys.example does not respond")

    http = HttpRouter("http", __name__)
    http.webhook("/lamps", Unreachable(secret=None))(lambda ctx, event: None)
    with deployed(tmp_path, http) as app:
        response = app.test_client().post("/lamps", data=b"{}", headers=sign(b"{}"))
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert "keys.example" not in response.text
