"""The app of these tests: a library whose functions have types of every kind."""

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from flask_convex_http import (
    ActionCtx,
    Document,
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Schema,
    StoredFile,
    action,
    internal_query,
    mutation,
    query,
)

T = TypeVar("T")


class Shelf(enum.Enum):
    """Where a book is."""

    HALL = "hall"
    ROOM = "room"


class Address(msgspec.Struct):
    """The address of a reader."""

    street_name: str
    zip_code: str | None = None


class Reader(Document, table="readers"):
    """A person who borrows books."""

    full_name: str
    address: Address


class Book(Document, table="books", indexes={"by_title": ["title", "printed_on"]}):
    """A book.

    Attributes:
        title: Its title.
    """

    title: str
    printed_on: datetime.date | None = None
    borrowed_by: Id[Reader] | None = None
    cover: Id[StoredFile] | None = None
    copies: int = 1
    price: decimal.Decimal = decimal.Decimal(0)
    barcode: bytes = b""
    shelf: Shelf = Shelf.HALL
    tag_names: list[str] = []


class Lent(msgspec.Struct, tag="lent", tag_field="kind_of"):
    until: datetime.datetime


class Lost(msgspec.Struct, tag="lost", tag_field="kind_of"):
    found_again: bool = False


class Chapter(msgspec.Struct):
    """A chapter, which has chapters."""

    title: str
    sub_chapters: list["Chapter"] = []


class Box(msgspec.Struct, Generic[T]):
    content: T
    weight: float


class Filter(TypedDict):
    words: list[str]
    max_pages: NotRequired[int]


class Size(NamedTuple):
    width: float
    height: float


@dataclass
class Order:
    title: str
    amounts: dict[str, int] = field(default_factory=dict)


class Renamed(msgspec.Struct, rename={"in_": "in", "content_type": "content-type"}):
    in_: str
    content_type: str
    other_one: str | UnsetType = UNSET


@query
def list_books(
    ctx: QueryCtx, *, words: Filter | None = None, num_items: int = 10, cursor: str | None = None
) -> Page[Book]:
    """Return books, newest first.

    Args:
        words: The words of the search.
    """
    return ctx.db.query(Book).order("desc").paginate(num_items=num_items, cursor=cursor)


@query
def list_readers(ctx: QueryCtx, *, pagination_opts: PaginationOptions) -> Page[Reader]:
    """Return readers by age."""
    return ctx.db.query(Reader).paginate(pagination_opts)


@query
def get(ctx: QueryCtx, *, book_id: Id[Book]) -> Book | None:
    """Return a book, or "nothing". */"""
    return ctx.db.get(book_id)


@mutation
def add_book(ctx: MutationCtx, *, book: Book, year: Literal[2025, 2026] = 2026) -> Id[Book]:
    return ctx.db.insert(book)


@mutation
def move(ctx: MutationCtx, *, item: Id[Book | Reader], to: Shelf, self: str = "") -> None:
    """Put something on a shelf."""


@query
def state(ctx: QueryCtx, *, of: Lent | Lost) -> Lent | Lost | None:
    return of


@query
def chapters(ctx: QueryCtx, *, root: Chapter) -> tuple[Chapter, int]:
    return root, 1


@query
def boxes(ctx: QueryCtx, *, one: Box[int]) -> list[Box[str]]:
    return [Box(str(one.content), one.weight)]


@action
def order(
    ctx: ActionCtx, *, orders: list[Order], size: Size, ids: dict[uuid.UUID, Any]
) -> dict[Shelf, tuple[float, float]]:
    return {Shelf.HALL: (size.width, size.height)}


@query
def renamed(ctx: QueryCtx, *, value: Renamed) -> Renamed:
    return value


@query
def times(
    ctx: QueryCtx, *, datetime: datetime.datetime, day: datetime.date, length: datetime.timedelta
) -> tuple[datetime.datetime, datetime.date, datetime.timedelta]:
    return datetime, day, length


def numbers(ctx: QueryCtx) -> frozenset[int]:
    return frozenset({1})


numbers.__name__ = "list"  # which hides list[...] in the class of a client
list_numbers = query(numbers)


@internal_query
def secret(ctx: QueryCtx) -> str:
    return "secret"


schema = Schema(Reader, Book)
functions = (
    list_books,
    list_readers,
    get,
    add_book,
    move,
    state,
    chapters,
    boxes,
    order,
    renamed,
    times,
    list_numbers,
    secret,
)
