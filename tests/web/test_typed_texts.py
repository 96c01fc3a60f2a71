"""Typed query strings, forms and path variables: texts converted to the annotations of a handler."""

import datetime
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from flask import Request

from flask_convex_http import HttpRouter, Id
from tests.web.apps import send
from tests.web.typed import FORM, Keys, Lamp, Paging, app_of, post


def _echo_query(query: Paging) -> Paging:
    return query


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("limit=5", {"limit": 5}),
        ("cursor=null", {"cursor": "null"}),
        ("cursor=", {"cursor": ""}),
        ("is_open=true", {"is_open": True}),
        ("is_open=False", {"is_open": False}),
        ("tags=a", {"tags": ["a"]}),
        ("tags=a&tags=b,c&tags=", {"tags": ["a", "b,c", ""]}),
        ("sizes=3", {"sizes": [3]}),
        ("price=1.5", {"price": 1.5}),
        ("since=2026-01-01T00:00:00Z", {"since": "2026-01-01T00:00:00Z"}),
        ("kind=b&unknown=1", {"kind": "b"}),
        ("cursor=%C3%A9+%26", {"cursor": "é &"}),
    ],
)
def test_a_query_string_is_converted(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    """Texts are coerced to the types of the fields, repeated keys are a list, and absent fields take their defaults."""
    http = HttpRouter("http", __name__)
    http.get("/x")(_echo_query)
    response = send(app_of(tmp_path, http), "GET", "/x", QUERY_STRING=text)
    assert response.status_code == 200, response.text
    assert response.json == msgspec.to_builtins(Paging()) | expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limit=0", ">= 1 - at `$.limit`"),
        ("limit=101", "$.limit"),
        ("limit=five", "$.limit"),
        ("limit=", "$.limit"),
        ("limit=+5", "$.limit"),
        ("limit=5.0", "$.limit"),
        ("limit=1e1", "$.limit"),
        ("limit=5&limit=6", "Expected one value, got 2 - at `$.limit`"),
        ("limit=" + "9" * 5000, "$.limit"),
        ("is_open=maybe", "$.is_open"),
        ("sizes=1&sizes=x", "$.sizes[1]"),
        ("price=nan", "finite number - at `$.price`"),
        ("price=-Infinity", "finite number - at `$.price`"),
        ("since=5", "RFC3339 encoded datetime - at `$.since`"),
        ("since=2026-01-01T00:00:00", "timezone"),
        ("kind=c", "$.kind"),
    ],
)
def test_a_query_string_that_does_not_match(tmp_path: Path, text: str, message: str) -> None:
    """A query string that does not match is 400 with the path of the field."""
    http = HttpRouter("http", __name__)
    http.get("/x")(_echo_query)
    response = send(app_of(tmp_path, http), "GET", "/x", QUERY_STRING=text)
    assert response.status_code == 400
    assert message in (response.json or {})["error"]
    assert len(response.data) < 500


class Renamed(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Fields with other names on the wire."""

    page_size: int
    lamp: Id["Lamp"] | None = None


def test_unknown_and_renamed_fields(tmp_path: Path) -> None:
    """Unknown fields and the names on the wire follow the rules of the struct, and ids belong to their table."""
    http = HttpRouter("http", __name__)

    @http.get("/x")
    def x(query: Renamed) -> Renamed:
        return query

    lamp, desk = ("lamps_" + "0" * 32, "desks_" + "0" * 32)
    app = app_of(tmp_path, http)
    assert send(app, "GET", "/x", QUERY_STRING=f"pageSize=3&lamp={lamp}").json == {"pageSize": 3, "lamp": lamp}
    assert "$.page_size" in send(app, "GET", "/x", QUERY_STRING="pageSize=3&page_size=3").text
    assert "Missing required field `pageSize`" in send(app, "GET", "/x").text
    other = send(app, "GET", "/x", QUERY_STRING=f"pageSize=3&lamp={desk}")
    assert (other.status_code, "lamps" in other.text) == (400, False)
    assert "$.lamp" in other.text


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Keys, {"name": "1", "size": 2}),
        (dict[str, str], {"name": "1", "size": "2"}),
        (dict[str, list[int]], {"name": [1], "size": [2]}),
        (dict[str, Any], {"name": "1", "size": "2"}),
        (dict, {"name": "1", "size": "2"}),
    ],
)
def test_types_of_query_strings(tmp_path: Path, annotation: Any, expected: dict[str, Any]) -> None:
    """A query string may be a TypedDict, or a dict of texts or of lists."""
    http = HttpRouter("http", __name__)

    def handler(query: Any) -> Any:
        return query

    handler.__annotations__["query"] = annotation
    http.get("/x")(handler)
    assert send(app_of(tmp_path, http), "GET", "/x", QUERY_STRING="name=1&size=2").json == expected


# --- forms -----------------------------------------------------------------------------------------------------------


def _echo_form(form: Paging) -> Paging:
    return form


def test_a_form_is_converted(tmp_path: Path) -> None:
    """A form, urlencoded or multipart, is coerced as a query string is; another content type is 415."""
    http = HttpRouter("http", __name__, max_form_fields=3)
    http.post("/x")(_echo_form)
    multipart = b'--x\r\nContent-Disposition: form-data; name="limit"\r\n\r\n7\r\n--x--'
    app = app_of(tmp_path, http)
    assert (post(app, "/x", b"limit=5&tags=a", FORM).json or {})["tags"] == ["a"]
    assert (post(app, "/x", multipart, "multipart/form-data; boundary=x").json or {})["limit"] == 7
    wrong = post(app, "/x", b"limit=x", FORM)
    assert post(app, "/x", b"{}").status_code == 415
    assert post(app, "/x", b"a=1&a=2&a=3&a=4", FORM).status_code == 413
    assert (wrong.status_code, "$.limit" in wrong.text) == (400, True)


# --- the variables of a path ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (int, {"5": 5, "-5": -5}, ["x", "5.5", "5.0", "9" * 30, "nan", " 5"]),
        (float, {"1.5": 1.5}, ["x", "nan", "inf"]),
        (bool, {"true": True}, ["maybe"]),
        (datetime.date, {"2026-01-31": "2026-01-31"}, ["2026-02-31", "1"]),
        (uuid.UUID, {str(uuid.UUID(int=1)): str(uuid.UUID(int=1))}, ["1"]),
        (Literal["a", "b"], {"a": "a"}, ["c"]),
        (Id[Lamp], {"lamps_" + "0" * 32: "lamps_" + "0" * 32}, ["x", "desks_" + "0" * 32]),
        (Annotated[str, msgspec.Meta(max_length=3)], {"abc": "abc"}, ["abcd"]),
        (int | None, {"5": 5}, ["null"]),
        (str, {"null": "null"}, []),
    ],
)
def test_a_variable_is_converted(tmp_path: Path, annotation: Any, right: dict[str, Any], wrong: list[str]) -> None:
    """A path variable is converted to its annotation, and one that does not convert is 404."""
    http = HttpRouter("http", __name__)

    def handler(it: Any) -> Any:
        return {"it": it}

    handler.__annotations__["it"] = annotation
    http.get("/x/<it>")(handler)
    http.get(path_prefix="/below/")(handler)
    app = app_of(tmp_path, http)
    for path in ("/x/", "/below/"):
        assert {text: (send(app, "GET", path + text).json or {})["it"] for text in right} == right
        assert {send(app, "GET", path + text).status_code for text in wrong} <= {404}


def test_converters_of_urls(tmp_path: Path) -> None:
    """What a URL converter made is checked against the annotation, and the variables of the router's prefix too."""
    http = HttpRouter("http", __name__, url_prefix="/<tenant>")

    @http.get("/<int:number>/<uuid:key>")
    def show(tenant: Literal["a", "b"], number: Annotated[int, msgspec.Meta(le=9)], key: uuid.UUID) -> dict[str, Any]:
        return {"tenant": tenant, "number": number, "key": key}

    key = str(uuid.UUID(int=1))
    app = app_of(tmp_path, http)
    assert send(app, "GET", f"/a/9/{key}").json == {"tenant": "a", "number": 9, "key": key}
    assert [send(app, "GET", path).status_code for path in (f"/c/9/{key}", f"/a/10/{key}")] == [404, 404]


def test_a_variable_beats_a_parameter_of_its_name(tmp_path: Path) -> None:
    """A path variable named query is the variable, and the same handler may take the query string on another route."""
    http = HttpRouter("http", __name__)

    @http.get("/search/<query>")
    def search(query: str) -> dict[str, str]:
        return {"query": query}

    def either(request: Request, query: dict[str, str]) -> dict[str, Any]:
        return {"query": query}

    http.get("/either")(either)
    http.get("/either/<any(a):query>", endpoint="by_path")(_any_query)
    app = app_of(tmp_path, http)
    assert send(app, "GET", "/search/lamps").json == {"query": "lamps"}
    assert send(app, "GET", "/either", QUERY_STRING="a=1").json == {"query": {"a": "1"}}
    assert send(app, "GET", "/either/a").json == {"query": "a"}


def _any_query(query: Literal["a"]) -> dict[str, Any]:
    return {"query": query}
