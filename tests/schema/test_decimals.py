"""Decimals as text: the order of the texts is the order of the numbers."""

import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http.schema.decimals import from_text, to_text

finite = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)
small = st.integers(-300, 300).map(lambda number: decimal.Decimal(number) / 8)


@given(st.one_of(finite, small), st.one_of(finite, small))
def test_texts_order_as_numbers_do(one: decimal.Decimal, other: decimal.Decimal) -> None:
    """Two texts compare as their numbers do, equal numbers have one text, and each text reads as its number."""
    first, second = to_text(one), to_text(other)
    assert first is not None and second is not None
    assert (first < second, first == second) == (one < other, one == other)
    assert from_text(first) == one


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("12.50", "15001125 12.5"),
        ("-12.5", "-4998874~ -12.5"),
        ("-0.00", "0 0"),
        ("1200", "1500312 1.2E+3"),
        ("0.05", "149985 0.05"),
    ],
)
def test_the_texts_are_stable(number: str, text: str) -> None:
    """The text of a number does not change between releases, since rows have it."""
    assert to_text(decimal.Decimal(number)) == text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1E+5000", "1E-5000"])
def test_numbers_without_a_text(number: str) -> None:
    """A number that is not finite or is out of range has no text."""
    assert to_text(decimal.Decimal(number)) is None
