"""`Visit`: one request to the dashboard, as its pages see it."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from flask import Flask, Request, Response, url_for
from werkzeug.exceptions import BadRequest

from flask_convex_http.backend import Backend
from flask_convex_http.dashboard.access import Session
from flask_convex_http.dashboard.assets import content_of
from flask_convex_http.dashboard.guards import CSRF_FIELD, CSRF_HEADER, csrf_token
from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.rendering import environment
from flask_convex_http.errors import InvalidCursorError
from flask_convex_http.identities import UserIdentity
from flask_convex_http.runtime import ActionCtx, Caller
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.state import DASHBOARD, site_of

_MESSAGE_COOKIE = "convex_dashboard_message"
_MESSAGES = "dashboard messages"
_LONGEST_MESSAGE = 600
#: The largest number that a query string may have.
HIGHEST = 10**15


class Message(msgspec.Struct, frozen=True):
    """The outcome of the last action, shown once.

    Attributes:
        text: The sentence.
        is_error: Whether it failed.
    """

    text: str
    is_error: bool = False


class Visit:
    """One request to the dashboard.

    Args:
        app: The app.
        backend: Its backend.
        request: Flask's request.
        pages: The pages in the navigation.

    Attributes:
        app: The app.
        backend: The backend.
        request: Flask's request.
        session: The session; None before the log-in.
        session_text: The text of the session in its cookie.
        page: The page that is shown; None for pages outside of the navigation.
    """

    def __init__(self, app: Flask, backend: Backend, request: Request, pages: Sequence[Page]) -> None:
        self.app = app
        self._pages = pages
        self.backend = backend
        self.request = request
        self.session: Session | None = None
        self.session_text = ""
        self.page: Page | None = None

    @property
    def can_write(self) -> bool:
        """Whether the session may change something."""
        return self.session is not None and self.session.can_write

    @property
    def is_htmx(self) -> bool:
        """Whether htmx has sent the request."""
        return "HX-Request" in self.request.headers

    @property
    def request_id(self) -> str:
        """The id of the request, which the commit log names."""
        return request_id(self.request)

    def ctx(self) -> ActionCtx:
        """Return a ctx to run functions as the operator, who is the cause in the commit log."""
        identity = self.session.identity if self.session else None
        return self.backend.ctx(identity, site=lambda: site_of(self.request), request_id=self.request_id)

    def operator(self) -> Caller:
        """Return the operator as the caller of an operation without a function, such as an undo."""
        return self.caller(self.session.identity if self.session else None)

    def caller(self, identity: UserIdentity | None) -> Caller:
        """Return a caller with an identity; None for an anonymous one."""
        return self.backend.caller(identity, lambda: site_of(self.request), self.request_id)

    # --- values of the request ---------------------------------------------------------------------------------------

    def text(self, name: str, default: str = "") -> str:
        """Return a value of the query string without surrounding blanks."""
        return _clean(self.request.args.get(name, default))

    def choice(self, name: str, choices: Sequence[str], default: str = "") -> str:
        """Return a value of the query string that is one of some.

        Raises:
            BadRequest: It is another one.
        """
        value = self.text(name) or default
        if value != default and value not in choices:
            raise BadRequest(f"{name}={value[:100]!r} must be one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number of the query string, from 1 to the largest one.

        Raises:
            BadRequest: It is no such number.
        """
        text = self.text(name)
        if not text:
            return default
        if not text.isascii() or not text.isdecimal() or len(text) > 15 or not 1 <= int(text) <= most:
            raise BadRequest(f"{name}={text[:100]!r} must be a number from 1 to {most}")
        return int(text)

    def older(self) -> int | None:
        """Return the number in `older`, below which a page of a list begins, or None for the first page.

        Raises:
            BadRequest: It is no whole number.
        """
        return self.number("older", 0, HIGHEST) or None

    def decimal(self, name: str) -> float | None:
        """Return a number of the query string that may have a fraction, or None.

        Raises:
            BadRequest: It is no number.
        """
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadRequest(f"{name}={text[:100]!r} must be a number")
        return value

    def place(self, of: str = "", name: str = "cursor") -> list[Any] | None:
        """Return the place in a list behind which a page begins, or None for the first page.

        Args:
            of: A name for the list, if its page has several. A place belongs to one list.
            name: The name of the value in the query string.

        Raises:
            BadRequest: It is no place of this list.
        """
        text = self.text(name)
        try:
            return self.backend.runtime.cursors.open(self._list(of), text) if text else None
        except InvalidCursorError:
            raise BadRequest("The address has no place of this list; go back to its first page") from None

    def cursor(self, place: list[Any] | None, of: str = "") -> str | None:
        """Return the text of a place in a list, which `place` reads."""
        return None if place is None else self.backend.runtime.cursors.seal(self._list(of), place)

    def _list(self, of: str) -> bytes:
        return f"dashboard {self.request.endpoint} {of}".encode(errors="replace")

    def field(self, name: str, default: str = "") -> str:
        """Return a field of the form without surrounding blanks."""
        return _clean(self.request.form.get(name, default))

    # --- responses ---------------------------------------------------------------------------------------------------

    def url(self, endpoint: str, **values: Any) -> str:
        """Return the path of a view, such as `visit.url("tables_index")`."""
        return url_for(f"{DASHBOARD}.{endpoint}", **values)

    def asset(self, name: str) -> str:
        """Return the path of a static file."""
        return self.url("asset", name=name, v=content_of(name)[1])

    def with_query(self, **changes: object) -> str:
        """Return the path of this page with some values of its query string changed; None removes one."""
        values = {name: value for name, value in self.request.args.items() if name not in changes}
        values |= {name: str(value) for name, value in changes.items() if value is not None}
        path = url_for(self.request.endpoint or "", **(self.request.view_args or {}))
        return f"{path}?{urlencode(values)}" if values else path  # url_for has parameters of its own

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a template as a response.

        Args:
            template: The name of its file in `templates/`.
            status: The HTTP status.
            **values: Its variables, beside `visit`, `session`, `url` and those of the layout.
        """
        message = self._message()
        text = (
            environment()
            .get_template(template)
            .render(
                visit=self,
                session=self.session,
                url=self.url,
                asset=self.asset,
                page=self.page,
                pages=self._pages if self.session else (),
                message=message,
                app_name=self.app.name,
                csrf_field=CSRF_FIELD,
                csrf_header=CSRF_HEADER,
                csrf_token=csrf_token(self.backend, self.session_text) if self.session else "",
                **values,
            )
        )
        body = text.encode("utf-8", "backslashreplace")  # JSON may have half of a surrogate pair, which has no bytes
        response = self.app.response_class(body, status, content_type="text/html; charset=utf-8")
        if message is not None:
            response.delete_cookie(_MESSAGE_COOKIE, path=self.cookie_path)
        return response

    def redirect(self, endpoint: str, *, done: str = "", failed: str = "", **values: Any) -> Response:
        """Return a redirect to a view, which shows a message once.

        Args:
            endpoint: The endpoint of the view.
            done: The outcome.
            failed: Why nothing was done.
            **values: The values of its path and its query string.
        """
        return self.go(self.url(endpoint, **values), done=done, failed=failed)

    def go(self, path: str, *, done: str = "", failed: str = "") -> Response:
        """Return a redirect to a path of the dashboard, as `redirect` does."""
        response = self.app.response_class(status=303, headers={"Location": path})
        text = failed or done
        if text:
            self._keep_message(response, Message(text[:_LONGEST_MESSAGE], bool(failed)))
        return response

    @property
    def home(self) -> str:
        """The endpoint of the first page."""
        return self._pages[0].home

    @property
    def cookie_path(self) -> str:
        """The path of the dashboard's cookies."""
        return f"{self.request.root_path}/_convex"

    def set_cookie(self, response: Response, name: str, value: str, seconds: int) -> None:
        """Set a cookie that only the dashboard receives, and no script reads."""
        site_url = self.backend.settings.site_url or ""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=self.cookie_path,
            secure=self.request.is_secure or site_url.startswith("https://"),
            httponly=True,
            samesite="Strict",
        )

    def _keep_message(self, response: Response, message: Message) -> None:
        encoded = base64.urlsafe_b64encode(msgspec.json.encode(message)).decode()
        signature = self.backend.signing.sign(_MESSAGES, self.session_text + encoded)
        self.set_cookie(response, _MESSAGE_COOKIE, f"{encoded}.{signature}", 60)

    def _message(self) -> Message | None:
        """Return the message of the last action, if this session was to see it."""
        encoded, _, signature = self.request.cookies.get(_MESSAGE_COOKIE, "").partition(".")
        if self.session is None or not encoded:
            return None
        if not self.backend.signing.verify(_MESSAGES, self.session_text + encoded, signature):
            return None
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(encoded), type=Message)
        except (binascii.Error, ValueError):
            return None


def _clean(text: str) -> str:
    return text.replace("\0", "").strip()
