"""Log in and log out.

The code of a link is in the fragment of its URL, which browsers send to no server and which no access log has. A script
moves it into the form. Without JavaScript it is pasted there.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from flask import Response

from flask_convex_http.dashboard.access import SESSION_LIFETIME, Access
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.errors import RateLimitedError
from flask_convex_http.log import logger_of
from flask_convex_http.web.guards.rate_limit import client_network

logger = logger_of("dashboard")

COOKIE = "convex_dashboard"
_INVALID = "This admin key or code is not valid: it is unknown, was revoked, was used, or has expired."
_TOO_MANY = "Too many attempts to log in from your address. Try again in {} seconds."
_NEXT = re.compile(r"[A-Za-z0-9_\-./~%?&=+:,]{0,2000}", re.ASCII)


def identify(visit: Visit) -> None:
    """Find the session of a visit by its cookie."""
    text = visit.request.cookies.get(COOKIE, "")
    visit.session = Access(visit.backend).find_session(text) if text else None
    visit.session_text = text if visit.session else ""


def show(visit: Visit) -> Response:
    """Show the form, or the overview if there is a session."""
    if visit.session is not None:
        return visit.go(_next_path(visit, visit.text("next")))
    return _form(visit, visit.text("next"))


def log_in(visit: Visit) -> Response:
    """Open a session for an admin key or the code of a link."""
    address = client_network(visit.request.remote_addr or "")
    access, following = Access(visit.backend), visit.field("next")
    try:
        access.count_attempt(address)
    except RateLimitedError as error:
        response = _form(visit, following, _TOO_MANY.format(error.retry_after), 429)
        response.headers["Retry-After"] = str(error.retry_after)
        return response
    text = access.open_session(visit.field("credential"))
    if text is None:
        logger.warning("A log-in to the dashboard from %s was rejected [request %s]", address, visit.request_id)
        return _form(visit, following, _INVALID, 403)
    logger.info("A session of the dashboard was opened from %s [request %s]", address, visit.request_id)
    response = visit.go(_next_path(visit, following))
    visit.set_cookie(response, COOKIE, text, SESSION_LIFETIME // 1000)
    return response


def log_out(visit: Visit) -> Response:
    """End the session."""
    Access(visit.backend).end_session(visit.session_text)
    response = visit.redirect("login")
    response.delete_cookie(COOKIE, path=visit.cookie_path)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def ask(visit: Visit) -> Response:
    """Respond to a request without a session: the way to the form, and back to the page afterwards."""
    request = visit.request
    following = request.full_path.rstrip("?") if request.method == "GET" and not visit.is_htmx else ""
    path = visit.url("login", next=following or None)
    if not visit.is_htmx:
        return visit.go(path)
    response = visit.render("error.html", 401, title="Log in", text="The session has ended.", hint="Log in again.")
    response.headers["HX-Redirect"] = path
    return response


def _form(visit: Visit, following: str, error: str = "", status: int = 200) -> Response:
    return visit.render("login.html", status, following=following, error=error)


def _next_path(visit: Visit, following: str) -> str:
    """Return the page to show after the log-in, which is one of the dashboard regardless of the link."""
    home = visit.url(visit.home)
    is_own = following.startswith("/_convex/") and "//" not in following and "/.." not in unquote(following)
    return visit.request.root_path + following if is_own and _NEXT.fullmatch(following) else home
