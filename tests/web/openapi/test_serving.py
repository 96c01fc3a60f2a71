"""The routes of the document and its page."""

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort

from flask_convex_http import ConvexHTTP, HttpRouter, OpenAPI, RegistrationError
from tests.web.openapi.apps import app_of


def router_with(path: str) -> HttpRouter:
    """Return a router whose only route has this path."""
    router = HttpRouter("own", __name__)

    @router.get(path)
    def own(**values: str) -> dict[str, str]:
        return {"own": "route"}

    return router


def test_off(tmp_path: Path) -> None:
    """Without `openapi=` there is neither a document nor a page."""
    client = app_of(tmp_path, openapi=False).test_client()
    assert client.get("/openapi.json").status_code == 404
    assert client.get("/docs").status_code == 404


def test_paths_and_titles(tmp_path: Path) -> None:
    """`OpenAPI` chooses paths and texts, and `docs=None` serves no page."""
    options = OpenAPI(
        title="Shop", version="2.1", description="Sells.", path="/api.json", docs=None, servers=["https://a"]
    )
    client = app_of(tmp_path, openapi=options).test_client()
    document = client.get("/api.json").json
    assert document is not None
    assert document["info"] == {"title": "Shop", "version": "2.1", "description": "Sells."}
    assert document["servers"] == [{"url": "https://a"}]
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_validators(tmp_path: Path, path: str) -> None:
    """A client that has the current version gets 304."""
    client = app_of(tmp_path).test_client()
    first = client.get(path)
    assert first.status_code == 200
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.head(path).headers["ETag"] == first.headers["ETag"]
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("path", ["/docs", "/<name>"])
def test_routes_of_the_app(tmp_path: Path, path: str) -> None:
    """A route of the app with exactly the path wins, and one with a variable does not."""
    client = app_of(tmp_path, router_with(path)).test_client()
    assert (client.get("/docs").is_json) is (path == "/docs")
    plain = app_of(tmp_path)
    plain.add_url_rule(path, "own", lambda **values: "own")
    assert (plain.test_client().get("/docs").data == b"own") is (path == "/docs")


def test_before_request(tmp_path: Path) -> None:
    """A login in `before_request` applies to the document and the page."""
    app = app_of(tmp_path)
    app.before_request(lambda: abort(401))
    assert app.test_client().get("/docs").status_code == 401
    assert app.test_client().get("/openapi.json").status_code == 401


def test_script_name(tmp_path: Path) -> None:
    """Below a SCRIPT_NAME the document names it as the server, and the page links the document there."""
    client = app_of(tmp_path, router_with("/lamps")).test_client()
    for number in range(12):
        document = client.get("/openapi.json", environ_overrides={"SCRIPT_NAME": f"/v{number}"}).json
        assert document is not None
        assert document["servers"] == [{"url": f"/v{number}"}]
        assert list(document["paths"]) == ["/lamps"]
    page = client.get("/docs", environ_overrides={"SCRIPT_NAME": "/v1"}).text
    assert 'href="/v1/openapi.json"' in page
    document = client.get("/openapi.json").json
    assert document is not None
    assert "servers" not in document


def test_page(tmp_path: Path) -> None:
    """The page needs no script and no other request, and its style is allowed by its digest."""
    response = app_of(tmp_path, router_with("/lamps")).test_client().get("/docs")
    policy = response.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in response.text
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//| style=| on[a-z]+=", response.text)
    for anchor in re.findall(r'href="#([^"]+)"', response.text):
        assert f'id="{anchor}"' in response.text
    assert "/lamps" in response.text


def test_hostile_texts(tmp_path: Path) -> None:
    """Texts of the application are escaped in the page."""
    router = HttpRouter("own", __name__)

    @router.get("/x")
    def own() -> None:
        """Show <script>alert(1)</script> and `<b>`.

        More <img src=x>.
        """

    page = app_of(tmp_path, router, openapi=OpenAPI(title="<i>", description="</style><p>")).test_client().get("/docs")
    for text in ("<script", "<img", "<b>", "<i>", "</style><p>"):
        assert text not in page.text
    assert "<code>&lt;b&gt;</code>" in page.text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: OpenAPI(path="openapi.json"),
        lambda: OpenAPI(docs="/docs/<name>"),
        lambda: OpenAPI(path="/docs"),
        lambda: OpenAPI(title=1),  # type: ignore[arg-type]
        lambda: OpenAPI(version=None),  # type: ignore[arg-type]
        lambda: OpenAPI(servers="https://a"),
    ],
)
def test_wrong_options(wrong: Any) -> None:
    """An option that cannot work is an error at registration."""
    with pytest.raises(RegistrationError):
        wrong()


@pytest.mark.parametrize("wrong", ["/openapi.json", "", 1, {}, {"title": "Shop"}, OpenAPI, ("Shop", "1")])
def test_openapi_of_another_type(wrong: Any) -> None:
    """`openapi=` of any other type is an error that says what to write."""
    with pytest.raises(RegistrationError, match=r'openapi=.* must be True or OpenAPI\(title="Shop", version="1"\)'):
        ConvexHTTP(openapi=wrong)


@pytest.mark.parametrize(
    ("openapi", "title"), [(False, None), (None, None), (True, "test_app"), (OpenAPI(title="Shop"), "Shop")]
)
def test_accepted_values_of_openapi(tmp_path: Path, openapi: Any, title: str | None) -> None:
    """`openapi=` is a boolean, None for no document, or an `OpenAPI`."""
    app = Flask("test_app", instance_path=str(tmp_path))
    ConvexHTTP(app, openapi=openapi)
    response = app.test_client().get("/openapi.json")
    document: Any = response.get_json(silent=True)
    assert (document["info"]["title"] if response.status_code == 200 else None) == title


def test_one_extension_for_two_apps(tmp_path: Path) -> None:
    """Each app of one extension has its own document."""
    convex = ConvexHTTP(openapi=True)
    apps = [Flask(name, instance_path=str(tmp_path)) for name in ("one", "two")]
    titles = []
    for app in apps:
        convex.init_app(app)
        document = app.test_client().get("/openapi.json").json
        assert document is not None
        titles.append(document["info"]["title"])
    assert titles == ["one", "two"]
