"""Names of functions: the module below the common package and the function's own name."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    FunctionCallError,
    FunctionNotFoundError,
    QueryCtx,
    RegistrationError,
    Schema,
    internal_mutation,
    query,
)
from flask_convex_http.functions.registry import Registry
from flask_convex_http.testing import memory_backend

FUNCTION = """
from flask_convex_http import query

@query
def get(ctx) -> str:
    return __name__
"""

Write = Callable[[dict[str, str]], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes modules which can be imported during the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write_modules(sources: dict[str, str]) -> None:
        for name, source in sources.items():
            path = tmp_path / Path(*name.split("."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)

    return write_modules


def names(*sources: Any) -> list[str]:
    return [function.name for function in Registry(sources)]


def test_single_module(write: Write) -> None:
    """The functions of a single module have its last name."""
    write({"registry_single.items": FUNCTION})
    assert names("registry_single.items") == ["items:get"]


def test_nested_modules(write: Write) -> None:
    """Names of several modules leave out the common package, and further levels become a path."""
    write({"registry_nested.items": FUNCTION, "registry_nested.admin.deep.users": FUNCTION})
    assert names("registry_nested.items", "registry_nested.admin.deep.users") == ["admin/deep/users:get", "items:get"]


def test_no_common_package(write: Write) -> None:
    """Modules without a common package keep their full names; a common prefix of a name is no package."""
    write({"registry_a.items": FUNCTION, "registry_ab.items": FUNCTION, "registry_top": FUNCTION})
    assert names("registry_a.items", "registry_ab.items") == ["registry_a/items:get", "registry_ab/items:get"]
    assert names("registry_top", "registry_a.items") == ["registry_a/items:get", "registry_top:get"]


def test_package_and_its_module(write: Write) -> None:
    """A package may contain functions itself, beside its modules."""
    write({"registry_package.__init__": FUNCTION, "registry_package.items": FUNCTION})
    assert names("registry_package", "registry_package.items") == [
        "registry_package/items:get",
        "registry_package:get",
    ]


def test_module_objects_and_functions(write: Write) -> None:
    """Modules and single functions may be passed as objects, and nothing is registered twice."""
    write({"registry_objects.items": FUNCTION, "registry_objects.admin.users": FUNCTION})
    import registry_objects.admin.users as users  # type: ignore[import-not-found]
    import registry_objects.items as items  # type: ignore[import-not-found]

    assert names(items, "registry_objects.items", items.get) == ["items:get"]
    assert names(items.get, users.get) == ["items:get", "users:get"]
    assert names(items, users, users.get) == ["admin/users:get", "items:get"]


def test_imported_functions_stay_where_they_are(write: Write) -> None:
    """An imported function belongs to the module that defines it, and an alias does not register it again."""
    write(
        {
            "registry_imports.items": FUNCTION + "\nfetch = get\n",
            "registry_imports.users": "from registry_imports.items import get",
        }
    )
    assert names("registry_imports.items", "registry_imports.users") == ["items:get"]


def test_two_functions_of_one_name(write: Write) -> None:
    """Two functions with one name are refused."""
    write({"registry_one.items": FUNCTION, "registry_two.items": FUNCTION})
    import registry_one.items as one  # type: ignore[import-not-found]
    import registry_two.items as two  # type: ignore[import-not-found]

    with pytest.raises(RegistrationError, match="Two functions are called items:get; rename one"):
        Registry([one.get, two.get])


@pytest.mark.parametrize("source", ["registry_missing.items", "registry_missing", "", ".items", 1, None, len])
def test_what_is_no_module(source: Any) -> None:
    """A source that is neither a module nor a function is refused by name."""
    with pytest.raises(RegistrationError, match=r"^functions= "):
        Registry([source])


def test_a_text_instead_of_a_list() -> None:
    """A single name instead of a list is refused with the code to write."""
    with pytest.raises(RegistrationError, match=r"write functions=\['registry_a'\]"):
        Registry("registry_a")


def test_a_module_that_fails(write: Write) -> None:
    """An error inside a module is raised as it is, also for a missing import of its own."""
    write({"registry_fails.items": "import registry_not_there", "registry_fails.users": "1 / 0"})
    with pytest.raises(ModuleNotFoundError, match="registry_not_there"):
        Registry(["registry_fails.items"])
    with pytest.raises(ZeroDivisionError):
        Registry(["registry_fails.users"])


@query
def ping(ctx: QueryCtx) -> str:
    return "pong"


@internal_mutation
def change(ctx: Any) -> None: ...


def test_calls_by_name() -> None:
    """A function is found by its name as well as by reference, internal ones included."""
    with memory_backend(Schema(), [ping, change]) as backend:
        assert [function.name for function in backend.functions] == ["test_registry:change", "test_registry:ping"]
        assert backend.ctx().run_query("test_registry:ping") == "pong"
        assert backend.ctx().run_mutation("test_registry:change") is None
        assert backend.functions.find("test_registry:ping") is ping


def test_calls_by_reference_need_no_name() -> None:
    """An unregistered function can be called by reference."""
    with memory_backend(Schema()) as backend:
        assert backend.ctx().run_query(ping) == "pong"


@pytest.mark.parametrize("name", ["test_registry:pong", "ping", "", "a" * 10_000, "\ud800", ":", "test_registry.ping"])
def test_no_such_name(name: str) -> None:
    """An unknown name is a FunctionNotFoundError that names the command that lists functions."""
    with (
        memory_backend(Schema(), [ping]) as backend,
        pytest.raises(FunctionNotFoundError, match="flask convex functions") as caught,
    ):
        backend.ctx().run_query(name)
    assert len(str(caught.value)) < 200


def test_wrong_kind() -> None:
    """Running a function as another kind is an error that shows the code to write."""
    with memory_backend(Schema(), [ping, change]) as backend:
        ctx: Any = backend.ctx()
        with pytest.raises(FunctionCallError, match=r"ping is a query and was run as a mutation; write ctx.run_query"):
            ctx.run_mutation(ping)
        with pytest.raises(FunctionCallError, match="change is a mutation and was run as a query"):
            ctx.run_query("test_registry:change")


class LooksLikeAQuery:
    kind = "query"


@pytest.mark.parametrize("thing", [len, None, 1, LooksLikeAQuery()])
def test_not_a_function(thing: Any) -> None:
    """An undecorated function cannot be run."""
    with memory_backend(Schema()) as backend, pytest.raises(FunctionCallError, match="decorate it with @query or"):
        backend.ctx().run_query(thing)
