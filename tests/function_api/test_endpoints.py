"""The endpoints of the function API: calls, their results, and every kind of failure."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from flask.signals import got_request_exception

from flask_convex_http import ActionCtx, FunctionApi, HttpRouter
from tests.databases import EACH_ENGINE
from tests.function_api.shop import admin_key, call, post, shop
from tests.web.apps import backend_of

pytestmark = EACH_ENGINE


def test_query_mutation_and_action(tmp_path: Path) -> None:
    """A client calls functions of each kind by their names in camelCase, and arguments and fields are camelCase too."""
    with shop(tmp_path) as app:
        created = call(app, "mutation", "createItem", {"name": "Lamp", "unitPrice": 3})
        assert created["status"] == "success"
        assert call(app, "action", "importItems", {"names": ["Chair", "Table"]}) == {"status": "success", "value": "3"}
        items = call(app, "query", "listItems", [{"maxItems": 2}])["value"]
        assert [item["name"] for item in items] == ["Chair", "Lamp"]
        assert items[1]["_id"] == created["value"]
        assert items[1].keys() == {"_id", "_creationTime", "name", "unitPrice", "inStock", "photo"}


def test_encoded_values(tmp_path: Path) -> None:
    """In the encoded format an int is an int64, a float a number and bytes are bytes, in both directions."""
    with shop(tmp_path) as app:
        args = {"name": "Lamp", "unitPrice": {"$float": "AAAAAAAA8H8="}, "inStock": {"$integer": "/JxOAAAAAAA="}}
        call(app, "mutation", "createItem", [args | {"unitPrice": 3, "photo": {"$bytes": "ABCD"}}])
        (encoded,) = call(app, "query", "listItems", [{}], form="convex_encoded_json")["value"]
        assert (encoded["inStock"], encoded["photo"]) == ({"$integer": "/JxOAAAAAAA="}, {"$bytes": "ABCD"})
        (clean,) = call(app, "query", "listItems", [{}], form="json")["value"]
        assert (clean["inStock"], clean["photo"], clean["unitPrice"]) == ("5151996", "ABCD", 3.0)
        raw = post(app, "/api/query", {"path": "shop:listItems", "args": {}, "format": "convex_encoded_json"}).text
        assert '"unitPrice":3.0' in raw  # Convex's Python client refuses 3 for a float


def test_application_error_keeps_its_data(tmp_path: Path) -> None:
    """A ConvexError is a response with status 200, its data and the request id, and the mutation is rolled back."""
    with shop(tmp_path) as app:
        failed = call(app, "mutation", "createItem", {"name": "refused"}, X_Request_Id="r-1")
        assert failed["status"] == "error"
        assert failed["errorData"] == {"code": "REFUSED", "itemName": "refused"}
        assert failed["errorMessage"].startswith("[Request ID: r-1] Server Error")
        assert call(app, "query", "listItems")["value"] == []


def test_mistake_of_the_application_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is a response with status 200 that only has the request id; the log has the traceback."""
    with shop(tmp_path) as app:
        failed = call(app, "mutation", "createItem", {"name": "broken"}, X_Request_Id="r-2")
        assert failed == {"status": "error", "errorMessage": "[Request ID: r-2] Server Error"}
        (record,) = [record for record in caplog.records if record.exc_info]
        assert (record.levelname, "r-2" in record.getMessage()) == ("ERROR", True)
        app.debug = True
        shown = call(app, "mutation", "createItem", {"name": "broken"})["errorMessage"]
        assert "Uncaught ValueError: a secret detail" in shown


def test_mistake_reaches_error_trackers(tmp_path: Path) -> None:
    """An unexpected exception is sent as Flask's signal, on which error trackers rely; an expected error is not."""
    seen: list[Exception] = []

    def keep(sender: Any, exception: Exception, **more: Any) -> None:
        seen.append(exception)

    with shop(tmp_path) as app, got_request_exception.connected_to(keep, app):
        for name in ("refused", "broken"):
            call(app, "mutation", "createItem", {"name": name})
        assert [type(error) for error in seen] == [ValueError]


def test_commit_log_names_the_request(tmp_path: Path) -> None:
    """The commit of a mutation that a client called is found by the id of its request."""
    with shop(tmp_path) as app:
        call(app, "mutation", "createItem", {"name": "Lamp"}, X_Request_Id="r-7")
        (commit,) = backend_of(app).history.log(limit=10, cause="r-7")
        assert commit.function == "shop:create_item"


def test_value_of_a_client_in_a_function(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A value that a function cannot use is an error without names of the application, and logged as a warning."""
    with shop(tmp_path) as app:
        failed = call(app, "query", "getItem", {"itemId": "nonsense"})["errorMessage"]
        assert failed.endswith("Uncaught ArgumentRangeError: Expected a valid id")
        assert {record.levelname for record in caplog.records if "getItem" in record.getMessage()} == {"WARNING"}


def test_result_that_clients_cannot_receive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A result whose key begins with `$` is a mistake of the application, which the log explains."""
    with shop(tmp_path) as app:
        failed = call(app, "query", "dollars", form="convex_encoded_json")
        assert failed["status"] == "error"
        assert "no key may begin with $" in caplog.text
        assert call(app, "query", "dollars", form="json")["value"] == {"$price": "1"}


def test_internal_and_missing_functions_look_alike(tmp_path: Path) -> None:
    """An internal function and a missing one have the same response, for each kind and any arguments."""
    with shop(tmp_path) as app:
        for kind in ("query", "mutation", "action"):
            texts = {
                call(app, kind, name, {"odd": 1}, X_Request_Id="r")["errorMessage"].replace(name, "NAME")
                for name in ("countItems", "count_items", "nothingHere", "default")
            }
            assert texts == {"[Request ID: r] Server Error\nCould not find public function for 'shop:NAME'."}


def test_wrong_kind_comes_before_wrong_arguments(tmp_path: Path) -> None:
    """A call of another kind is reported as that, although its arguments are wrong too."""
    with shop(tmp_path) as app:
        failed = call(app, "query", "createItem", {"nme": 1})
        assert "Trying to execute shop:createItem as Query, but it is defined as Mutation." in failed["errorMessage"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"maxItems": "5"}, "Expected `int`, got `str` - at `$.maxItems`"),
        ({"maxItem": 5}, "Unknown field `maxItem` - at `$.maxItem`"),
        ({"maxItems": 1.5}, "Expected `int`, got `float` - at `$.maxItems`"),
        ({"maxItems": 2**70}, "at `$.maxItems`"),
        ({"maxItems": {"$integer": "AAA="}}, "$integer must be base64 of the right length"),
        ({"maxItems": 1, "max_items": 1}, "twice, with two spellings"),
        ([{}, {}], "Instead received 2 arguments"),
        ("text", "Expected to receive an object"),
        (None, "Expected to receive an object"),
    ],
)
def test_wrong_arguments(tmp_path: Path, args: Any, expected: str) -> None:
    """Arguments that do not match are an error of the function with the path of the value as the client wrote it."""
    with shop(tmp_path) as app:
        response = post(app, "/api/query", {"path": "shop:listItems", "args": args})
        assert response.status_code == 200
        assert expected in response.get_json()["errorMessage"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"path": "shop listItems", "args": {}}, "BadConvexFunctionIdentifier"),
        ({"path": 7, "args": {}}, "BadConvexFunctionIdentifier"),
        ({"path": "shop:listItems"}, "BadJsonBody"),
        ({"args": {}}, "BadJsonBody"),
        ([], "BadJsonBody"),
        ({"path": "shop:listItems", "args": {}, "format": "xml"}, "BadFormat"),
        ({"path": "shop:listItems", "args": {}, "format": 1}, "BadFormat"),
    ],
)
def test_protocol_errors(tmp_path: Path, body: Any, code: str) -> None:
    """A call that is not well formed is 400 with a code and a message."""
    with shop(tmp_path) as app:
        response = post(app, "/api/query", body)
        assert (response.status_code, response.get_json()["code"]) == (400, code)
        assert response.get_json().keys() == {"code", "message"}


def test_overload_is_503(tmp_path: Path) -> None:
    """An overloaded deployment responds with 503 and Retry-After, unlike a function that fails."""
    with shop(tmp_path) as app:
        response = post(app, "/api/mutation", {"path": "shop:createItem", "args": {"name": "busy"}})
        assert (response.status_code, response.get_json()["code"]) == (503, "Overloaded")
        assert response.headers["Retry-After"] == "1"


def test_rate_limit_is_application_error(tmp_path: Path) -> None:
    """A rate limit of a function reaches the client as data that says when to retry."""
    with shop(tmp_path) as app:
        call(app, "mutation", "limited")
        failed = call(app, "mutation", "limited")
        assert failed["errorData"]["kind"] == "RateLimited"
        assert 0 < failed["errorData"]["retryAfter"] <= 60_000


def test_get_query(tmp_path: Path) -> None:
    """A query can be called with GET, with its arguments as JSON in the query string."""
    with shop(tmp_path) as app:
        client = app.test_client()
        found = client.get("/api/query", query_string={"path": "shop:echo", "args": '{"value":[1]}', "format": "json"})
        assert found.get_json() == {"status": "success", "value": [1.0]}
        for wrong in ({"path": "shop:echo"}, {"path": "shop:echo", "args": "{"}):
            refused = client.get("/api/query", query_string=wrong)
            assert (refused.status_code, refused.get_json()["code"]) == (400, "BadQueryArgs")


def test_run_and_function(tmp_path: Path) -> None:
    """`/api/run` calls a public function of any kind; `/api/function` calls every function with an admin key."""
    with shop(tmp_path) as app:
        key = admin_key(app)
        assert post(app, "/api/run/shop/createItem", {"args": {"name": "Lamp"}}).get_json()["status"] == "success"
        assert "Could not find public" in post(app, "/api/run/shop/countItems", {"args": {}}).text
        missing = post(app, "/api/run/shop", {"args": {}})
        assert (missing.status_code, missing.get_json()["code"]) == (400, "MissingIdentifier")
        body = {"path": "shop:countItems", "args": {}}
        assert post(app, "/api/function", body).status_code == 401
        counted = post(app, "/api/function", body, Authorization=f"Convex {key}")
        assert counted.get_json() == {"status": "success", "value": "1"}


def test_batch_reads_one_snapshot(tmp_path: Path) -> None:
    """A batch returns the response of each query, in order, and a failed one does not spoil the others."""
    with shop(tmp_path) as app:
        call(app, "mutation", "createItem", {"name": "Lamp"})
        queries = [{"path": f"shop:{name}", "args": {}} for name in ("listItems", "nothing", "listLines", "createItem")]
        results = post(app, "/api/query_batch", {"queries": queries}).get_json()["results"]
        assert [result["status"] for result in results] == ["success", "error", "success", "error"]
        assert results[2]["value"] == [{"itemName": "Lamp", "lineTotal": 1.0}]
        refused = post(app, "/api/query_batch", {"queries": queries * 50})
        assert (refused.status_code, refused.get_json()["code"]) == (400, "BadJsonBody")


def test_consistent_query(tmp_path: Path) -> None:
    """A query at the timestamp that `/api/query_ts` returns sees every commit of before, and none of later."""
    with shop(tmp_path) as app:
        call(app, "mutation", "createItem", {"name": "Lamp"})
        ts = app.test_client().post("/api/query_ts").get_json()["ts"]
        found = post(app, "/api/query_at_ts", {"path": "shop:listItems", "args": {}, "ts": ts}).get_json()
        assert [item["name"] for item in found["value"]] == ["Lamp"]
        call(app, "mutation", "createItem", {"name": "Later"})
        assert post(app, "/api/query_at_ts", {"path": "shop:listItems", "args": {}, "ts": ts}).get_json() == found
        assert len(call(app, "query", "listItems", {})["value"]) == 2
        for wrong in (None, 5, "AAAA", "//////////8="):
            refused = post(app, "/api/query_at_ts", {"path": "shop:listItems", "args": {}, "ts": wrong})
            assert (refused.status_code, refused.get_json()["code"]) == (400, "BadJsonBody")


@pytest.mark.parametrize("name", ["listPaged", "listPages"])
def test_pagination(tmp_path: Path, name: str) -> None:
    """A client reads pages with `paginationOpts`, which a function takes whole or as `num_items` and `cursor`."""
    with shop(tmp_path) as app:
        call(app, "action", "importItems", {"names": ["a", "b", "c"]})
        first = call(app, "query", name, {"paginationOpts": {"numItems": 2, "cursor": None, "id": 1}})["value"]
        assert ([item["name"] for item in first["page"]], first["isDone"]) == (["a", "b"], False)
        wanted = {"numItems": 2.0, "cursor": first["continueCursor"]}
        second = call(app, "query", name, {"paginationOpts": wanted})["value"]
        assert ([item["name"] for item in second["page"]], second["isDone"]) == (["c"], True)
        for cursor in ("x", first["continueCursor"][:-2]):
            failed = call(app, "query", name, {"paginationOpts": {"numItems": 2, "cursor": cursor}})
            assert "InvalidCursor" in failed["errorMessage"]
        for number in (0, "2", None, 2**70):
            failed = call(app, "query", name, {"paginationOpts": {"numItems": number, "cursor": None}})
            assert failed["status"] == "error"


def test_version(tmp_path: Path) -> None:
    """`/version` is a text."""
    with shop(tmp_path) as app:
        assert app.test_client().get("/version").mimetype == "text/plain"


def routes_of_app() -> HttpRouter:
    """Return routes that overlap those of the function API."""
    http = HttpRouter("http", __name__)

    @http.post("/api/query")
    def own(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"from": "app"}

    @http.get(path_prefix="/api/")
    def below(ctx: ActionCtx, request: Request, suffix: str) -> dict[str, str]:
        return {"from": suffix}

    @http.get(path_prefix="/")
    def page(ctx: ActionCtx, request: Request, suffix: str) -> dict[str, str]:
        return {"page": suffix}

    return http


def test_routes_of_the_app_win(tmp_path: Path) -> None:
    """A route of the app under `/api/` wins, by its path or its prefix. Other methods reach the function API."""
    with shop(tmp_path, routes_of_app()) as app:
        client = app.test_client()
        assert post(app, "/api/query", {}).get_json() == {"from": "app"}
        assert client.get("/api/query").get_json() == {"from": "query"}
        assert call(app, "mutation", "createItem", {"name": "Lamp"})["status"] == "success"
        assert client.get("/elsewhere").get_json() == {"page": "elsewhere"}
        assert client.get("/version").mimetype == "text/plain"


def preflight(app: Flask, path: str) -> Any:
    """Return the headers of the response to a browser's preflight."""
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization, content-type, convex-client"
    response = app.test_client().options(path, headers=asked)
    assert response.status_code == 204
    return response.headers


def test_cors(tmp_path: Path) -> None:
    """A page of any origin may call functions by default, errors of the protocol included."""
    with shop(tmp_path) as app:
        headers = preflight(app, "/api/mutation")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "convex-client" in headers["Access-Control-Allow-Headers"]
        refused = post(app, "/api/query", [], Origin="https://app.example")
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (400, "*")
    with shop(tmp_path, function_api=FunctionApi(cors=["https://app.example"])) as app:
        assert preflight(app, "/api/query")["Access-Control-Allow-Origin"] == "https://app.example"
        other = post(app, "/api/query", [], Origin="https://evil.example")
        assert "Access-Control-Allow-Origin" not in other.headers


def test_prefix_and_casing(tmp_path: Path) -> None:
    """With a prefix the endpoints are below it, and without casing names are those of Python."""
    with shop(tmp_path, function_api=FunctionApi(prefix="/convex", casing=None)) as app:
        body = {"path": "shop:create_item", "args": {"name": "Lamp", "unit_price": 2}}
        assert post(app, "/api/mutation", body).status_code == 404
        assert post(app, "/convex/api/mutation", body).get_json()["status"] == "success"
        found = post(app, "/convex/api/query", {"path": "shop:list_items", "args": {"max_items": 1}}).get_json()
        assert found["value"][0]["unit_price"] == 2.0
        assert "error" in post(app, "/convex/api/query", {"path": "shop:listItems", "args": {}}).get_json()["status"]


def test_off_by_default(tmp_path: Path) -> None:
    """Without `function_api=` no function can be called over HTTP."""
    with shop(tmp_path, function_api=False) as app:
        assert post(app, "/api/query", {"path": "shop:listItems", "args": {}}).status_code == 404
