"""Timestamps that are not accepted."""

import pytest

from flask_convex_http import VerificationError
from flask_convex_http.webhooks.parsing import TimeFormat, parse_time


@pytest.mark.parametrize("text", ["99999999999999999999", "-1", "1e5", "", "soon", "1 ", "\u0663"])
@pytest.mark.parametrize(("form", "digits"), [("seconds", 12), ("milliseconds", 15)])
def test_a_timestamp_that_is_not_accepted_says_what_to_send(text: str, form: TimeFormat, digits: int) -> None:
    """The message for another timestamp has the form that is accepted, and not the text."""
    with pytest.raises(VerificationError) as caught:
        parse_time(text, form)
    assert str(caught.value) == f"Webhook timestamp is not 1 to {digits} digits, the {form} since 1970"
