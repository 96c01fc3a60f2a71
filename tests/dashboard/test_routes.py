"""What every route of the dashboard has in common, whatever it shows."""

import pytest
from flask import Flask
from werkzeug.routing import Rule

from flask_convex_http.dashboard.pages import PAGES
from flask_convex_http.dashboard.serving import PREFIX
from flask_convex_http.web.state import DASHBOARD
from tests.dashboard.visitors import Visitor
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "?cursor=%00&limit=-1&state=x&id=%ff%00&what='&table=_settings&index=x&order=x&page=1e9"
_OPEN = {"login", "log_in", "asset"}
_VALUES = {"IntegerConverter": 1, "AnyConverter": "csv"}


def paths_of(app: Flask, method: str) -> list[str]:
    """Return a path below `/_convex` of each guarded route with this method."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(f"{DASHBOARD}.")]
    chosen = [rule for rule in rules if method in (rule.methods or ()) and rule.endpoint.split(".")[1] not in _OPEN]
    return [_path(rule) for rule in chosen]


def _path(rule: Rule) -> str:
    values = {name: _VALUES.get(type(kind).__name__, "x") for name, kind in rule._converters.items()}
    built = rule.build(values, append_unknown=False)
    assert built is not None, rule
    return built[1].removeprefix(PREFIX)


def test_every_page(visitor: Visitor, reader: Visitor, stranger: Visitor) -> None:
    """Each page of the navigation is shown to who is logged in, also for reading only, on an empty database."""
    for page in PAGES:
        path = page.path
        assert [visitor.get(path).status_code, reader.get(path).status_code] == [200, 200], path
        assert stranger.get(path).status_code == 303


def test_every_view_needs_a_session(app: Flask, stranger: Visitor) -> None:
    """Without a session every route leads to the log-in."""
    for path in paths_of(app, "GET"):
        assert stranger.get(path).location.startswith("/_convex/login"), path
    for path in paths_of(app, "POST"):
        assert stranger.client.post(f"/_convex{path}").location.startswith("/_convex/login"), path


def test_every_change_needs_a_token_and_the_role(app: Flask, visitor: Visitor, reader: Visitor) -> None:
    """Nothing is changed without a CSRF token, by a read-only session, or for another origin."""
    token, readers = visitor.token(), reader.token()
    foreign = {"Origin": "https://evil.example"}
    for path in set(paths_of(app, "POST")) - {"/logout"}:
        url = f"/_convex{path}"
        assert visitor.client.post(url).status_code == 403, path
        assert reader.client.post(url, data={"_csrf_token": readers}).status_code == 403, path
        assert visitor.client.post(url, data={"_csrf_token": token}, headers=foreign).status_code == 403, path


@pytest.mark.parametrize("query", ["", HOSTILE])
def test_no_address_fails(app: Flask, visitor: Visitor, query: str) -> None:
    """No address is an error of the server, whatever it says."""
    for path in paths_of(app, "GET"):
        response = visitor.get(path + query)
        assert response.status_code < 500, (path, response.text)


def test_no_form_fails(app: Flask, visitor: Visitor) -> None:
    """No form is an error of the server, without its fields or with fields that mean nothing."""
    token = visitor.token()
    for path in set(paths_of(app, "POST")) - {"/logout"}:
        for more in ({}, dict.fromkeys(("id", "name", "what", "arguments", "source", "body", "email"), "\x00\ufffe{")):
            response = visitor.client.post(f"/_convex{path}", data={"_csrf_token": token, **more})
            assert response.status_code < 500, (path, response.text)
