# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""Documents of users, with right and wrong fields."""

import datetime
from typing import Annotated, assert_type

from msgspec import Struct

from flask_convex_http import (
    Document,
    Id,
    Schema,
    StoredFile,
    renamed_from,
    unique,
)


class User(Document, table="users", indexes={"by_clerk_id": unique("clerk_id")}):
    clerk_id: str
    email: str | None
    name: str


class Member(Document, table="members", renamed_from=["people", "staff"], max_bytes=2**20):
    name: Annotated[str, renamed_from("full_name", "label")]
    age: Annotated[int | None, renamed_from("years")] = None


Member(name="Ada")
Member(full_name="Ada")  # mypy: Unexpected keyword argument "full_name" # pyright: No parameter named "full_name"


class Item(Document, table="items", indexes={"by_name": ["name"]}):
    name: str
    price: float = 0.0
    owner: Id[User] | None = None
    editor: "Id[User | Team] | None" = None
    photo: Id[StoredFile] | None = None
    tags: list[str] = []
    added_at: datetime.datetime | None = None


class Team(Document, table="teams"):
    name: str


class Size(Struct):
    width: int


schema = Schema(User, Item, Team)
Schema("items")  # mypy: incompatible type "str" # pyright: cannot be assigned to parameter "documents" of type "type[Document]"


item = Item(name="Lamp", price=3)
assert_type(item.id, Id[Item])
assert_type(item.creation_time, float)
assert_type(item.price, float)
Item()  # mypy: Missing named argument "name" # pyright: Argument missing for parameter "name"
Item("Lamp")  # mypy: Too many positional arguments # pyright: Expected 0 positional arguments
Item(name="Lamp", prise=3.0)  # mypy: Unexpected keyword argument "prise" # pyright: No parameter named "prise"
Item(name=3)  # mypy: incompatible type "int" # pyright: "Literal[3]" is not assignable to "str"
Item(name="Lamp", owner="users_1")  # mypy: expected "Id[User] | None" # pyright: not assignable to "Id[User]"
Item(name="Lamp", id=item.id)  # mypy: Unexpected keyword argument "id" # pyright: No parameter named "id"
User(clerk_id="user_1", name="Ada")  # mypy: Missing named argument "email" # pyright: missing for parameter "email"
item.name = "Desk"  # mypy: Property "name" defined in "Item" is read-only # pyright: Attribute "name" is read-only
item.id = item.id  # mypy: is read-only # pyright: Cannot assign to attribute "id"
item.nmae  # mypy: "Item" has no attribute "nmae" # pyright: Cannot access attribute "nmae"
item.owner.upper()  # mypy: has no attribute "upper" # pyright: "upper" is not a known attribute of "None"
