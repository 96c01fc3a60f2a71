"""ctx.db.apply_if_newer: the final state for every order of states, and every wrong use."""

import enum
import itertools
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    Document,
    DocumentValidationError,
    Id,
    RegistrationError,
    Schema,
    UniqueConstraintError,
    unique,
)
from flask_convex_http.database.db import DatabaseWriter
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class Plan(enum.Enum):
    FREE = "free"
    PAID = "paid"


class Address(msgspec.Struct, frozen=True):
    city: str
    lines: dict[str, int] = {}


class Customer(
    Document,
    table="customers",
    indexes={
        "by_sender": unique("sender", "number"),
        "by_email": unique("email"),
        "by_name": ["name"],
    },
):
    number: str
    updated: int | None = 0
    sender: str | None = "shop"
    name: str = ""
    email: str | None = None
    revision: float = 0.0
    seen: datetime | None = None
    plan: Plan = Plan.FREE
    photo: bytes = b""
    address: Address | None = None
    tags: frozenset[str] = frozenset()
    extra: Any = None


class Plain(Document, table="plains", indexes={"by_name": ["name"]}):
    name: str


@pytest.fixture(name="app", scope="module")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Customer, Plain) as app:
        yield app


_numbers = map(str, itertools.count(1))


def apply(app: Deployment, *states: Customer, version: str | Sequence[str] = "updated") -> list[Id[Customer] | None]:
    """Apply states, each in a transaction of its own, and return the result of each."""

    def one(state: Customer) -> Id[Customer] | None:
        return app.write(lambda db: db.apply_if_newer(state, by="by_sender", version=version))

    return [one(state) for state in states]


def stored(app: Deployment, number: str) -> Customer:
    """Return the one customer with a number."""

    found = app.read(lambda db: db.query(Customer).with_index("by_sender", sender="shop", number=number).unique())
    assert found is not None
    return found


def altered(state: Any, **changes: Any) -> Customer:
    """Return the same state with other values in some fields."""
    changed: Customer = msgspec.structs.replace(state, **changes)
    return changed


def unstored(customer: Customer) -> Customer:
    """Return a stored customer as it was before it was stored."""
    return altered(customer, id=msgspec.UNSET, creation_time=msgspec.UNSET)


# --- which one is left -----------------------------------------------------------------------------------------------


def test_first_state_is_inserted(app: Deployment) -> None:
    """The first state of an object is inserted and its id returned."""
    number = next(_numbers)
    [customer_id] = apply(app, Customer(number=number, updated=5, name="Ada"))
    assert customer_id == stored(app, number).id
    assert (stored(app, number).name, stored(app, number).updated) == ("Ada", 5)


def test_newer_state_replaces_all_fields_and_keeps_the_id(app: Deployment) -> None:
    """A newer state replaces every field, defaults included; id and creation time stay."""
    number = next(_numbers)
    apply(app, Customer(number=number, updated=5, name="Ada", tags=frozenset({"a"})))
    before = stored(app, number)
    assert apply(app, Customer(number=number, updated=6, revision=1.0)) == [before.id]
    after = stored(app, number)
    assert (after.id, after.creation_time) == (before.id, before.creation_time)
    assert (after.updated, after.name, after.tags, after.revision) == (6, "", frozenset(), 1.0)


def test_older_and_identical_states_change_nothing(app: Deployment) -> None:
    """A state that is older than the stored one, or equal to it, returns None and changes nothing."""
    number = next(_numbers)
    newest = Customer(number=number, updated=5, name="Ada", extra={"b": 1, "a": [2]})
    apply(app, newest)
    before = stored(app, number)
    assert apply(app, Customer(number=number, updated=4, name="Zoe"), newest) == [None, None]
    assert stored(app, number) == before


def test_things_do_not_touch_each_other(app: Deployment) -> None:
    """A state is compared only with the document that has the same values in all fields of the index."""
    number = next(_numbers)
    apply(app, Customer(number=number, updated=9))
    [other_sender] = apply(app, Customer(number=number, sender="bank", updated=1))
    [other_number] = apply(app, Customer(number=next(_numbers), updated=1))
    assert len({stored(app, number).id, other_sender, other_number}) == 3


def test_later_fields_of_the_version_decide_among_equal_first_ones(app: Deployment) -> None:
    """The fields of a version are compared in order: a later one decides when the earlier ones are equal."""
    number = next(_numbers)
    version = ("updated", "revision")
    states = [Customer(number=number, updated=u, revision=r) for u, r in [(2, 1.0), (1, 9.0), (2, 0.5), (2, 1.5)]]
    assert [answer is not None for answer in apply(app, *states, version=version)] == [True, False, False, True]
    assert (stored(app, number).updated, stored(app, number).revision) == (2, 1.5)


@pytest.mark.parametrize(
    ("field", "lower", "greater"),
    [
        ("updated", -1, 10),
        ("revision", 2, 10.5),
        ("revision", -math.inf, math.inf),
        ("name", "10", "9"),
        ("name", "Z", "a"),
        ("photo", b"\x01", b"\xff"),
        ("plan", Plan.FREE, Plan.PAID),
        ("seen", datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_version_may_be_of_any_type_with_an_order(app: Deployment, field: str, lower: Any, greater: Any) -> None:
    """Numbers, text, bytes, enums and times are versions, in the order that an index of the field has."""
    for states, changed in ([(lower, greater), [True, True]], [(greater, lower), [True, False]]):
        number = next(_numbers)
        answers = apply(app, *(Customer(number=number, **{field: value}) for value in states), version=field)
        assert [answer is not None for answer in answers] == changed
        assert getattr(stored(app, number), field) == greater


def test_version_that_was_none_is_older_than_everything(app: Deployment) -> None:
    """A state stored before its version was known is replaced by the first state with a version."""
    number = next(_numbers)
    app.add(Customer(number=number, updated=None, name="Ada"))
    apply(app, Customer(number=number, updated=-5, name="Zoe"))
    assert (stored(app, number).updated, stored(app, number).name) == (-5, "Zoe")


# --- equal versions --------------------------------------------------------------------------------------------------

TIES = {
    "an earlier field": (Customer(number="", name="a", revision=9), Customer(number="", name="b", revision=1)),
    "none before a value": (Customer(number=""), Customer(number="", seen=datetime.min.replace(tzinfo=UTC))),
    "numbers as numbers": (Customer(number="", revision=9), Customer(number="", revision=10)),
    "infinities": (Customer(number="", revision=-math.inf), Customer(number="", revision=math.inf)),
    "structures": (Customer(number="", address=Address("a")), Customer(number="", address=Address("b"))),
    "any value": (Customer(number="", extra={"a": 1, "b": 2}), Customer(number="", extra={"b": 3, "a": 1})),
}


@pytest.mark.parametrize("case", TIES)
def test_tie_is_broken_by_the_values(app: Deployment, case: str) -> None:
    """Of two states with the same version, the one with the greater values remains, in either order of arrival."""
    for order in (TIES[case], TIES[case][::-1]):
        number = next(_numbers)
        apply(app, *(altered(state, number=number) for state in order))
        assert unstored(stored(app, number)) == altered(TIES[case][1], number=number)


def test_states_that_are_written_differently_are_equal(app: Deployment) -> None:
    """The same time in another zone, the same number, and keys in another order are the same state."""
    number = next(_numbers)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    one = Customer(number=number, seen=noon, revision=1.0, extra={"a": 1, "b": 2})
    same = Customer(
        number=number, seen=noon.astimezone(timezone(timedelta(hours=5))), revision=1, extra={"b": 2, "a": 1}
    )
    first, again = apply(app, one, same)
    assert (first is not None, again) == (True, None)


# --- any order -------------------------------------------------------------------------------------------------------

STATES = st.builds(
    Customer,
    number=st.sampled_from(["cus_1", "cus_2"]),
    updated=st.integers(0, 3),
    revision=st.sampled_from([0.0, -0.0, 1, math.inf]),
    name=st.sampled_from(["", "a", "é", "💡"]),
    seen=st.none() | st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 2), timezones=st.just(UTC)),
    plan=st.sampled_from(Plan),
    photo=st.sampled_from([b"", b"\xff"]),
    address=st.none() | st.builds(Address, st.sampled_from("ab"), st.dictionaries(st.sampled_from("xyz"), st.just(1))),
    tags=st.frozensets(st.sampled_from(["x", "y", "z"])),
    extra=st.recursive(st.none() | st.integers(0, 2), lambda part: st.dictionaries(st.sampled_from("ab"), part)),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Customer], list[Customer]]:
    """Return the same states in two orders, each of them any number of times."""
    states = draw(st.lists(STATES, min_size=1, max_size=5))
    repeated = [draw(st.lists(st.sampled_from(states), max_size=5)) for _ in range(2)]
    first, second = (draw(st.permutations([*states, *more])) for more in repeated)
    return first, second


def outcome(app: Deployment, states: Sequence[Customer], version: Sequence[str]) -> list[Customer]:
    """Return the final state of a history, without values that depend on the time of insertion."""

    def body(db: DatabaseWriter) -> list[Customer]:
        for state in states:
            db.apply_if_newer(state, by="by_sender", version=version)
        left = db.query(Customer).with_index("by_sender").collect()
        for customer in left:
            db.delete(customer.id)
        return [unstored(customer) for customer in left]

    return app.write(body)


@SAMPLED
def test_any_order_and_multiplicity_ends_in_the_same_state(each_engine: str) -> None:
    """Any order and number of states ends in the same state: the newest one of each object."""
    with deployed(Customer) as app:

        @given(histories=histories(), version=st.sampled_from([("updated",), ("updated", "revision"), ("seen",)]))
        @settings(max_examples=examples(150) if each_engine == "sqlite" else 40, deadline=None)
        def check(histories: tuple[list[Customer], list[Customer]], version: tuple[str, ...]) -> None:
            first, second = ([s for s in states if getattr(s, version[0]) is not None] for states in histories)
            left = outcome(app, first, version)
            assert left == outcome(app, second, version)
            newest = {s.number: max(rank(o, version) for o in first if o.number == s.number) for s in first}
            assert {customer.number: rank(customer, version) for customer in left} == newest

        check()


def rank(customer: Customer, version: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(customer, field) for field in version)


# --- wrong use -------------------------------------------------------------------------------------------------------


def refused(app: Deployment, error: type[Exception], message: str, document: Any = None, **arguments: Any) -> None:
    """Apply a state that must be refused with a message and must change nothing."""
    number = next(_numbers)
    given = Customer(number=number) if document is None else document
    options = {"by": "by_sender", "version": "updated", **arguments}
    with pytest.raises(error) as caught:
        app.write(lambda db: db.apply_if_newer(given, **options))
    assert message in str(caught.value)
    assert app.read(lambda db: db.query(Customer).filter(lambda row: row.number == number).collect()) == []


def test_index_must_be_a_constraint_of_the_table(app: Deployment) -> None:
    """An index that does not exist or is not unique is refused, and the message names the usable ones."""
    there = "use one of by_sender, by_email"
    refused(app, RegistrationError, f"customers.by_mail does not exist; {there}", by="by_mail")
    refused(app, RegistrationError, f"customers.by_name is not unique; {there}", by="by_name")
    refused(app, RegistrationError, f"customers.by_creation_time is not unique; {there}", by="by_creation_time")
    declare = 'plains.by_name is not unique; declare one, such as {"by_name": unique(...)}'
    refused(app, RegistrationError, declare, Plain(name="a"), by="by_name", version="name")


def test_version_must_be_fields_with_an_order(app: Deployment) -> None:
    """A version without fields, with an unknown field, or with a field that has no order is refused."""
    refused(app, RegistrationError, "needs at least one field", version=())
    refused(app, RegistrationError, "Customer has no such field; add one", version="updated_at")
    refused(app, RegistrationError, "Customer has no such field", version=["updated", "creation_time"])
    for field in ("address", "tags", "extra"):
        refused(app, RegistrationError, f"Customer.{field} is stored as JSON", version=("updated", field))


def test_none_says_neither_which_thing_nor_which_version(app: Deployment) -> None:
    """None in a field of the index or of the version is refused with its path."""
    number = next(_numbers)
    no_sender, no_version = Customer(number=number, sender=None), Customer(number=number, updated=None)
    refused(app, DocumentValidationError, "which document it is, got `null` - at `$.sender`", no_sender)
    refused(app, DocumentValidationError, "compare versions, got `null` - at `$.updated`", no_version)
    refused(app, DocumentValidationError, "at `$.email`", by="by_email")


def test_document_must_be_valid_and_new(app: Deployment) -> None:
    """A value that does not match, and a document that is stored already, are refused, newer or not."""
    [known] = apply(app, Customer(number=next(_numbers), updated=5))
    assert known is not None
    refused(app, DocumentValidationError, "has an id already", altered(app.get(known), updated=6))
    wrong: dict[str, Any] = {"number": "x", "updated": "6"}
    refused(app, DocumentValidationError, "- at `$.updated`", Customer(**wrong))
    assert app.get(known).updated == 5


def test_class_must_be_in_the_schema(app: Deployment) -> None:
    """A document of a class that is not in the schema is refused by name."""

    class Stranger(Document, table="strangers", indexes={"by_name": unique("name")}):
        name: str

    refused(app, RegistrationError, "Stranger is not in the schema", Stranger(name="a"), by="by_name", version="name")
    assert Schema(Stranger).tables.keys() == {"strangers"}


def test_other_constraints_hold(app: Deployment) -> None:
    """A state that violates another unique index is refused and changes nothing."""
    one, two = next(_numbers), next(_numbers)
    apply(app, Customer(number=one, email=f"{one}@x"), Customer(number=two, email=f"{two}@x"))
    with pytest.raises(UniqueConstraintError):
        apply(app, Customer(number=two, email=f"{one}@x", updated=1))
    assert stored(app, two).email == f"{two}@x"
