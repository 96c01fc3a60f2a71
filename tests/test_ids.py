"""Ids: their form, their table, and `Id[...]` in annotations."""

import math
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http import Document, Id, RegistrationError, Schema, StoredFile
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.ids import TICKS, IdOf, first_id, has_time, new_id, table_of
from flask_convex_http.validation.validator import InvalidValueError, Validator

DIGITS = "0123456789abcdef" * 2


class User(Document, table="users"):
    name: str


class Team(Document, table="teams"):
    owner: Id["User"]
    member: Id[User] | None = None
    anyone: Id["User | Team"] | None = None
    photo: Id[StoredFile] | None = None


def test_id_names_its_table() -> None:
    """An id is the table's name, an underscore and 32 hexadecimal digits."""
    new = new_id("users", 1_700_000_000_000.5)
    assert table_of(new) == "users"
    assert new.startswith("users_018bcfe56800")
    assert len(new) == len("users_") + 32


@given(st.lists(st.floats(0, 2**48, exclude_max=True), min_size=2, max_size=20))
def test_ids_sort_as_their_creation_times(nows: list[float]) -> None:
    """Ids of documents sort by creation time as assigned, and `has_time` and `first_id` read the time of an id."""
    times = [CreationTimes(now).take() for now in nows]
    new = sorted((new_id("users", created), created) for created in times)
    assert [created for _, created in new] == sorted(times)
    for document_id, created in new:
        assert has_time(document_id, created) and not has_time(document_id, created + 1)
        assert first_id("users", math.floor(created)) <= document_id < first_id("users", math.floor(created) + 1)
        assert first_id("users", -1) < document_id < first_id("users", math.inf)


@given(st.floats(0, 2**48 - 10**6), st.integers(1, 50))
def test_documents_of_one_transaction_sort_in_their_order(now: float, count: int) -> None:
    """Each creation time and each id is greater than the one before, and close to the clock."""
    times = CreationTimes()
    times.begin(now)
    taken = [times.take() for _ in range(count)]
    ids = [new_id("users", created) for created in taken]
    assert ids == sorted(ids) and len(set(taken)) == count
    assert taken == sorted(taken) and 0 <= now - taken[0] < 1 / TICKS


@pytest.mark.parametrize("now", [1.7e12 + 1 / 4096, 2.0**41 + 1 / 2048, 1796134273730.7112, 0.0])
def test_a_creation_time_of_today_is_the_time_of_the_clock(now: float) -> None:
    """Where a float has no smaller steps than an id, the creation time is exact."""
    times = CreationTimes()
    times.begin(now)
    assert times.take() == now


def test_a_time_before_the_epoch_becomes_the_epoch() -> None:
    """The digits of an id cannot be negative."""
    times = CreationTimes()
    times.begin(-5000.5)
    assert times.take() == 0.0


def test_ids_do_not_repeat() -> None:
    """Ids made in the same millisecond differ."""
    assert len({new_id("users", 5) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "value",
    [
        "",
        "users",
        "_" + DIGITS,
        "users_" + DIGITS[:-1],
        "users_" + DIGITS + "0",
        "users_" + DIGITS.upper(),
        "users_" + "g" * 32,
        "users_" + DIGITS + "\n",
        " users_" + DIGITS,
        "users-" + DIGITS,
        "1users_" + DIGITS,
        "üsers_" + DIGITS,
        "users_" + "\u0661" * 32,
        "a" * 65 + "_" + DIGITS,
        "u\0_" + DIGITS,
        5,
        None,
        b"users_" + DIGITS.encode(),
        ["users_" + DIGITS],
    ],
)
def test_invalid_ids_have_no_table(value: Any) -> None:
    """Only lower-case hexadecimal digits after a table's name make an id; other values return None and never raise."""
    assert table_of(value) is None


@given(st.text() | st.from_regex(r"\A[a-z_]{1,4}_[0-9a-fA-F]{30,34}\Z"))
def test_table_of_any_text(value: str) -> None:
    """The table of any text is the start of the text, or None."""
    table = table_of(value)
    assert table is None or (value.startswith(f"{table}_") and len(value) == len(table) + 33)


@pytest.mark.parametrize("table", ["a_", "a_b", "a_" + "0" * 31, "_storage", "a" * 64])
def test_table_with_underscores(table: str) -> None:
    """The table is read from an id for any underscores and digits in its name."""
    assert table_of(new_id(table, 5)) == table


def test_id_is_a_plain_string_at_run_time() -> None:
    """Id(...) returns the text itself."""
    assert type(Id("users_1")) is str


@pytest.mark.parametrize(
    ("field", "tables"),
    [
        ("owner", {"users"}),
        ("member", {"users"}),
        ("anyone", {"users", "teams"}),
        ("photo", {"_storage"}),
    ],
)
def test_references_are_checked_against_their_tables(field: str, tables: set[str]) -> None:
    """Id[User], Id["User"], Id["User | Team"] and Id[StoredFile] accept ids of exactly these tables."""
    Schema(User, Team).extended([StoredFile])
    validator = Validator(typing.get_type_hints(Team, include_extras=True)[field], f"Team.{field}")
    validator.bind({"User": ("users",), "Team": ("teams",), "StoredFile": ("_storage",)})
    for table in ("users", "teams", "_storage", "other"):
        value = new_id(table, 5)
        if table in tables:
            assert validator.check(value) == value
        else:
            with pytest.raises(InvalidValueError, match="Expected an id of table"):
                validator.check(value)


def test_reference_to_two_classes() -> None:
    """Id[User | Team] accepts the ids of both."""
    validator = Validator(Id[User | Team], "here")
    assert validator.bind({"User": ("users",), "Team": ("teams",)}) == []
    assert validator.check(new_id("teams", 5))


def test_class_means_its_own_table() -> None:
    """A reference by class means that class's table, even if another class has the same name."""
    marker = IdOf((User,))
    assert marker.bind({"User": ("people",), "Person": ("users",)}) == []
    assert marker.tables == {"users"}


def test_class_outside_the_schema_is_unknown() -> None:
    """Binding returns the classes without a table, given by class or by name."""
    assert IdOf((User, "Team", "Nobody")).bind({"Team": ("teams",)}) == ["User", "Nobody"]


def test_repr_is_the_source_code() -> None:
    """The repr of an annotation is its source code."""
    assert repr(IdOf((User, "Team"))) == "Id[User | Team]"


def test_bare_id_is_rejected() -> None:
    """Id without a class raises RegistrationError, which suggests to name one."""
    with pytest.raises(RegistrationError, match=r"Id\[\.\.\.\]"):
        Validator(Id, "User.friend")
