"""Bodies of idempotent requests: forms, streams, and code that reads them before the handler."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask, Request
from flask import request as current
from werkzeug.test import EnvironBuilder, TestResponse

from flask_convex_http import HttpRouter, MutationCtx
from flask_convex_http.web.requests.whole_bodies import read_whole_body, rewind
from tests.idempotency.shop import Order, app_of, orders, router


class OrderForm(msgspec.Struct):
    """The form of an order."""

    item: str = "Nothing"


def typed(ctx: MutationCtx, form: OrderForm) -> dict[str, str]:
    """Store an order of a typed form."""
    return {"id": ctx.db.insert(Order(item=form.item)), "item": form.item}


def untyped(ctx: MutationCtx, request: Request) -> dict[str, str]:
    """Store an order of `request.form` and a file."""
    file = request.files.get("photo")
    item = request.form["item"] + (file.read().decode() if file else "")
    return {"id": ctx.db.insert(Order(item=item)), "item": item}


def streamed(ctx: MutationCtx, request: Request) -> dict[str, str]:
    """Store an order of the bytes of `request.stream`."""
    item = request.stream.read().decode()
    return {"id": ctx.db.insert(Order(item=item)), "item": item}


def look() -> None:
    """Read a form before its handler, as a check of CSRF tokens does."""
    assert current.form["item"]
    for file in current.files.values():
        file.read(1)


def drain() -> None:
    """Read a body from the connection before its handler."""
    current.stream.read()


def send(app: Flask, **form: Any) -> TestResponse:
    """Send a form."""
    return app.test_client().post("/orders", data=form, headers={"Idempotency-Key": "k1"})


@pytest.mark.parametrize("is_parsed_before", [False, True])
@pytest.mark.parametrize("handler", [typed, untyped])
def test_key_of_another_form_is_422(tmp_path: Path, handler: Any, is_parsed_before: bool) -> None:
    """A key that was used with another form is 422, also if `before_request` has parsed the form."""
    with app_of(tmp_path, router(handler)) as app:
        if is_parsed_before:
            app.before_request(look)
        first, retry, other = (send(app, item=item) for item in ("Lamp", "Lamp", "Chair"))
        assert (first.get_json()["item"], retry.data, other.status_code) == ("Lamp", first.data, 422)
        assert orders(app) == 1


def test_key_of_another_file_is_422(tmp_path: Path) -> None:
    """A form that `before_request` has parsed is compared with the content of its files."""
    with app_of(tmp_path, router(untyped)) as app:
        app.before_request(look)
        first, retry, other = (
            send(app, item="Lamp", photo=(io.BytesIO(photo), "a.png")) for photo in (b"!", b"!", b"?")
        )
        assert (first.get_json()["item"], retry.data, other.status_code) == ("Lamp!", first.data, 422)


def test_stream_of_the_request(tmp_path: Path) -> None:
    """The handler can read the body from `request.stream`."""
    with app_of(tmp_path, router(streamed)) as app:
        response = app.test_client().post("/orders", data=b"Lamp", headers={"Idempotency-Key": "k1"})
        assert response.get_json()["item"] == "Lamp"


def test_body_that_is_gone(tmp_path: Path) -> None:
    """A body that the application has read from the stream cannot be compared, which is an error that says so."""
    with app_of(tmp_path, router(streamed)) as app:
        app.testing = True
        app.before_request(drain)
        with pytest.raises(Exception, match=r"write request\.get_data\(\)"):
            app.test_client().post("/orders", data=b"Lamp", headers={"Idempotency-Key": "k1"})


@pytest.mark.parametrize("is_parsed_before", [False, True])
def test_each_attempt_reads_the_whole_body(is_parsed_before: bool) -> None:
    """A second attempt of the handler finds the same form, the same files and the same stream."""
    builder = EnvironBuilder(method="POST", data={"item": "Lamp", "photo": (io.BytesIO(b"png"), "a.png")})
    request = Request(builder.get_environ())
    if is_parsed_before:
        assert request.form
    read_whole_body(request)
    for _ in range(3):
        body = request.stream.read()
        assert is_parsed_before or b"Lamp" in body
        assert (request.form["item"], request.files["photo"].read()) == ("Lamp", b"png")
        rewind(request)
    request.close()
    builder.close()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="item"\r\n\r\nLa'),
        ("multipart/form-data", b"item"),
        ("application/x-www-form-urlencoded", b"item=\xff"),
    ],
)
def test_malformed_form_is_400(tmp_path: Path, content_type: str, body: bytes) -> None:
    """A form that cannot be parsed is 400, and not a form without fields."""
    http = HttpRouter("more", __name__)
    http.post("/form")(lambda request: {"item": request.form.get("item")})
    headers = {"Idempotency-Key": "k1", "Content-Type": content_type}
    with app_of(tmp_path, router(typed), http) as app:
        for path in ("/orders", "/form"):
            response = app.test_client().post(path, data=body, headers=headers)
            assert (response.status_code, "malformed" in response.get_data(as_text=True)) == (400, True)
        assert orders(app) == 0
