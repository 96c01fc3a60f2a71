"""Who reaches the dashboard, and what its responses say to browsers."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import testing
from flask_convex_http.dashboard.access import Access
from flask_convex_http.dashboard.guards import HEADERS
from tests.dashboard.shop import backend_of, make_app
from tests.dashboard.visitors import Visitor, text_of
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, folder_config

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def test_without_session(stranger: Visitor) -> None:
    """A request without a session leads to the log-in, and back to the page afterwards."""
    response = stranger.get("/nowhere?a=1")
    assert (response.status_code, response.location) == (303, "/_convex/login?next=/_convex/nowhere?a%3D1")
    form = stranger.client.get(response.location)
    assert form.status_code == 200 and 'value="/_convex/nowhere?a=1"' in form.text
    refused = stranger.get("/", headers={"HX-Request": "true"})
    assert (refused.status_code, refused.headers["HX-Redirect"]) == (401, "/_convex/login")
    assert stranger.client.post("/_convex/logout").location == "/_convex/login"


def test_link(app: Flask, stranger: Visitor) -> None:
    """The code of a link opens one session, which log-out ends."""
    code = Access(backend_of(app)).create_link("full")
    response = stranger.log_in(code)
    assert (response.status_code, response.location) == (303, "/_convex/")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/_convex" in cookie
    assert "Secure" not in cookie
    assert stranger.get("/").status_code == 200
    assert Visitor(app, None).log_in(code).status_code == 403
    stale = stranger.client.get_cookie("convex_dashboard", path="/_convex")
    assert stale is not None
    stranger.post("/logout")
    assert stranger.get("/").status_code == 303
    stranger.client.set_cookie("convex_dashboard", stale.value, path="/_convex")
    assert stranger.get("/").status_code == 303


def test_expiry(app: Flask, stranger: Visitor) -> None:
    """A link is valid for ten minutes, and a session for twelve hours."""
    clock = testing.use_clock(app)
    access = Access(backend_of(app))
    late, code = access.create_link("full"), access.create_link("full")
    clock.advance(timedelta(minutes=9))
    assert stranger.log_in(code).status_code == 303
    clock.advance(timedelta(minutes=2))
    assert Visitor(app, None).log_in(late).status_code == 403
    clock.advance(timedelta(hours=11))
    assert stranger.get("/").status_code == 200
    clock.advance(timedelta(hours=1))
    assert stranger.get("/").status_code == 303


def test_admin_key(app: Flask, stranger: Visitor) -> None:
    """An admin key opens a session, which ends when the key is revoked."""
    keys = backend_of(app).admin_keys
    key, stored = keys.create("laptop")
    assert stranger.log_in(f" {key} ").status_code == 303
    assert f"admin key {stored.hint} (laptop)" in text_of(stranger.get("/"))
    keys.revoke(stored.hint)
    assert stranger.get("/").status_code == 303


def test_read_only_key(app: Flask, stranger: Visitor) -> None:
    """A read-only admin key opens a session that changes nothing, and calls no function."""
    key, _ = backend_of(app).admin_keys.create(read_only=True)
    assert not backend_of(app).admin_keys.is_valid(key)
    assert stranger.log_in(key).status_code == 303
    assert "read-only" in text_of(stranger.get("/"))


def test_end_of_all_sessions(app: Flask, visitor: Visitor) -> None:
    """An operator can end every session."""
    assert Access(backend_of(app)).end_all() == 1
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("credential", ["", "admin_x", "a" * 10_000, "\0", "dashboard_ö", "\udcff"])
def test_invalid_credential(stranger: Visitor, credential: str) -> None:
    """A text that is no credential is rejected with the form, which does not repeat it."""
    response = stranger.client.post("/_convex/login", data={"credential": credential.encode("utf-8", "replace")})
    assert response.status_code == 403 and "not valid" in response.text
    assert not credential or credential not in response.text


def test_rate_limit(app: Flask, stranger: Visitor) -> None:
    """After ten attempts in a quarter of an hour an address has to wait; others do not."""
    testing.use_clock(app)
    codes = [stranger.log_in("wrong").status_code for _ in range(11)]
    assert codes == [403] * 10 + [429]
    limited = stranger.log_in(Access(backend_of(app)).create_link("full"))
    assert limited.status_code == 429 and int(limited.headers["Retry-After"]) > 0
    other = stranger.log_in("wrong", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert other.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://[", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_foreign_origin(visitor: Visitor, headers: dict[str, str]) -> None:
    """A request of another origin is refused, also with a session and its token."""
    fields = {"_csrf_token": visitor.token()}
    assert visitor.client.post("/_convex/logout", data=fields, headers=headers).status_code == 403
    assert visitor.get("/", headers=headers).status_code == 403
    assert visitor.log_in("x", headers=headers).status_code == 403


def test_link_on_another_site(visitor: Visitor) -> None:
    """A link on another site may lead to the dashboard."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert visitor.get("/", headers=headers).status_code == 200


def test_csrf_token(app: Flask, visitor: Visitor) -> None:
    """A form without the session's token changes nothing; htmx sends it in a header."""
    other = Visitor(app).token()
    for fields in ({}, {"_csrf_token": "x"}, {"_csrf_token": "ö"}, {"_csrf_token": other}):
        assert visitor.client.post("/_convex/logout", data=fields).status_code == 403
    assert visitor.get("/").status_code == 200
    assert visitor.client.post("/_convex/logout", headers={"X-CSRF-Token": visitor.token()}).status_code == 303


def test_headers(visitor: Visitor, stranger: Visitor) -> None:
    """Every response has a strict policy; pages are not stored, and files are stored for good."""
    asset = visitor.get("/").text.partition('<script src="/_convex')[2].partition('"')[0]
    script = visitor.get(asset)
    responses = [visitor.get("/"), visitor.get("/nowhere"), stranger.get("/"), stranger.get("/login"), script]
    for response in responses:
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert {response.headers["Cache-Control"] for response in responses[:-1]} == {"no-store"}
    assert "immutable" in script.headers["Cache-Control"] and script.status_code == 200
    assert visitor.get("/nowhere").status_code == 404
    for name in ("../page.py", "vendor/htmx.LICENSE.txt", "%2e%2e/page.py"):
        assert visitor.get(f"/static/{name}").status_code == 404


def test_return_after_log_in(app: Flask) -> None:
    """After the log-in the page follows that was asked for, and never one outside of the dashboard."""
    pages = {
        "/_convex/tables?a=1": "/_convex/tables?a=1",
        "https://evil.example/": "/_convex/",
        "//evil.example/_convex/": "/_convex/",
        "/_convex/../admin": "/_convex/",
        "/_convex/%2E%2e/admin": "/_convex/",
        "/_convex//evil.example": "/_convex/",
        "/_convex/\r\nSet-Cookie: a=b": "/_convex/",
    }
    for given, followed in pages.items():
        code = Access(backend_of(app)).create_link("full")
        fields = {"credential": code, "next": given}
        assert app.test_client().post("/_convex/login", data=fields).location == followed


def test_secure_cookie(app: Flask, stranger: Visitor) -> None:
    """Over https the cookie is sent over https only."""
    code = Access(backend_of(app)).create_link("full")
    assert "Secure" in stranger.log_in(code, base_url="https://shop.example").headers["Set-Cookie"]


def test_below_a_prefix(app: Flask, stranger: Visitor) -> None:
    """Below a SCRIPT_NAME links, redirects and cookies have it."""
    code = Access(backend_of(app)).create_link("full")
    options = {"environ_overrides": {"SCRIPT_NAME": "/shop"}}
    response = stranger.client.post("/_convex/login", data={"credential": code}, **options)
    assert response.location == "/shop/_convex/" and "Path=/shop/_convex" in response.headers["Set-Cookie"]


def test_off_by_default() -> None:
    """Without `dashboard=True` nothing of the dashboard is imported, and there is no route of it."""
    program = (
        "import sys; from flask import Flask; from flask_convex_http import ConvexHTTP; app = Flask('app'); "
        "app.config['CONVEX_DATABASE_URL'] = 'sqlite:///:memory:'; ConvexHTTP(app); "
        "print([name for name in sys.modules if 'flask_convex_http.dashboard' in name], "
        "app.test_client().get('/_convex/').status_code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 404"


def test_before_the_migration(tmp_path: Path) -> None:
    """Without a database the log-in fails with 503, and names no place to a stranger."""
    app = make_app(tmp_path, **folder_config(tmp_path) | {"CONVEX_WORKER": "off"})
    try:
        client = app.test_client()
        assert client.get("/_convex/login").status_code == 200
        response = client.post("/_convex/login", data={"credential": "x"})
        assert response.status_code == 503 and str(tmp_path) not in response.text
    finally:
        backend_of(app).close()
