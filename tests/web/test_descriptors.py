"""Requests to a process that has no file descriptors left."""

import io
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_convex_http import ActionCtx, HttpRouter
from tests.web.apps import deployed


def router(folder: Path) -> HttpRouter:
    """Return a router whose handlers need a file descriptor."""
    http = HttpRouter("http", __name__)

    @http.post("/open")
    def open_file(ctx: ActionCtx, request: Request) -> str:
        return Path(__file__).read_text(encoding="utf-8")

    @http.post("/form")
    def form(ctx: ActionCtx, request: Request) -> Any:
        return {"files": len(request.files)}

    @http.post("/database")
    def database(ctx: ActionCtx, request: Request) -> Any:
        with closing(sqlite3.connect(folder / "other.db")) as connection:
            return connection.execute("SELECT 1").fetchall()

    @http.post("/bug")
    def bug(ctx: ActionCtx, request: Request) -> Any:
        raise OSError("not about descriptors")

    @http.post("/circle")
    def circle(ctx: ActionCtx, request: Request) -> Any:
        error, cause = ValueError("error"), ValueError("cause")
        error.__cause__, cause.__cause__ = cause, error
        raise error

    return http


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def responses_without_descriptors(app: Flask, paths: list[str]) -> dict[str, tuple[str, Any]]:
    """Return status and Retry-After of requests."""
    part = b'--B\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + b"x" * 600_000 + b"\r\n--B--\r\n"
    environs = {path: EnvironBuilder(path, method="POST", data=b"x").get_environ() for path in paths}
    environs["/form"] |= {
        "wsgi.input": io.BytesIO(part),
        "CONTENT_LENGTH": str(len(part)),
        "CONTENT_TYPE": "multipart/form-data; boundary=B",
    }
    got: dict[str, tuple[str, Any]] = {}
    with no_descriptors():
        for path, environ in environs.items():
            _, status, headers = run_wsgi_app(app, environ, buffered=True)
            got[path] = status[:3], headers.get("Retry-After")
    return got


def test_no_descriptors_left_is_503(tmp_path: Path) -> None:
    """A request that needs a file descriptor gets 503 with Retry-After while there is none, and succeeds later."""
    with deployed(tmp_path, router(tmp_path)) as app:
        client = app.test_client()
        needing = ["/form", "/open", "/database"]
        assert [client.post(path).status_code for path in needing] == [200] * 3  # imports what is imported late
        (tmp_path / "other.db").unlink()
        got = responses_without_descriptors(app, [*needing, "/bug"])
        assert got == dict.fromkeys(needing, ("503", "10")) | {"/bug": ("500", None)}
        assert [client.post(path).status_code for path in needing] == [200] * 3


def test_causes_in_a_circle(tmp_path: Path) -> None:
    """An exception that is the cause of its own cause is 500, and does not keep its thread for ever."""
    with deployed(tmp_path, router(tmp_path)) as app:
        assert app.test_client().post("/circle").status_code == 500
