"""The proofs that a request needs: that a page of the dashboard sent it, and that the session's owner meant it."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden

from flask_convex_http.backend import Backend

CSRF_FIELD = "_csrf_token"
CSRF_HEADER = "X-CSRF-Token"
_PURPOSE = "dashboard CSRF tokens"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def refuse_foreign(request: Request, site_url: str | None) -> None:
    """Refuse a request that a page of another origin has sent. A link on such a page may be followed.

    Browsers send `Sec-Fetch-Site` to https and localhost only, so `Origin` counts too. Its scheme does not, because a
    proxy that ends TLS may not tell it. A form needs a CSRF token as well.

    Args:
        request: The request.
        site_url: The app's URL in the settings, whose host a proxy may replace.

    Raises:
        Forbidden: Another origin has sent it.
    """
    headers = request.headers
    site = headers.get("Sec-Fetch-Site", "same-origin")
    follows_link = request.method in ("GET", "HEAD") and headers.get("Sec-Fetch-Mode") == "navigate"
    if site not in ("same-origin", "none") and not follows_link:
        raise Forbidden("Another site has sent this request; open the dashboard itself")
    origin = headers.get("Origin")
    if origin in (None, "null"):  # a form sends "null" because of the dashboard's own Referrer-Policy
        return
    if _host_of(origin) not in {request.host.lower(), _host_of(site_url or "")} - {""}:
        raise Forbidden(
            f"The request comes from {origin[:200]!r}, and the app believes to be {request.host!r}; behind a proxy, "
            "pass the Host header on or set CONVEX_SITE_URL"
        )


def csrf_token(backend: Backend, session_text: str) -> str:
    """Return the CSRF token of a session."""
    return backend.signing.sign(_PURPOSE, session_text)


def check_csrf(backend: Backend, request: Request, session_text: str) -> None:
    """Check the token in a form, or in the header that htmx sends.

    Raises:
        Forbidden: It is missing or belongs to another session.
    """
    sent = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    if not backend.signing.verify(_PURPOSE, session_text, sent):
        raise Forbidden("The form is from another session; go back, reload the page and try again")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
