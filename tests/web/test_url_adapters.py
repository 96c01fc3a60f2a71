"""URL adapters of requests match as those of Flask do."""

from typing import Any

import pytest
from flask import Flask, Request, request, url_for
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, RequestRedirect
from werkzeug.test import EnvironBuilder

from flask_convex_http import ConvexHTTP, HttpRouter
from flask_convex_http.web.routing.url_adapters import RequestAdapter
from tests.lengths import examples

_RULES = ("/", "/items", "/items/<id>", "/items/<int:number>/parts", "/slash/", "/slash/<path:rest>", "/pages/1")
_PATHS = (
    *("", "/", "//", "/items", "/items/", "//items", "/items/7", "/items/7/parts", "/items/x/parts", "/slash"),
    *("/slash/", "/slash/a/b", "/router", "/router/", "/router/a", "/pages/1", "/pages", "/p\u00e4th", "/items/\u20ac"),
)
_HOSTS = (
    "localhost",
    "LOCALHOST",
    "localhost:80",
    "example.com:8000",
    "[::1]:5000",
    "x" * 70 + ".com",
    "a..b",
    "b\u00fc",
    "",
)
_METHODS = ("GET", "get", "POST", "HEAD", "OPTIONS", "PURGE")


def _view(**values: Any) -> str:
    return "done"


def _app(*, convex: bool, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config |= {"CONVEX_WORKER": "off", **config}
    if convex:
        ConvexHTTP(app)
    for number, rule in enumerate(_RULES):
        app.add_url_rule(rule, f"view_{number}", _view, methods=["GET", "POST"])
    app.add_url_rule("/pages/<int:page>", "page", _view)
    app.add_url_rule("/pages/", "page", _view, defaults={"page": 1})
    return app


def _outcome(app: Flask, environ: dict[str, Any]) -> Any:
    current = Request(environ)
    try:
        adapter = app.create_url_adapter(current)
        assert adapter is not None
        rule, values = adapter.match(return_rule=True)
    except RequestRedirect as redirect:
        return redirect.new_url
    except HTTPException as error:
        return error.code, sorted(getattr(error, "valid_methods", None) or ())
    return rule.rule, rule.endpoint, dict(values), current.host, _attributes(adapter)


def _attributes(adapter: MapAdapter) -> dict[str, Any]:
    return {name: value for name, value in vars(adapter).items() if name not in ("map", "exact")}


_with_convex, _by_flask = _app(convex=True), _app(convex=False)
_named_with_convex, _named = (_app(convex=convex, SERVER_NAME="example.com:8000") for convex in (True, False))


@settings(max_examples=examples(1000))
@given(
    st.sampled_from(_PATHS),
    st.sampled_from(_HOSTS),
    st.sampled_from(_METHODS),
    st.sampled_from(("http", "https")),
    st.sampled_from(("", "a=1&b=2", "\u00e4=1")),
    st.sampled_from(("", "/mounted", "/m\u00fc")),
    st.booleans(),
)
def test_adapters_match_as_those_of_flask_do(
    path: str, host: str, method: str, scheme: str, query: str, script: str, is_socket: bool
) -> None:
    """An adapter finds the rule, the variables, the redirect or the error that Flask's finds, at every request."""
    environ = EnvironBuilder("/", method="GET").get_environ()
    texts = {"PATH_INFO": path, "HTTP_HOST": host, "QUERY_STRING": query, "SCRIPT_NAME": script}
    environ |= {name: text.encode().decode("latin-1") for name, text in texts.items()}
    environ |= {"REQUEST_METHOD": method, "wsgi.url_scheme": scheme}
    if is_socket:
        environ |= {"HTTP_CONNECTION": "keep-alive, Upgrade", "HTTP_UPGRADE": "websocket"}
    for app, other in ((_with_convex, _by_flask), (_named_with_convex, _named)):
        expected = _outcome(other, dict(environ))
        assert [_outcome(app, dict(environ)) for _ in range(2)] == [expected] * 2


def test_a_request_without_a_host_matches() -> None:
    """A request of HTTP/1.0 without a Host header is matched by the address of the server."""
    environ = EnvironBuilder("/items").get_environ()
    del environ["HTTP_HOST"]
    expected = _outcome(_by_flask, dict(environ))
    assert [_outcome(_with_convex, dict(environ)) for _ in range(2)] == [expected] * 2


def test_untrusted_hosts_are_rejected_whatever_was_accepted_before() -> None:
    """A host outside of TRUSTED_HOSTS gets 400, also if it was accepted before they were set."""
    app = _app(convex=True)
    client = app.test_client()
    assert client.get("/items", base_url="http://other.example").status_code == 200
    app.config["TRUSTED_HOSTS"] = ["example.com"]
    assert client.get("/items", base_url="http://other.example").status_code == 400
    assert client.get("/items", base_url="http://example.com").status_code == 200


def test_the_number_of_kept_hosts_and_rules_is_bounded() -> None:
    """Hosts, methods and paths that clients make up do not fill the memory."""
    app = _app(convex=True)
    client = app.test_client()
    for number in range(500):
        client.get("/" * (number % 50) + "/items", base_url=f"http://host-{number}.example")
        for path in ("//items", "/items", "/items/1"):
            client.open(path, method=f"METHOD{number}" if number % 2 else "GET")
    adapters: Any = app.create_url_adapter
    assert len(adapters._hosts) <= 200
    assert list(adapters._exact) == [("GET", "/items")]


def test_urls_are_built_in_requests_that_were_seen_before() -> None:
    """`url_for` and `request.url` work in a request whose path and host were seen before."""
    app = _app(convex=True)
    http = HttpRouter("http", __name__)

    @http.get("/built")
    def built() -> list[str]:
        return [url_for("view_1"), url_for("page", page=2, _external=True), request.url, request.host]

    app.register_blueprint(http)
    client = app.test_client()
    answers = [client.get("/built?a=1", base_url="http://shop.example:8080").get_json() for _ in range(2)]
    url = "http://shop.example:8080"
    assert answers == [["/items", f"{url}/pages/2", f"{url}/built?a=1", "shop.example:8080"]] * 2


def test_variables_of_one_request_are_not_those_of_the_next() -> None:
    """A preprocessor of URL values may change them, and the next request has its own."""
    app = _app(convex=True)
    seen = []

    @app.url_value_preprocessor
    def note(endpoint: str | None, values: dict[str, Any] | None) -> None:
        assert values is not None
        seen.append(dict(values))
        values["language"] = "en"

    client = app.test_client()
    assert [client.get("/items").status_code for _ in range(3)] == [200] * 3
    assert seen == [{}] * 3


@pytest.mark.parametrize(
    "options", [{"host_matching": True, "static_host": "example.com"}, {"subdomain_matching": True}]
)
def test_apps_that_match_hosts_keep_the_adapters_of_flask(options: dict[str, Any]) -> None:
    """An app whose rules depend on the host, or that makes its adapters itself, keeps them."""
    app = Flask(__name__, **options)
    ConvexHTTP(app)
    assert "create_url_adapter" not in vars(app)


def test_an_app_that_makes_its_own_adapters_keeps_them() -> None:
    """A subclass of Flask with a `create_url_adapter` of its own is left as it is."""

    class Own(Flask):
        def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
            return super().create_url_adapter(request)

    app = Own(__name__)
    ConvexHTTP(app)
    with app.test_request_context("/"):
        assert not isinstance(app.create_url_adapter(request), RequestAdapter)
