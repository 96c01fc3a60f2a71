"""Whether anything but the view runs for a request: functions of the app, receivers of signals, or replaced methods.

Where nothing does, nobody can tell whether a response was made by Flask or before it.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from types import FunctionType
from typing import Any

from flask import Flask, Request, Response, signals
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.routing import Map

from flask_convex_http.web.matching import apply_cors

#: The attribute of a view with the view itself. That of a decorated view is another one.
VIEW = "convex_view"
#: The methods that Flask calls for a request without an exception, after the outermost one.
_METHODS = (
    *("create_url_adapter", "request_context", "app_context", "full_dispatch_request", "preprocess_request"),
    *("dispatch_request", "ensure_sync", "make_response", "finalize_request", "process_response"),
    *("do_teardown_request", "do_teardown_appcontext"),
)
_SESSION_METHODS = ("open_session", "make_null_session", "is_null_session", "save_session")
_PACKAGE = __name__.partition(".")[0] + "."
_SIGNALS = (
    *(signals.appcontext_pushed, signals.request_started, signals.request_finished, signals.request_tearing_down),
    *(signals.appcontext_tearing_down, signals.appcontext_popped),
)
_receivers_of = attrgetter("receivers")


def has_receivers() -> bool:
    """Return whether a signal that Flask sends for a request has a receiver now."""
    return any(map(_receivers_of, _SIGNALS))


def runs_own_code(app: Flask, endpoint: str) -> bool:
    """Return whether something but the package's view runs for a request to an endpoint, receivers of signals aside.

    Flask takes no more functions after the first request.
    """
    return _has_own_parts(app) or _has_functions(app, endpoint) or not _is_own_view(app.view_functions[endpoint])


def _has_own_parts(app: Flask) -> bool:
    classes = type(app), app.request_class, app.response_class, type(app.url_map), app.app_ctx_globals_class
    if classes != (Flask, Request, Response, Map, Flask.app_ctx_globals_class) or _has_own_sessions(app):
        return True
    replaced = [vars(app)[name] for name in _METHODS if name in vars(app)]
    methods = [getattr(Flask, name) for name in ("wsgi_app", *_METHODS)]
    return not all(map(_is_of_package, replaced)) or not all(map(_is_flasks, methods))


def _has_own_sessions(app: Flask) -> bool:
    sessions = app.session_interface
    if type(sessions) is not SecureCookieSessionInterface or vars(sessions):
        return True
    methods = [getattr(SecureCookieSessionInterface, name) for name in _SESSION_METHODS]
    return sessions.session_class is not SecureCookieSession or not all(map(_is_flasks, methods))


def _is_of_package(method: object) -> bool:
    return type(method).__module__.startswith(_PACKAGE)


def _is_flasks(method: Any) -> bool:
    """Return whether a method is Flask's, and not that of a tool that has wrapped it."""
    return type(method) is FunctionType and method.__globals__["__name__"].startswith("flask.")


def _has_functions(app: Flask, endpoint: str) -> bool:
    if app.teardown_appcontext_funcs:
        return True
    kinds: Any = (app.url_value_preprocessors, app.before_request_funcs, app.after_request_funcs)
    functions = [
        function
        for kind in (*kinds, app.teardown_request_funcs)
        for name in _scopes_of(endpoint)
        for function in kind.get(name, ())
    ]
    return any(function is not apply_cors for function in functions)  # it changes nothing where there is no policy


def _scopes_of(endpoint: str) -> list[str | None]:
    """Return the names of the blueprints of an endpoint, and None for the app."""
    parts = endpoint.split(".")
    return [None, *(".".join(parts[:length]) for length in range(1, len(parts)))]


def _is_own_view(view: Callable[..., Any]) -> bool:
    return getattr(view, VIEW, None) is view
