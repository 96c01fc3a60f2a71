"""`Visitor`: a client of the dashboard that is logged in and sends CSRF tokens, without a browser."""

import html
import re
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http.backend import Backend
from flask_convex_http.dashboard.access import Access, Role
from tests.dashboard.shop import backend_of

_TOKEN = re.compile(r'name="_csrf_token" value="([^"]+)"')
_NEXT = re.compile(r'rel="next" href="([^"]+)"')
_TAG = re.compile(r"<[^>]*>")


class Visitor:
    """A client of an app's dashboard.

    Args:
        app: The app.
        role: The role of its session; None to stay logged out.
    """

    def __init__(self, app: Flask, role: Role | None = "full") -> None:
        self.app = app
        self.client = app.test_client()
        if role is not None:
            response = self.log_in(Access(self.backend).create_link(role))
            assert response.status_code == 303, response.text

    @property
    def backend(self) -> Backend:
        """The backend of the app."""
        return backend_of(self.app)

    def log_in(self, credential: str, **options: Any) -> TestResponse:
        """Send the form of the log-in."""
        return self.client.post("/_convex/login", data={"credential": credential}, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """Get a page; `path` is below `/_convex`."""
        return self.client.get(f"/_convex{path}", **options)

    def post(self, path: str, /, **fields: Any) -> TestResponse:
        """Send a form with the token of the session, and follow the redirect."""
        data = {"_csrf_token": self.token(), **fields}
        return self.client.post(f"/_convex{path}", data=data, follow_redirects=True)

    def token(self) -> str:
        """Return the CSRF token of the session."""
        found = _TOKEN.search(self.get("/").text)
        assert found is not None
        return html.unescape(found[1])


def text_of(response: TestResponse) -> str:
    """Return the text of a page without its tags, with single blanks."""
    return " ".join(html.unescape(_TAG.sub(" ", response.text)).split())


def next_page(text: str) -> str:
    """Return the path of the next page of the first list that has one, given the HTML of a page."""
    found = _NEXT.search(text)
    assert found is not None, text
    return html.unescape(found[1])
