"""How deep values are nested."""

import json
from typing import Any

import msgspec
import pytest

from flask_convex_http.nesting import exceeds, json_exceeds
from flask_convex_http.validation.levels import levels_of


class Tree(msgspec.Struct):
    children: list["Tree"] = []


class Line(msgspec.Struct):
    texts: dict[str, tuple[str, ...]]


def nested(levels: int, *, as_list: bool = True) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = [value, "]"] if as_list else {"a": value, "{": 1}
    return value


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("levels", [0, 1, 31, 32, 33, 500])
def test_levels_are_counted(levels: int, as_list: bool) -> None:
    """A value exceeds a limit if it has more levels of lists and dicts, whatever its texts contain."""
    value = nested(levels, as_list=as_list)
    assert exceeds(value, 32) == (levels > 32)
    assert json_exceeds(json.dumps(value), 32) == json_exceeds(json.dumps(value).encode(), 32) == (levels > 32)


def test_wide_values_are_not_deep() -> None:
    """Brackets beside each other and in texts are no levels."""
    assert not json_exceeds(json.dumps([[]] * 1000 + ["[" * 1000]), 2)


@pytest.mark.parametrize(
    ("annotation", "levels"),
    [(int, 0), (str | None, 0), (list[str], 1), (dict[str, list[int]] | None, 2), (Line, 3), (tuple[Line, int], 4)],
)
def test_types_bound_the_levels(annotation: Any, levels: int) -> None:
    """A type without Any bounds the levels of its values."""
    assert levels_of(msgspec.inspect.type_info(annotation)) == levels


@pytest.mark.parametrize("annotation", [Any, list[Any], dict, list, Tree, dict[str, Tree]])
def test_types_that_bound_nothing(annotation: Any) -> None:
    """Any, and a type that contains itself, may have any number of levels."""
    assert levels_of(msgspec.inspect.type_info(annotation)) == float("inf")
