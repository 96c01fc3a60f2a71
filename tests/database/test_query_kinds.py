"""Indexes on dates, UUIDs and decimals, on both engines."""

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal

import pytest

from flask_convex_http import Document, DocumentValidationError, Page, UniqueConstraintError, between, gte, unique
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed

pytestmark = EACH_ENGINE

DAYS = [datetime.date(999, 12, 31), datetime.date(2024, 2, 29), datetime.date(2024, 3, 1)]
KEYS = [uuid.UUID(int=1), uuid.UUID(int=2**64), uuid.UUID(int=2**127)]
PRICES = [Decimal("-100"), Decimal("-9.95"), Decimal(0), Decimal("0.001"), Decimal("9.90"), Decimal("10"), Decimal(100)]


class Offer(
    Document,
    table="offers",
    indexes={"by_day": ["day"], "by_key": unique("key"), "by_price": ["price", "day"], "by_code": unique("code")},
):
    day: datetime.date | None = None
    key: uuid.UUID | None = None
    price: Decimal | None = None
    code: Decimal | None = None
    note: Decimal = Decimal("1.50")


@pytest.fixture(name="app")
def _app() -> Iterator[Deployment]:
    with deployed(Offer) as app:
        app.add(*(Offer(day=day) for day in reversed(DAYS)))
        app.add(*(Offer(key=key) for key in reversed(KEYS)))
        app.add(*(Offer(price=price) for price in reversed(PRICES)))
        yield app


def test_indexes_order_by_value(app: Deployment) -> None:
    """An index on a date, a UUID or a decimal orders by value, and None comes first."""
    found = app.read(
        lambda db: [db.query(Offer).with_index(f"by_{name}").collect() for name in ("day", "key", "price")]
    )
    assert [one.day for one in found[0] if one.day is not None] == DAYS
    assert [one.key for one in found[1] if one.key is not None] == KEYS
    assert [one.price for one in found[2] if one.price is not None] == PRICES
    assert found[0][0].day is None and found[2][0].price is None


def test_ranges_and_equalities(app: Deployment) -> None:
    """`with_index` takes dates, UUIDs and decimals as equalities and as ends of ranges."""

    def values(name: str, **fields: object) -> list[object]:
        return app.read(lambda db: [getattr(one, name) for one in db.query(Offer).with_index(f"by_{name}", **fields)])

    assert values("day", day=gte(DAYS[1])) == DAYS[1:]
    assert values("day", day=DAYS[1]) == [DAYS[1]]
    assert values("key", key=KEYS[1]) == [KEYS[1]]
    assert values("price", price=between(Decimal("-9.95"), Decimal("9.9000"))) == PRICES[1:5]
    assert values("price", price=Decimal("9.9")) == [Decimal("9.9")]
    assert values("price", price=gte(Decimal("10.0"))) == PRICES[5:]


def test_equal_decimals_collide_in_a_unique_index(app: Deployment) -> None:
    """1.5 and 1.50 are one value in a unique index; an infinite decimal has no place in an index."""
    app.add(Offer(code=Decimal("1.5")), Offer(code=None), Offer(code=None))
    with pytest.raises(UniqueConstraintError):
        app.add(Offer(code=Decimal("1.50")))
    with pytest.raises(DocumentValidationError, match=r"Expected a finite decimal .* - at `\$\.code`"):
        app.add(Offer(code=Decimal("Infinity")))


def test_pages_continue_after_a_decimal(app: Deployment) -> None:
    """A cursor continues a page in an index on a decimal."""

    def page(cursor: str | None) -> Page[Offer]:
        bounds = gte(Decimal("-10"))
        return app.read(
            lambda db: db.query(Offer).with_index("by_price", price=bounds).paginate(num_items=2, cursor=cursor)
        )

    first = page(None)
    assert [one.price for one in [*first.page, *page(first.continue_cursor).page]] == PRICES[1:5]


def test_a_decimal_without_an_index_keeps_its_zeros(app: Deployment) -> None:
    """A decimal that no index contains reads back with the zeros at its end; an indexed one does not."""
    [one] = app.add(Offer(price=Decimal("7.70")))
    found = app.get(one)
    assert (str(found.note), str(found.price)) == ("1.50", "7.7")
    app.write(lambda db: db.delete(one))
