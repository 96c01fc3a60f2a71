"""The page of functions: what they take, and a form that runs them."""

from typing import Any

import pytest
from flask import Flask

from tests.dashboard.shop import backend_of
from tests.dashboard.visitors import Visitor, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<script>alert(1)</script>"


def run(visitor: Visitor, name: str, mode: str = "run", /, **fields: Any) -> str:
    """Send the form of a function with these arguments, and return the text of the page."""
    more = {name: fields.pop(name) for name in ("as", "subject", "attributes") if name in fields}
    arguments = {f"arg-{name}": value for name, value in fields.items()}
    response = visitor.post(f"/functions/shop:{name}", mode=mode, **arguments, **more)
    assert HOSTILE not in response.text
    return text_of(response)


def test_list(visitor: Visitor) -> None:
    """The list has each function with its arguments, and can be filtered by name."""
    listed = text_of(visitor.get("/functions"))
    assert "add_order mutation internal customer: Id" in listed and "limit: int = 10" in listed
    assert "greet" not in text_of(visitor.get("/functions?name=ORDER"))
    assert "There are no functions of this name" in text_of(visitor.get("/functions?name=zzz"))


def test_a_function(visitor: Visitor) -> None:
    """A function shows its docstring, its result and a field for each argument."""
    page = text_of(visitor.get("/functions/shop:list_orders"))
    assert "Return the newest orders." in page and "list[Order]" in page and "Empty: the default, 10." in page
    assert visitor.get("/functions/shop:nothing").status_code == 404


def test_run(app: Flask, visitor: Visitor) -> None:
    """A mutation shows what it would change, then changes it, and the log has the request."""
    name = HOSTILE
    tried = run(visitor, "add_customer", "try", email="ada@shop.example", name=name)
    assert "Nothing was changed." in tried and f'name "{name}"'.replace("name ", "") in tried
    assert backend_of(app).history.log(limit=1) == []
    assert '"customers' in run(visitor, "add_customer", email="ada@shop.example", name=name)
    [commit] = backend_of(app).history.log(limit=1)
    assert commit.function == "shop:add_customer" and commit.request_id and commit.identity is None
    assert "[]" in run(visitor, "list_orders") and "Hello, Ada" in run(visitor, "greet", name="Ada")


def test_run_as_a_user(app: Flask, visitor: Visitor) -> None:
    """A function runs as the user whose subject and attributes are given."""
    given = {"as": "user", "subject": "user_1", "attributes": '{"email": "ada@shop.example"}'}
    run(visitor, "add_customer", email="a@shop.example", name="A", **given)
    assert backend_of(app).history.log(limit=1)[0].identity == "user_1"
    for wrong in ({"subject": ""}, {"attributes": "{"}, {"attributes": "[1]"}, {"attributes": '{"email": 1}'}):
        page = run(visitor, "add_customer", email="b@shop.example", name="B", **(given | wrong))
        assert "Enter the subject" in page or "The attributes are not right" in page
    assert len(backend_of(app).history.log(limit=5)) == 1


@pytest.mark.parametrize(
    ("name", "fields", "error"),
    [
        ("list_orders", {"limit": "many"}, "Enter a whole number."),
        ("add_order", {"customer": "nobody", "amount": "1"}, "Expected an id of table customers"),
        ("add_customer", {"email": "a@shop.example"}, "name"),
        ("fail", {"text": HOSTILE}, HOSTILE),
    ],
)
def test_errors(visitor: Visitor, name: str, fields: dict[str, str], error: str) -> None:
    """What is wrong is on the page, as text, and the fields keep what was entered."""
    page = run(visitor, name, **fields)
    assert error in page


def test_read_only(app: Flask, reader: Visitor) -> None:
    """A read-only session sees functions and runs none."""
    assert "This session is read-only" in text_of(reader.get("/functions/shop:add_customer"))
    assert reader.post("/functions/shop:add_customer", mode="run").status_code == 403
