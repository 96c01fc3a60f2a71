"""Serve the dashboard of an app below `/_convex`.

They are Flask views, so that the app's `before_request` functions apply to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Request, Response, request
from werkzeug.exceptions import Forbidden, NotFound

from flask_convex_http.backend import Backend
from flask_convex_http.dashboard import assets, guards, login
from flask_convex_http.dashboard.documents import add_functions
from flask_convex_http.dashboard.failures import respond_to
from flask_convex_http.dashboard.page import Page, Route
from flask_convex_http.dashboard.pages import PAGES
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.web.requests.limits import Limits
from flask_convex_http.web.state import DASHBOARD

PREFIX = "/_convex"
View = Callable[..., Response]
_LOGIN = 16 * 1024


def serve(app: Flask, backend: Backend) -> None:
    """Add the dashboard to an app.

    Args:
        app: The app.
        backend: Its backend.
    """
    add_functions(backend)
    site = _Site(app, backend)
    blueprint = Blueprint(DASHBOARD, __name__, url_prefix=PREFIX)
    blueprint.after_request(_with_headers)
    blueprint.add_url_rule("/static/<path:name>", "asset", lambda name: assets.respond_with(app, name))
    blueprint.add_url_rule("/login", "login", site.open_view(login.show))
    blueprint.add_url_rule("/login", "log_in", site.open_view(login.log_in), methods=["POST"])
    routes: list[tuple[Page | None, Route]] = [(page, route) for page in PAGES for route in page.routes]
    routes += [(None, route) for route in _OTHER_ROUTES]
    for page, route in routes:
        view = site.guarded_view(page, route)
        blueprint.add_url_rule(route.path, route.endpoint, view, methods=[route.method])
    app.register_blueprint(blueprint)


class _Site:
    """Makes the views of an app's dashboard."""

    def __init__(self, app: Flask, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    def open_view(self, handle: Callable[[Visit], Response]) -> View:
        """Return a view that needs no session."""
        return lambda: self._respond(None, lambda visit: handle(visit), _LOGIN)

    def guarded_view(self, page: Page | None, route: Route) -> View:
        """Return a view that needs a session, and to change something a CSRF token and the role."""

        def handle(visit: Visit, **values: Any) -> Response:
            if visit.session is None:
                return login.ask(visit)
            if route.method == "POST":
                guards.check_csrf(self._backend, visit.request, visit.session_text)
            if route.method == "POST" and page is not None and not visit.can_write:
                raise Forbidden("This session is read-only; log in with an admin key that is not")
            response: Response = route.view(visit, **values)
            return response

        return lambda **values: self._respond(page, handle, route.max_body_bytes, values)

    def _respond(
        self, page: Page | None, handle: View, max_body_bytes: int | None, values: dict[str, Any] | None = None
    ) -> Response:
        current: Request = request._get_current_object()  # type: ignore[attr-defined]  # not its proxy
        visit = Visit(self._app, self._backend, current, PAGES)
        visit.page = page
        try:
            Limits(body=max_body_bytes).apply(current, self._app, self._backend.settings)
            guards.refuse_foreign(current, self._backend.settings.site_url)
            login.identify(visit)
            return handle(visit, **(values or {}))
        except Exception as error:
            return respond_to(self._app, visit, error)


def _missing(visit: Visit, rest: str) -> Response:
    raise NotFound


_OTHER_ROUTES = (
    Route("/logout", "log_out", "POST", login.log_out, None),
    Route("/<path:rest>", "missing", "GET", _missing, None),
)


def _with_headers(response: Response) -> Response:
    for name, value in guards.HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    return response
