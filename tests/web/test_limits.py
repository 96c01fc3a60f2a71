"""The limits of JSON and forms: which one applies, and the words of the 413 that names it."""

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.formparser import FormDataParser
from werkzeug.test import TestResponse

from flask_convex_http import ActionCtx, HttpRouter, RegistrationError, read_json
from tests.lengths import LONG
from tests.web.apps import deployed, send, send_chunked

MIB = 2**20
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=B"
BODY, JSON, FORM, FIELDS = (f"CONVEX_MAX_{name}" for name in ("BODY_BYTES", "JSON_BYTES", "FORM_BYTES", "FORM_FIELDS"))

WAYS: dict[str, Callable[[Request], Any]] = {
    "read_json": lambda request: len(str(read_json(request))),
    "get_json": lambda request: len(str(request.get_json(force=True))),
    "data": lambda request: len(request.get_data()),
    "form": lambda request: [sum(map(len, request.form.values())), len(request.files)],
    "files": lambda request: [sum(map(len, request.form.values())), len(request.files)],
    "after_data": lambda request: [len(request.get_data()) and sum(map(len, request.form.values())), 0],
}


def router(**options: Any) -> HttpRouter:
    """Return a router with a route for each way to read a body."""
    http = HttpRouter("http", __name__)

    def route(name: str, read: Callable[[Request], Any]) -> None:
        @http.post(f"/{name}", endpoint=name, **options)
        def handle(ctx: ActionCtx, request: Request) -> Any:
            return {"got": read(request)}

    for name, read in WAYS.items():
        route(name, read)
    return http


def post(app: Flask, way: str, body: bytes, content_type: str, *, in_chunks: bool = False) -> TestResponse:
    """Send a body, announced or in chunks."""
    if in_chunks:
        return send_chunked(app, f"/{way}", body, CONTENT_TYPE=content_type)
    return send(app, "POST", f"/{way}", body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(body)))


def part(value: bytes, *, name: str = "a", more: str = "") -> bytes:
    """Return one part of a multipart form."""
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    """Return a multipart form."""
    return b"".join(parts) + b"--B--\r\n"


def error(response: TestResponse) -> str:
    """Return the message of a 413."""
    assert response.status_code == 413, response.text[:200]
    return str((response.json or {})["error"])


@pytest.mark.parametrize("in_chunks", [False, True])
def test_defaults(tmp_path: Path, in_chunks: bool) -> None:
    """By default JSON has 8 MiB, the text of a form 4 MiB in 10,000 fields, and other bodies 20 MiB."""

    def sent(way: str, body: bytes, content_type: str) -> TestResponse:
        return post(app, way, body, content_type, in_chunks=in_chunks)

    with deployed(tmp_path, router()) as app:
        for way, content_type in (("read_json", "application/json"), ("get_json", "text/plain")):
            assert sent(way, b'"' + b"a" * (8 * MIB - 2) + b'"', content_type).json == {"got": 8 * MIB - 2}
            message = error(sent(way, b'"' + b"a" * (8 * MIB - 1) + b'"', content_type))
            assert "JSON" in message and str(8 * MIB) in message and JSON in message and "max_json_bytes=" in message
        for way in ("form", "files", "after_data"):
            for body, content_type in (
                (b"a=" + b"x" * (4 * MIB - 2), URLENCODED),
                (multipart(*[part(b"x" * MIB)] * 3, part(b"x" * (MIB - 2))), MULTIPART),
            ):
                assert sent(way, body, content_type).json == {
                    "got": [4 * MIB - 2 if content_type == URLENCODED else MIB, 0]
                }
            for body, content_type in (
                (b"a=" + b"x" * (4 * MIB - 1), URLENCODED),
                (multipart(*[part(b"x" * MIB)] * 4, part(b"x")), MULTIPART),
            ):
                message = error(sent(way, body, content_type))
                assert (
                    "form" in message and str(4 * MIB) in message and FORM in message and "max_form_bytes=" in message
                )
        for most, body, content_type in (
            (10_000, b"&".join([b"a=1"] * 10_001), URLENCODED),
            (10_000, multipart(*[part(b"1")] * 10_001), MULTIPART),
        ):
            message = error(sent("form", body, content_type))
            assert f"{most} fields" in message and FIELDS in message and "max_form_fields=" in message
        assert sent("form", b"&".join([b"a=1"] * 10_000), URLENCODED).status_code == 200
        for content_type in ("application/json", URLENCODED, "application/octet-stream"):
            assert sent("data", b"x" * (20 * MIB), content_type).json == {"got": 20 * MIB}
            message = error(sent("data", b"x" * (20 * MIB + 1), content_type))
            assert str(20 * MIB) in message and BODY in message and "max_body_bytes=" in message


def test_files_do_not_count_as_text(tmp_path: Path) -> None:
    """A form may hold files up to the limit of the body, beside its text."""
    body = multipart(part(b"x" * (10 * MIB), name="f", more='; filename="a"'), part(b"y" * MIB))
    with deployed(tmp_path, router()) as app:
        assert post(app, "files", body, MULTIPART).json == {"got": [MIB, 1]}
        assert BODY in error(post(app, "files", body + b" " * (20 * MIB), MULTIPART))


ORDER = [
    ({}, {}, {}, (40, 30, 20, 3)),
    ({}, {"MAX_FORM_MEMORY_SIZE": 10, "MAX_FORM_PARTS": 2}, {}, (40, 30, 10, 2)),
    ({"max_json_bytes": 25, "max_form_bytes": 15, "max_form_fields": 4}, {"MAX_FORM_PARTS": 2}, {}, (40, 25, 15, 4)),
    ({"max_json_bytes": 25}, {}, {"max_json_bytes": 35}, (40, 35, 20, 3)),
]


@pytest.mark.parametrize(("on_router", "config", "on_route", "limits"), ORDER)
def test_which_limit_applies(
    tmp_path: Path, on_router: dict[str, Any], config: dict[str, Any], on_route: dict[str, Any], limits: tuple[int, ...]
) -> None:
    """The limit of the route comes first, then the router's, Flask's if it was changed, and that of the setting."""
    http = HttpRouter("http", __name__, **on_router)
    for name, read in WAYS.items():
        http.post(f"/{name}", endpoint=name, **on_route)(lambda ctx, request, read=read: {"got": read(request)})
    chosen = {BODY: 40, JSON: 30, FORM: 20, FIELDS: 3} | config
    body, json, form, fields = limits
    with deployed(tmp_path, http, **chosen) as app:
        for most, way, make, content_type in (
            (body, "data", lambda size: b"x" * size, "text/plain"),
            (json, "read_json", lambda size: b'"' + b"x" * (size - 2) + b'"', "application/json"),
            (form, "form", lambda size: b"a=" + b"x" * (size - 2), URLENCODED),
            (fields, "form", lambda size: b"&".join([b"a="] * size), URLENCODED),
        ):
            assert post(app, way, make(most), content_type).status_code == 200, (way, most)
            error(post(app, way, make(most + 1), content_type))


def test_small_limit_of_text_does_not_hinder_files(tmp_path: Path) -> None:
    """A form with little text may have large files and long boundaries, whatever the limit of its text."""
    with deployed(tmp_path, router(max_form_bytes=10)) as app:
        body = multipart(part(b"x" * MIB, more='; filename="a"'), part(b"y" * 10))
        assert post(app, "files", body, MULTIPART).json == {"got": [10, 1]}
        assert FORM in error(post(app, "files", multipart(part(b"y" * 6), part(b"y" * 5)), MULTIPART))


#: Makes each body when its test runs: together they are large.
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "fields": (lambda: b"a&" * (10 * MIB), URLENCODED),
    "escapes": (lambda: b"a=" + b"%41" * (7 * MIB - 10), URLENCODED),
    "parts": (lambda: multipart(part(b"") * (20 * MIB // 60)), MULTIPART),
    "files": (lambda: multipart(part(b"", more='; filename="a"') * (20 * MIB // 80)), MULTIPART),
    "headers": (lambda: multipart(b"--B\r\n" + b"a:b\r\n" * (4 * MIB - 100) + b"\r\n"), MULTIPART),
    "part_headers": (lambda: multipart((b"--B\r\n" + b"a:b\r\n" * 9000 + part(b"")[5:]) * 400), MULTIPART),
    "preamble": (lambda: b"\r\n--" * (5 * MIB - 10), MULTIPART),
    "line_breaks": (lambda: multipart(part(b"\r" * (19 * MIB))), MULTIPART),
    "file_of_boundaries": (lambda: multipart(part(b"\r\n--C" * (3 * MIB), more='; filename="a"')), MULTIPART),
    "epilogue": (lambda: multipart(part(b"")) + b"\r\n" * (9 * MIB), MULTIPART),
}


@LONG
@pytest.mark.parametrize("name", HOSTILE)
def test_a_form_of_20_mib_takes_little_time(tmp_path: Path, name: str) -> None:
    """No form of 20 MiB takes more than two seconds of a processor, announced or in chunks."""
    make, content_type = HOSTILE[name]
    body = make()
    with deployed(tmp_path, router()) as app:
        for in_chunks in (False, True):
            began = time.process_time()
            response = post(app, "form", body, content_type, in_chunks=in_chunks)
            assert response.status_code in (200, 413), response.text
            assert time.process_time() - began < 2


def test_a_form_of_20_mib_takes_little_memory(tmp_path: Path) -> None:
    """A form of 20 MiB in chunks takes no more memory than the text that a form may have, and as much again."""
    make, content_type = HOSTILE["fields"]
    body = make()
    with deployed(tmp_path, router()) as app:
        tracemalloc.start()
        error(post(app, "form", body, content_type, in_chunks=True))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < len(body) + 8 * MIB  # the client's own copy, and the server's


def test_files_of_a_rejected_form_are_closed(tmp_path: Path) -> None:
    """A form that is rejected leaves no temporary file open."""
    body = multipart(part(b"x" * MIB, more='; filename="a"'), part(b"x" * MIB, more='; filename="b"'), part(b"y" * 99))
    with deployed(tmp_path, router(max_form_bytes=10)) as app:
        error(post(app, "form", body, MULTIPART))
        assert post(app, "form", body[:-200], MULTIPART).status_code == 400  # broken off
        gc.collect()  # a ResourceWarning fails the test


def test_parsers_of_the_application_stay(tmp_path: Path) -> None:
    """An application's own parsers of forms and of JSON are used, with the limits of the route."""
    seen: list[tuple[Any, Any]] = []

    class Parser(FormDataParser):
        def parse(self, *arguments: Any, **options: Any) -> Any:
            seen.append((self.max_form_memory_size, self.max_form_parts))
            return super().parse(*arguments, **options)

    class OwnRequest(Request):
        form_data_parser_class = Parser

    class Provider(DefaultJSONProvider):
        def loads(self, s: str | bytes, **kwargs: Any) -> Any:
            return "own"

    with deployed(tmp_path, router(max_form_bytes=10, max_form_fields=2, max_json_bytes=10)) as app:
        app.request_class, app.json = OwnRequest, Provider(app)
        assert post(app, "get_json", b"{}", "application/json").data == b'{"got":3}'
        assert JSON in post(app, "get_json", b" " * 11, "application/json").text
        assert post(app, "form", b"a=1", URLENCODED).data == b'{"got":[1,0]}'
    assert seen == [(10, 2)]


@pytest.mark.parametrize("option", ["max_body_bytes", "max_json_bytes", "max_form_bytes", "max_form_fields"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_wrong_limits_are_rejected(option: str, value: Any) -> None:
    """A limit is a positive integer, on a route and on a router."""
    with pytest.raises(RegistrationError, match=f"{option}=.* 1 or more"):
        HttpRouter("http", __name__).post("/x", **{option: value})
    with pytest.raises(RegistrationError, match=f"{option}=.* 1 or more"):
        HttpRouter("http", __name__, **{option: value})
