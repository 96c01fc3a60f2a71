"""A bank in the database, and a model of it in memory, which must have the same accounts after the same steps.

The gold of the vault and the balances of all accounts add up to 0 after each transaction. The steps are chosen, and run
concurrently, by `test_model`.
"""

import contextlib
from collections.abc import Callable
from itertools import islice
from threading import Event
from typing import Literal, NamedTuple

import msgspec

from flask_convex_http import (
    ConvexError,
    ConvexHTTPError,
    Document,
    Id,
    MutationCtx,
    Page,
    QueryCtx,
    Schema,
    UniqueConstraintError,
    between,
    internal_mutation,
    internal_query,
    unique,
)
from flask_convex_http.functions.function import Function

#: Seconds to wait for another thread.
TIMEOUT = 30.0

Size = str | None
Order = Literal["asc", "desc"]


class Account(Document, table="accounts", indexes={"by_name": unique("name"), "by_size": ["size", "balance"]}):
    name: str
    balance: int = 0
    size: str | None = None


class Vault(Document, table="vaults"):
    """The only vault. `turns` counts the transactions, so that each knows its position among them."""

    gold: int = 0
    turns: int = 0


class Step(msgspec.Struct, frozen=True):
    """A step of a transaction.

    "open" adds an account, "patch" changes its name and balance, "replace" its size too. "part" runs further steps as a
    sub-transaction, and continues if that fails. "fail" raises an error.
    """

    do: Literal["open", "patch", "replace", "delete", "part", "fail"]
    name: str = ""
    new_name: str = ""
    balance: int = 0
    size: str | None = None
    steps: tuple["Step", ...] = ()


class Row(NamedTuple):
    """The compared fields of an account."""

    name: str
    balance: int
    size: str | None


Rows = tuple[Row, ...]


class Outcome(msgspec.Struct, frozen=True):
    """The result of a transaction: its position among all, and the accounts at its end."""

    turn: int
    accounts: list[Account]


class Gate:
    """Makes a function wait until the test opens it."""

    def __init__(self) -> None:
        self.reached, self.opened = Event(), Event()

    def wait(self) -> None:
        """Wait until the gate is opened."""
        self.reached.set()
        if not self.opened.wait(TIMEOUT):
            raise TimeoutError("The gate was never opened")


GATES: dict[str, Gate] = {}


def rows(accounts: list[Account]) -> Rows:
    """Return the compared fields of accounts."""
    return tuple(Row(account.name, account.balance, account.size) for account in accounts)


# --- in the database -------------------------------------------------------------------------------------------------


@internal_mutation
def create_vault(ctx: MutationCtx) -> None:
    """Create the vault."""
    ctx.db.insert(Vault())


@internal_mutation
def perform(ctx: MutationCtx, *, steps: list[Step]) -> Outcome:
    """Do all steps, or none."""
    for step in steps:
        _ACTIONS[step.do](ctx, step)
    vault = _vault(ctx)
    ctx.db.patch(vault.id, turns=vault.turns + 1)
    return Outcome(vault.turns + 1, ctx.db.query(Account).collect())


@internal_mutation
def occupy(ctx: MutationCtx, *, gate: str) -> None:
    """Hold the writer until the gate is opened."""
    GATES[gate].wait()


@internal_query
def everything(ctx: QueryCtx) -> list[Account]:
    """Return all accounts, in the order in which they were opened."""
    return ctx.db.query(Account).collect()


@internal_query
def imbalance(ctx: QueryCtx) -> int:
    """Return the sum of gold and balances, which is not 0 if a query sees half of a transaction."""
    return sum(account.balance for account in ctx.db.query(Account)) + _vault(ctx).gold


@internal_query
def read_slowly(ctx: QueryCtx, *, gate: str) -> list[Account]:
    """Return all accounts, of which only one is read before the gate."""
    stream = iter(ctx.db.query(Account))
    accounts = list(islice(stream, 1))
    GATES[gate].wait()
    accounts += stream
    if ctx.run_query(everything) != accounts or ctx.run_query(imbalance) != 0:
        raise ConvexError("A query saw two states")
    return accounts


@internal_query
def get_slowly(ctx: QueryCtx, *, gate: str, id: Id[Account]) -> list[Account]:
    """Return all accounts, after a read of one before the gate, which may have been deleted."""
    before = ctx.db.get(id)
    GATES[gate].wait()
    accounts = ctx.run_query(everything)
    known = next((account for account in accounts if account.id == id), None)
    if before != known or ctx.db.get(id) != known or ctx.run_query(imbalance) != 0:
        raise ConvexError("A query saw two states")
    return accounts


@internal_query
def of_size(ctx: QueryCtx, *, size: Size, low: int, high: int, order: Order, count: int) -> list[Account]:
    """Return up to `count` accounts of a size with a balance from `low` to `high`."""
    found = ctx.db.query(Account).with_index("by_size", size=size, balance=between(low, high))
    return found.order(order).take(count)


@internal_query
def page_of_odd(ctx: QueryCtx, *, order: Order, num_items: int, cursor: str | None) -> Page[Account]:
    """Return a page of the accounts with an odd balance, by size."""
    every = ctx.db.query(Account).with_index("by_size").order(order)
    return every.filter(lambda account: account.balance % 2 == 1).paginate(num_items=num_items, cursor=cursor)


@internal_query
def named(ctx: QueryCtx, *, name: str) -> Account | None:
    """Return the account with this name, or None."""
    return ctx.db.query(Account).with_index("by_name", name=name).unique()


SCHEMA = Schema(Account, Vault)
FUNCTIONS: list[Function[..., object]] = [
    create_vault,
    perform,
    occupy,
    everything,
    imbalance,
    read_slowly,
    get_slowly,
    of_size,
    page_of_odd,
    named,
]


def _vault(ctx: QueryCtx) -> Vault:
    vault = ctx.db.query(Vault).unique()
    assert vault
    return vault


def _pay(ctx: MutationCtx, amount: int) -> None:
    vault = _vault(ctx)
    ctx.db.patch(vault.id, gold=vault.gold + amount)


def _account(ctx: MutationCtx, name: str) -> Account:
    account = ctx.run_query(named, name=name)
    if account is None:
        raise ConvexError("missing")
    return account


def _open(ctx: MutationCtx, step: Step) -> None:
    _pay(ctx, -step.balance)
    ctx.db.insert(Account(name=step.name, balance=step.balance, size=step.size))


def _patch(ctx: MutationCtx, step: Step) -> None:
    account = _account(ctx, step.name)
    _pay(ctx, account.balance - step.balance)
    ctx.db.patch(account.id, name=step.new_name, balance=step.balance)


def _replace(ctx: MutationCtx, step: Step) -> None:
    account = _account(ctx, step.name)
    _pay(ctx, account.balance - step.balance)
    ctx.db.replace(account.id, Account(name=step.new_name, balance=step.balance, size=step.size))


def _delete(ctx: MutationCtx, step: Step) -> None:
    account = _account(ctx, step.name)
    _pay(ctx, account.balance)
    ctx.db.delete(account.id)


def _part(ctx: MutationCtx, step: Step) -> None:
    with contextlib.suppress(ConvexHTTPError):
        ctx.run_mutation(perform, steps=list(step.steps))


def _fail(ctx: MutationCtx, step: Step) -> None:
    raise ConvexError("failed")


_ACTIONS: dict[str, Callable[[MutationCtx, Step], None]] = {
    "open": _open,
    "patch": _patch,
    "replace": _replace,
    "delete": _delete,
    "part": _part,
    "fail": _fail,
}


# --- in memory -------------------------------------------------------------------------------------------------------


def after(before: Rows, steps: list[Step] | tuple[Step, ...]) -> Rows:
    """Return the accounts after these steps, in the order in which they were opened.

    Raises:
        ConvexHTTPError: The error that the database must raise.
    """
    for step in steps:
        before = _after_step(before, step)
    return before


def _after_step(before: Rows, step: Step) -> Rows:
    if step.do == "fail":
        raise ConvexError("failed")
    if step.do == "part":
        try:
            return after(before, step.steps)
        except ConvexHTTPError:
            return before
    if step.do == "open":
        return _distinct((*before, Row(step.name, step.balance, step.size)))
    place = next((place for place, row in enumerate(before) if row.name == step.name), None)
    if place is None:
        raise ConvexError("missing")
    return _distinct((*before[:place], *_changed(before[place], step), *before[place + 1 :]))


def _changed(row: Row, step: Step) -> Rows:
    if step.do == "delete":
        return ()
    return (Row(step.new_name, step.balance, row.size if step.do == "patch" else step.size),)


def _distinct(changed: Rows) -> Rows:
    if len({row.name for row in changed}) < len(changed):
        raise UniqueConstraintError("Two accounts have one name")
    return changed


def by_size(accounts: Rows, order: Order) -> list[Row]:
    """Return accounts in the order of the index: by size, balance and age."""
    ordered = sorted(accounts, key=lambda row: (row.size or "", row.balance))  # stable, so it keeps the order of age
    return ordered if order == "asc" else ordered[::-1]
