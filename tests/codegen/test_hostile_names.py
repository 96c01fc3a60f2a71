"""Names and docstrings that mean something in the language of a client."""

import ast
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flask_convex_http import QueryCtx, query
from flask_convex_http.codegen.python_types import docstring
from flask_convex_http.codegen.typescript_types import comment
from flask_convex_http.web.openapi.texts import described
from tests.codegen.writing import imported, python, typescript

TEXTS = [
    'A quote at the end: "',
    'Three quotes at the end: """',
    'Four quotes at the end: """"',
    'A backslash and a quote: \\"',
    "A backslash at the end: \\",
    "*/ export const x = 1; /* **/",
    'One line.\n\nAnother one: """"',
    "Controls: \x00 \r \x0c \u2028 \ud800 end",
]
NAMES = ["_class", "__", "_1", "function", "string", "delete", "any", "isinstance", "dict", "str", "my-name", "_None"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_docstrings(text: str) -> None:
    """A docstring never ends early in a generated file, and keeps its printable characters."""
    lines = "\n".join(docstring(described(text), ""))
    (node,) = ast.parse(lines).body
    assert isinstance(node, ast.Expr)
    assert ast.literal_eval(node.value).rstrip("\n") == described(text)
    written = comment(described(text))
    assert written.encode()
    assert written.index("*/") == len(written) - 3


@pytest.mark.parametrize("name", NAMES)
def test_records(name: str, tmp_path: Path) -> None:
    """A record whose class has a reserved name, or no usable one, gets a name that works in both languages."""
    record = msgspec.defstruct(name, [("count", int)])

    def read(ctx: QueryCtx, *, value: Any) -> Any:
        return value

    read.__annotations__ |= {"value": record, "return": record}
    functions = [query(read)]
    declared = re.findall(r"export type (.*) = \{", typescript(functions)["api.d.ts"])
    assert declared
    assert not set(declared) & {"", "class", "function", "string", "delete", "any", "None"}
    assert all(each.isidentifier() for each in declared)
    with imported(python(functions), tmp_path) as module:
        assert module.encode({"a": [1, "b"]}) == {"a": [1, "b"]}
