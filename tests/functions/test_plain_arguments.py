"""Arguments of plain types get the same result without a closer look."""

import inspect
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, Id, Schema
from flask_convex_http.functions.arguments import Arguments
from flask_convex_http.functions.plain_arguments import PlainArguments
from flask_convex_http.validation.conversion import CHECK_ERRORS
from tests.lengths import examples


class Lamp(Document, table="lamps"):
    """A lamp."""

    name: str


class Text(str):
    """A text of a class of its own, which becomes a plain text."""

    __slots__ = ()


_HINTS: dict[str, Any] = {
    "text": str,
    "flag": bool,
    "lamp": Id[Lamp],
    "some_text": str | None,
    "some_lamp": Id[Lamp] | None,
    "number": int,
    "short": Annotated[str, msgspec.Meta(max_length=3)],
    "texts": list[str],
    "either": str | bool,
}
_ID = f"lamps_{'0123456789abcdef' * 2}"
_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("a", "", "\ud800", "abcd", _ID, _ID.upper(), f"{_ID}\n", f"others_{'0' * 32}", f"lamps_{'0' * 31}"),
        *(Text("a"), Text(_ID), True, False, None, 0, 1, 1.0, b"a", ["a"], {}, msgspec.UNSET),
    ]
)


def _arguments(hints: dict[str, Any]) -> Arguments:
    parameters = {name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in hints}
    arguments = Arguments(parameters, hints, "test")
    assert not arguments.bind(Schema(Lamp).id_prefixes)
    return arguments


_ALL = {name: _arguments({name: hint}) for name, hint in _HINTS.items()}


@settings(max_examples=examples(2000))
@given(st.sampled_from(list(_HINTS)), _VALUES, st.booleans())
def test_plain_arguments_equal_those_of_the_closer_look(name: str, value: Any, is_named_otherwise: bool) -> None:
    """Arguments are accepted without a closer look only if that has the same result, of the same type."""
    values = {"other" if is_named_otherwise else name: value}
    taken = PlainArguments({name: _HINTS[name]}).take(values)
    if taken is None:
        return
    closer = _ALL[name]
    expected = closer._check_rest(closer._conversion.python(values), True)
    assert (taken, type(taken[name])) == (expected, type(expected[name]))


@pytest.mark.parametrize(("name", "value"), [("text", "a"), ("flag", True), ("some_text", None), ("lamp", _ID)])
def test_plain_arguments_are_accepted_at_once(name: str, value: Any) -> None:
    """Texts, booleans, None and ids need no closer look."""
    assert PlainArguments({name: _HINTS[name]}).take({name: value}) == {name: value}


@pytest.mark.parametrize("name", ["number", "short", "texts", "either"])
def test_other_annotations_get_a_closer_look(name: str) -> None:
    """Bounds, lengths, containers and unions are left to the closer look."""
    assert PlainArguments({name: _HINTS[name]}).take({name: "a"}) is None


def test_an_argument_that_is_not_one_of_the_function_is_refused() -> None:
    """A wrong name, a missing argument or one too many is an error, as it is for other types."""
    arguments = _arguments({"text": str, "flag": bool})
    for values in ({"text": "a"}, {"text": "a", "flag": True, "more": 1}, {"text": "a", "other": True}):
        with pytest.raises(CHECK_ERRORS):
            arguments.check(values)
