"""The modules for Convex's TypeScript clients."""

from pathlib import Path

import msgspec
import pytest

from flask_convex_http import Document, Id, MutationCtx, QueryCtx, Schema, mutation, query
from tests.codegen import library
from tests.codegen.writing import typescript

EXPECTED = Path(__file__).with_name("expected")


class Lamp(Document, table="desk_lamps"):
    is_on: bool


@query
def list_lamps(ctx: QueryCtx, *, how_many: int = 10) -> list[Lamp]:
    return []


@query
def sub_modules(ctx: QueryCtx) -> None:
    """A function with the name of a module."""


@mutation
def switch(ctx: MutationCtx, *, lamp_id: Id[Lamp]) -> bool:
    return True


@pytest.mark.parametrize("name", ["api.d.ts", "api.js", "dataModel.d.ts"])
def test_files(name: str) -> None:
    """The files have each type of the library, as the expected files show."""
    written = typescript(library.functions, library.schema)
    assert written[name] == (EXPECTED / name).read_text()


def test_order_does_not_matter() -> None:
    """The files are the same for functions and tables in another order."""
    other = typescript(reversed(library.functions), Schema(library.Book, library.Reader))
    assert other == typescript(library.functions, library.schema)


def test_names_as_in_python() -> None:
    """Without a casing, functions, arguments and fields have their names in Python."""
    files = typescript([list_lamps], Schema(Lamp), None)
    assert "list_lamps: FunctionReference" in files["api.d.ts"]
    assert "how_many?: number | bigint" in files["api.d.ts"]
    assert "is_on: boolean;" in files["dataModel.d.ts"]


def test_modules() -> None:
    """Modules are nested, and a function may have the name of a module beside it."""
    modules = {"list_lamps": "shop", "sub_modules": "shop", "switch": "shop/sub_modules"}
    files = typescript([list_lamps, sub_modules, switch], Schema(Lamp), modules=modules)
    assert files["api.d.ts"].partition("const api: ")[2] == (
        "{\n"
        "  shop: {\n"
        "    listLamps: FunctionReference<\n"
        '      "query", "public",\n'
        "      {\n"
        "        howMany?: number | bigint;\n"
        "      },\n"
        '      Array<Doc<"desk_lamps">>\n'
        "    >;\n"
        "    /** A function with the name of a module. */\n"
        '    subModules: FunctionReference<"query", "public", Record<string, never>, null> & {\n'
        '      switch: FunctionReference<"mutation", "public", { lampId: Id<"desk_lamps"> }, boolean>;\n'
        "    };\n"
        "  };\n"
        "};\n"
    )


def test_nothing() -> None:
    """An app without functions and tables has files too."""
    files = typescript([])
    assert "export declare const api: {\n};\n" in files["api.d.ts"]
    assert "import" not in files["api.d.ts"]
    assert "export type DataModel = {\n};\n" in files["dataModel.d.ts"]


def test_classes_of_one_name() -> None:
    """Two classes of one name get different names, and so does one whose name TypeScript uses."""

    class Doc(msgspec.Struct):
        one: str

    first = Doc

    class Doc(msgspec.Struct):  # type: ignore[no-redef]
        two: str

    @query
    def pair(ctx: QueryCtx, *, one: first) -> Doc:  # type: ignore[valid-type]
        return Doc("")

    text = typescript([pair])["api.d.ts"]
    assert "export type Doc2 = {\n  one: string;\n};" in text
    assert "export type Doc3 = {\n  two: string;\n};" in text
    assert "{ one: Doc2 }, Doc3>" in text


def test_arrays_with_a_tag() -> None:
    """A struct that JSON has as an array is one, with its tag first."""

    class Point(msgspec.Struct, array_like=True, tag="point"):
        across: float
        name: str | None = None

    @query
    def place(ctx: QueryCtx) -> Point:
        return Point(1.0)

    assert '["point", number, string | null]' in typescript([place])["api.d.ts"]
