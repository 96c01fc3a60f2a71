"""Serve the document of an app and its page.

They are Flask views, so that the app's `before_request` functions, logins included, apply to them. Their rules end in a
variable that is empty. Werkzeug prefers rules without one, so a route of the app with such a path wins.

The document is built with the first request for it, when all routers are registered, and is kept as bytes. Below a
`SCRIPT_NAME` it differs in `servers` only.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask, Response, request

from flask_convex_http.backend import Backend
from flask_convex_http.web.matching import END, prepare
from flask_convex_http.web.openapi.options import OpenAPI

#: The app's `Documents`, in its extensions.
DOCUMENTS = "convex_http_openapi"
#: The values of `SCRIPT_NAME` for which documents are kept. A client may choose it where a proxy is trusted too much.
_KEPT = 8
_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


class Documents:
    """The document of an app and its page, as they are served.

    Args:
        app: The app.
        backend: Its backend.
        options: The options of the document.

    Attributes:
        options: The options of the document.
    """

    def __init__(self, app: Flask, backend: Backend, options: OpenAPI) -> None:
        self._app = app
        self._backend = backend
        self.options = options
        self._mutex = threading.Lock()
        self._document: dict[str, Any] | None = None
        self._served: dict[tuple[str, str], tuple[bytes, str, str]] = {}

    @property
    def document(self) -> dict[str, Any]:
        """The document, which is built once."""
        from flask_convex_http.web.openapi.document import build_document

        with self._mutex:
            if self._document is None:
                self._document = build_document(self._app, self._backend, self.options)
            return self._document

    def respond_with_json(self, **values: Any) -> Response:
        """Respond with the document; a view."""
        return self._respond("json", "application/json", self._json)

    def respond_with_page(self, **values: Any) -> Response:
        """Respond with the page; a view."""
        return self._respond("page", "text/html; charset=utf-8", self._page)

    def _made(self, kind: str, root: str, make: Callable[[str], tuple[bytes, str]]) -> tuple[bytes, str, str]:
        """Return a body, its policy and its digest, which are kept for the first few roots."""
        found = self._served.get((kind, root))
        if found is not None:
            return found
        body, policy = make(root)
        found = body, policy, hashlib.sha256(body).hexdigest()[:32]
        with self._mutex:
            if len(self._served) < _KEPT:
                self._served[kind, root] = found
        return found

    def _respond(self, kind: str, content_type: str, make: Callable[[str], tuple[bytes, str]]) -> Response:
        body, policy, digest = self._made(kind, request.root_path, make)
        response = self._app.response_class(body, headers=_HEADERS, content_type=content_type)
        if policy:
            response.headers["Content-Security-Policy"] = policy
            response.headers["Referrer-Policy"] = "no-referrer"
        response.set_etag(digest)
        return response.make_conditional(request)  # type: ignore[return-value]  # the same response

    def _json(self, root: str) -> tuple[bytes, str]:
        return msgspec.json.encode(self._below(root)), ""

    def _page(self, root: str) -> tuple[bytes, str]:
        from flask_convex_http.web.openapi.page import render

        return render(self._below(root), root + self.options.path)

    def _below(self, root: str) -> dict[str, Any]:
        """Return the document for a `SCRIPT_NAME`."""
        document = self.document
        if not root or "servers" in document:
            return document
        head = {"openapi": document["openapi"], "info": document["info"], "servers": [{"url": root}]}
        return head | document


def serve(app: Flask, backend: Backend, options: OpenAPI) -> None:
    """Add the routes of the document and the page to an app.

    Args:
        app: The app.
        backend: Its backend.
        options: The options of the document.
    """
    prepare(app)
    documents = Documents(app, backend, options)
    app.extensions[DOCUMENTS] = documents
    _add(app, options.path, "convex_openapi", documents.respond_with_json)
    if options.docs is not None:
        _add(app, options.docs, "convex_openapi_docs", documents.respond_with_page)


def documents_of(app: Flask, backend: Backend) -> Documents:
    """Return the documents of an app. Without `openapi=` they have the default options."""
    found: Documents | None = app.extensions.get(DOCUMENTS)
    return found or Documents(app, backend, OpenAPI())


def _add(app: Flask, path: str, endpoint: str, view: Callable[..., Response]) -> None:
    app.add_url_rule(
        f"{path}<{END}:{END}>",
        endpoint,
        view,
        methods=["GET"],
        defaults={END: ""},
        provide_automatic_options=False,
        merge_slashes=False,
        strict_slashes=True,
    )
