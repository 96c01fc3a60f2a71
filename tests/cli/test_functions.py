"""`flask convex run`, `functions` and `routes`."""

import pytest

from tests.cli.conftest import Convex


def test_run_prints_the_result_as_json(convex: Convex) -> None:
    """An internal mutation runs, and its result is printed as JSON."""
    created = convex("run", "shop:add", '{"name": "Anna", "tags": ["a"]}', "--json")
    assert created.status == 0
    assert created.json.startswith("lamps_")
    listed = convex("run", "shop:lamps")
    assert listed.json[0]["name"] == "Anna"
    assert len(listed.out.splitlines()) > 1


def test_output_of_a_function_goes_to_stderr(convex: Convex) -> None:
    """Text that the function prints goes to stderr, apart from its result."""
    listed = convex("run", "shop:lamps", "--json")
    assert listed.out == "[]\n"
    assert "looking" in listed.err


def test_run_reads_arguments_from_stdin(convex: Convex) -> None:
    """The argument `-` reads the arguments from stdin."""
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
    """Wrong arguments are an error that names the path of the value."""
    refused = convex("run", "shop:add", arguments)
    assert refused.status == 1
    assert refused.err.startswith("Error: shop:add")
    assert message in refused.err
    assert refused.exception is None


@pytest.mark.parametrize("arguments", ["{", "[]", "1", "null", "", "\udcff", "[" * 5000])
def test_arguments_that_are_no_json_object_are_wrong_usage(convex: Convex, arguments: str) -> None:
    """Arguments that are no JSON object are wrong usage."""
    refused = convex("run", "shop:add", arguments)
    assert refused.status == 2
    assert "ARGUMENTS" in refused.err


def test_an_application_error_is_one_line(convex: Convex) -> None:
    """A ConvexError of the function is an error in one line."""
    refused = convex("run", "shop:refuse", "--json")
    assert refused.status == 1
    assert "No lamps today" in refused.err
    assert refused.out == ""
    assert refused.exception is None


def test_an_unexpected_exception_keeps_its_traceback(convex: Convex) -> None:
    """An unexpected exception of the function keeps its traceback."""
    crashed = convex("run", "shop:crash")
    assert crashed.status == 1
    assert isinstance(crashed.exception, ZeroDivisionError)


def test_an_unknown_function_is_an_error(convex: Convex) -> None:
    """An unknown function is an error that names the command to list them."""
    refused = convex("run", "shop:nothing")
    assert refused.status == 1
    assert "flask convex functions" in refused.err
    assert "did you mean" not in refused.err


@pytest.mark.parametrize("name", ["lamps", "store:lamps"])
def test_a_function_without_its_module_is_named(convex: Convex, name: str) -> None:
    """A function's name without its module, or with another one, is an error that has the whole name."""
    assert "did you mean shop:lamps?" in convex("run", name).err


def test_similar_functions_are_named(convex: Convex) -> None:
    """A misspelt function is an error that has the similar names."""
    assert "did you mean shop:lamps?" in convex("run", "shop:lampss").err


def test_functions_are_listed_with_their_types(unmigrated: Convex) -> None:
    """Functions are listed with kind, visibility, arguments and result, without a database."""
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


def test_routes_are_listed(unmigrated: Convex) -> None:
    """Routes are listed with their whole path, a star for a prefix, CORS origins and webhook provider."""
    listed = {(route["path"], route["methods"][0]): route for route in unmigrated("routes", "--json").json}
    assert listed["/shop/", "GET"]["endpoint"] == "shop.index"
    assert listed["/shop/files/*", "GET"]["webhook"] is None
    origins = ["https://a.example", "https://b.example"]
    assert listed["/shop/lamps/", "POST"]["cors"] == {"origins": origins, "credentials": False}
    assert ("/shop/lamps/", "OPTIONS") in listed
    assert listed["/shop/hook", "POST"]["webhook"] == "hmac"
    assert "https://a.example, https://b.example" in unmigrated("routes").out
