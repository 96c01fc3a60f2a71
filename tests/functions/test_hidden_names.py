"""Functions whose names are those of types."""

import sys
from pathlib import Path

import pytest

from flask_convex_http.functions.description import describe_function
from flask_convex_http.functions.registry import Registry

SOURCE = """
from __future__ import annotations

from flask_convex_http import QueryCtx, query

@query
def list(ctx: QueryCtx, *, names: list[str]) -> list[str]:
    return names
"""


def test_a_function_named_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function may be named `list` where annotations are texts: they mean what they meant at its definition."""
    (tmp_path / "names_of_types.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry(["names_of_types"])
    found = describe_function(registry.find("names_of_types:list"))
    assert (found.arguments[0].type, found.returns) == ("list[str]", "list[str]")
    del sys.modules["names_of_types"]
