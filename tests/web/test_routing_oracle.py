"""Random route tables and paths, compared with a plain implementation of the matching rules."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flask import Flask, Request, Response, jsonify
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter
from tests.lengths import SAMPLED, examples
from tests.web.apps import send

FUZZ = settings(max_examples=examples(200), deadline=None)
METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
SEGMENTS = ["a", "b", "ab", "A", "é", "a.b", "..", ".", "%2F", "%41", "a|b", "(x)+", " ", "a\nb", "?", "日本"]

Table = dict[tuple[str, str], str]


class Result(NamedTuple):
    """The result of a request: a route's label and suffix, or a status with the allowed methods."""

    status: int
    label: str = ""
    suffix: str | None = None
    allow: frozenset[str] = frozenset()


def paths(*, most: int, prefix: bool = False, request: bool = False) -> st.SearchStrategy[str]:
    """Generate paths of a few segments; paths of requests may have any slashes."""
    inner = st.lists(st.sampled_from(SEGMENTS if not request else [*SEGMENTS, "", ""]), max_size=most)
    ends = st.just("/") if prefix else st.sampled_from(["", "/"])
    return st.builds(lambda parts, end: ("/" + "/".join(parts) + end) if parts else "/", inner, ends)


def can_be_registered(path: str) -> bool:
    """Return whether a route with this path can be registered."""
    return not path.startswith("//")


KEYS = st.one_of(
    paths(most=3).filter(can_be_registered),
    paths(most=2, prefix=True).filter(can_be_registered).map(lambda path: path + "*"),
)
TABLES = st.lists(st.tuples(KEYS, st.sampled_from(METHODS)), unique=True, max_size=12).map(
    lambda pairs: {pair: f"route{number}" for number, pair in enumerate(pairs)}
)


REQUESTS = st.tuples(st.sampled_from([*METHODS, "HEAD"]), paths(most=4, request=True))


def expected(table: Table, method: str, path: str) -> Result:
    """Return the result by the rules.

    For each method an exact path comes before a prefix, and a longer prefix before a shorter one. 405 is only for a
    path that has other methods.
    """
    wanted = "GET" if method == "HEAD" else method
    if path.startswith("//"):
        return expected_of_slashes(table, method, path)
    if (path, wanted) in table:
        return Result(200, table[path, wanted])
    prefixes = [key[:-1] for key, of in table if key.endswith("/*") and of == wanted and path.startswith(key[:-1])]
    if prefixes:
        longest = max(prefixes, key=len)
        return Result(200, table[longest + "*", wanted], path.removeprefix(longest))
    allow = {of for key, of in table if key == path or (key.endswith("/*") and path.startswith(key[:-1]))}
    allow |= {"HEAD"} if "GET" in allow else set()
    return Result(405, allow=frozenset(allow)) if allow else Result(404)


def expected_of_slashes(table: Table, method: str, path: str) -> Result:
    """Return the result of a path that starts with `//`: the prefix `/`, unless another route has the path without."""
    found = expected(table, method, "/" + path.lstrip("/"))
    root = table.get(("/*", "GET" if method == "HEAD" else method))
    return Result(200, root, path[1:]) if found.status == 200 and found.label == root else Result(404)


def build_app(table: Table) -> Flask:
    """Return an app with these routes, whose handlers return their label and the suffix."""
    app = Flask("oracle", instance_path="/nowhere")
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    ConvexHTTP(app)
    http = HttpRouter("http", "oracle")
    for (key, method), label in table.items():
        where: dict[str, Any] = {"path_prefix": key[:-1]} if key.endswith("/*") else {"rule": key}
        http.route(**where, method=method, endpoint=label)(handler(label))
    app.register_blueprint(http)
    return app


def handler(label: str) -> Callable[..., Response]:
    """Return a handler that returns this label and the suffix."""

    def handle(ctx: ActionCtx, request: Request, **values: Any) -> Response:
        response = jsonify(values.get("suffix"))
        response.headers["X-Label"] = label
        return response

    return handle


def actual(app: Flask, method: str, path: str) -> Result:
    """Return the result of a request to the app."""
    response = send(app, method, path)
    if response.status_code == 200:
        suffix = None if method == "HEAD" else response.json
        return Result(200, response.headers["X-Label"], suffix)
    allow = response.headers.get("Allow", "")
    return Result(response.status_code, allow=frozenset(allow.split(", ") if allow else []))


@given(
    table=TABLES,
    requests=st.lists(REQUESTS, min_size=1, max_size=12),
)
@example(table={("/a", "GET"): "r"}, requests=[("GET", "//a"), ("POST", "//a"), ("GET", "/a/"), ("HEAD", "/a")])
@example(table={("/a", "GET"): "r", ("/*", "GET"): "all"}, requests=[("GET", "//a"), ("HEAD", "//"), ("POST", "//a")])
@example(table={("/a/b", "POST"): "r"}, requests=[("GET", "/a//b"), ("POST", "/a//b"), ("GET", "/a/b")])
@example(table={("/a/b", "POST"): "r", ("/a/*", "PUT"): "p"}, requests=[("GET", "/a//b"), ("GET", "///a")])
@SAMPLED
@FUZZ
def test_matching_follows_the_rules(table: Table, requests: list[tuple[str, str]]) -> None:
    """Every request has the result of the rules, and no request is redirected."""
    app = build_app(table)
    for key, method in table:
        requests = [*requests, (method, key.rstrip("*"))]
    for method, path in requests:
        want, found = expected(table, method, path), actual(app, method, path)
        if "//" in path and want.status != 200:
            assert found.status in (404, 405), (method, path)
        else:
            assert found == (want._replace(suffix=None) if method == "HEAD" else want), (method, path)


def test_order_of_registration_does_not_matter() -> None:
    """The order of registration does not matter."""
    table = {("/*", "GET"): "all", ("/a/*", "GET"): "below", ("/a/b", "GET"): "exact", ("/a/b/", "GET"): "slash"}
    backwards = dict(reversed(table.items()))
    for path in ("/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/a//b"):
        want = expected(table, "GET", path)
        assert actual(build_app(table), "GET", path) == actual(build_app(backwards), "GET", path) == want


def test_invalid_utf8_in_a_path_is_no_error() -> None:
    """Bytes that are not UTF-8 match a prefix and arrive as replacement characters."""
    app = build_app({("/*", "GET"): "all", ("/a", "GET"): "a"})
    response = send(app, "GET", "/", PATH_INFO="/\xff\xfe")
    assert response.json == "\ufffd\ufffd"
    assert send(build_app({}), "GET", "/", PATH_INFO="/\xff").status_code == 404
