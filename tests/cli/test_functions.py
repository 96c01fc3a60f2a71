"""`flask convex run`, `functions` and `routes`."""

import pytest

from tests.cli.conftest import Convex


def test_run_prints_the_result_as_json(convex: Convex) -> None:
    """An internal mutation runs, and its result is JSON for people and for programs."""
    made = convex("run", "shop:add", '{"name": "Anna", "tags": ["a"]}', "--json")
    assert made.status == 0
    assert made.json.startswith("lamps_")
    listed = convex("run", "shop:lamps")
    assert listed.json[0]["name"] == "Anna"
    assert len(listed.out.splitlines()) > 1


def test_what_a_function_prints_is_not_its_result(convex: Convex) -> None:
    """Output of the function itself goes to stderr."""
    listed = convex("run", "shop:lamps", "--json")
    assert listed.out == "[]\n"
    assert "looking" in listed.err


def test_run_reads_arguments_from_stdin(convex: Convex) -> None:
    """`-` stands for stdin."""
    assert convex("run", "shop:add", "-", stdin='{"name": "Anna"}').status == 0
    assert convex("data", "lamps", "--json").json[0]["name"] == "Anna"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"nam": "Anna"}', "`$.nam`"),
        ('{"name": 1}', "`$.name`"),
        ("{}", "`$.name`"),
    ],
)
def test_wrong_arguments_name_the_path(convex: Convex, arguments: str, message: str) -> None:
    """Arguments that do not match fail with the path of the wrong one."""
    refused = convex("run", "shop:add", arguments)
    assert refused.status == 1
    assert refused.err.startswith("Error: shop:add")
    assert message in refused.err
    assert refused.exception is None


@pytest.mark.parametrize("arguments", ["{", "[]", "1", "null", "", "\udcff", "[" * 5000])
def test_arguments_that_are_no_json_object_are_wrong_usage(convex: Convex, arguments: str) -> None:
    """What is not a JSON object ends with status 2."""
    refused = convex("run", "shop:add", arguments)
    assert refused.status == 2
    assert "ARGUMENTS" in refused.err


def test_an_application_error_is_one_line(convex: Convex) -> None:
    """A ConvexError of the function is printed without a traceback."""
    refused = convex("run", "shop:refuse", "--json")
    assert refused.status == 1
    assert "No lamps today" in refused.err
    assert refused.out == ""
    assert refused.exception is None


def test_an_unexpected_exception_keeps_its_traceback(convex: Convex) -> None:
    """A mistake in the function comes out as it is."""
    crashed = convex("run", "shop:crash")
    assert crashed.status == 1
    assert isinstance(crashed.exception, ZeroDivisionError)


def test_an_unknown_function_is_an_error(convex: Convex) -> None:
    """A name that no function has fails and says how to list them."""
    refused = convex("run", "shop:nothing")
    assert refused.status == 1
    assert "flask convex functions" in refused.err


def test_functions_are_listed_with_their_types(unmigrated: Convex) -> None:
    """The list has kind, visibility, arguments and result, and needs no database."""
    listed = {function["name"]: function for function in unmigrated("functions", "--json").json}
    assert listed["shop:add"] == {
        "name": "shop:add",
        "kind": "mutation",
        "public": False,
        "arguments": [
            {"name": "name", "type": "str", "required": True},
            {"name": "tags", "type": "list[str] | None", "required": False, "default": "None"},
        ],
        "returns": "Id[Lamp]",
        "description": "Store a lamp.",
    }
    shown = unmigrated("functions").out
    assert "name: str, tags: list[str] | None = None" in shown
    assert "internal" in shown


def test_routes_are_listed_as_they_were_written(unmigrated: Convex) -> None:
    """The list has full paths, prefixes with a star, CORS origins and who sends webhooks."""
    listed = {(route["path"], route["methods"][0]): route for route in unmigrated("routes", "--json").json}
    assert listed["/shop/", "GET"]["endpoint"] == "shop.index"
    assert listed["/shop/files/*", "GET"]["webhook"] is None
    origins = ["https://a.example", "https://b.example"]
    assert listed["/shop/lamps/", "POST"]["cors"] == {"origins": origins, "credentials": False}
    assert ("/shop/lamps/", "OPTIONS") in listed
    assert listed["/shop/hook", "POST"]["webhook"] == "hmac"
    assert "https://a.example, https://b.example" in unmigrated("routes").out
