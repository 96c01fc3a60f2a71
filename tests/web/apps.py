"""Helpers that build an app for the tests of HTTP, and send it raw WSGI requests that no client normalizes."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import ConvexHTTP, HttpRouter, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.functions.function import Function
from tests.databases import folder_config, temporary_config


@contextmanager
def deployed(
    folder: Path,
    *routers: HttpRouter,
    schema: Schema | None = None,
    functions: list[Function[Any, Any]] | None = None,
    clock: Any = None,
    is_kept: bool = False,
    auth_providers: Any = (),
    function_api: Any = False,
    crons: Any = None,
    metrics: Any = False,
    tracing: Any = False,
    dashboard: Any = False,
    health: Any = False,
    **config: Any,
) -> Iterator[Flask]:
    """Yield a migrated app with these routers, and close it at the end.

    `is_kept` puts the database into the folder, where a later app finds it, instead of into a temporary place.
    """
    app = Flask("test_app", instance_path=str(folder))
    more: dict[str, Any] = {"function_api": function_api, "crons": crons, "metrics": metrics}
    more["tracing"] = tracing
    more |= {"dashboard": dashboard, "health": health}
    more |= {} if clock is None else {"clock": clock}
    with ExitStack() as stack:
        database = folder_config(folder) if is_kept else stack.enter_context(temporary_config(schema or Schema()))
        app.config.update({"CONVEX_WORKER": "off"} | database | config)
        convex = ConvexHTTP(app, schema=schema, functions=functions or [], auth_providers=auth_providers, **more)
        for router in routers:
            app.register_blueprint(router)
        stack.callback(backend_of(app).close)
        with app.app_context():
            convex.migrate()
        yield app


def backend_of(app: Flask) -> Backend:
    """Return the app's backend."""
    backend: Backend = app.extensions["convex_http"]
    return backend


def send(app: Flask, method: str, path: str, body: bytes = b"", /, **environ: Any) -> TestResponse:
    """Send a request whose path reaches the app as it is written, without resolving dots or merging slashes."""
    raw = path.encode().decode("latin-1")
    overrides = {"REQUEST_METHOD": method, "PATH_INFO": raw, "wsgi.input": io.BytesIO(body), **environ}
    return app.test_client().open("/", method=method, environ_overrides=overrides, buffered=True)


def send_chunked(app: Flask, path: str, body: bytes, **environ: Any) -> TestResponse:
    """Send a POST with a chunked body: no length is announced, and the server ends the stream."""
    return send(
        app,
        "POST",
        path,
        body,
        HTTP_TRANSFER_ENCODING="chunked",
        CONTENT_LENGTH="",
        **{"wsgi.input_terminated": True, **environ},
    )
