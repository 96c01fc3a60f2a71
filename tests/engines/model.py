"""A bank twice: in the database, and in memory as what the database must be like after the same steps.

The gold of the vault and the balances of all accounts are 0 in sum after each transaction. How steps are chosen, and
what runs at the same time, is the business of `test_model`.
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

#: Seconds after which something that should happen at once has not happened.
PATIENCE = 30.0

Size = str | None
Order = Literal["asc", "desc"]


class Account(Document, table="accounts", indexes={"by_name": unique("name"), "by_size": ["size", "balance"]}):
    name: str
    balance: int = 0
    size: str | None = None


class Vault(Document, table="vaults"):
    """The only one; `turns` counts the transactions, so that each knows its place among them."""

    gold: int = 0
    turns: int = 0


class Step(msgspec.Struct, frozen=True):
    """Something a transaction does.

    "open" adds an account, "patch" gives it a new name and balance, "replace" a new size too. "part" runs further steps
    as a part of the transaction, and goes on if that fails. "fail" fails.
    """

    do: Literal["open", "patch", "replace", "delete", "part", "fail"]
    name: str = ""
    new_name: str = ""
    balance: int = 0
    size: str | None = None
    steps: tuple["Step", ...] = ()


class Row(NamedTuple):
    """An account as it is compared."""

    name: str
    balance: int
    size: str | None


Rows = tuple[Row, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What a transaction answers: its place among all, and what it saw at its end."""

    turn: int
    accounts: list[Account]


class Gate:
    """Where a function waits in its middle."""

    def __init__(self) -> None:
        self.reached, self.opened = Event(), Event()

    def stop_here(self) -> None:
        """Wait in front of it."""
        self.reached.set()
        if not self.opened.wait(PATIENCE):
            raise TimeoutError("The gate was never opened")


GATES: dict[str, Gate] = {}


def rows(accounts: list[Account]) -> Rows:
    """Accounts as they are compared."""
    return tuple(Row(account.name, account.balance, account.size) for account in accounts)


# --- in the database -------------------------------------------------------------------------------------------------


@internal_mutation
def found(ctx: MutationCtx) -> None:
    """Open the bank."""
    ctx.db.insert(Vault())


@internal_mutation
def perform(ctx: MutationCtx, *, steps: list[Step]) -> Outcome:
    """Do all steps, or nothing."""
    for step in steps:
        _DOING[step.do](ctx, step)
    vault = _vault(ctx)
    ctx.db.patch(vault.id, turns=vault.turns + 1)
    return Outcome(vault.turns + 1, ctx.db.query(Account).collect())


@internal_mutation
def occupy(ctx: MutationCtx, *, gate: str) -> None:
    """Hold the writer."""
    GATES[gate].stop_here()


@internal_query
def everything(ctx: QueryCtx) -> list[Account]:
    """All accounts, in the order they were opened."""
    return ctx.db.query(Account).collect()


@internal_query
def imbalance(ctx: QueryCtx) -> int:
    """What is never anything but 0 unless a transaction is seen in its middle."""
    return sum(account.balance for account in ctx.db.query(Account)) + _vault(ctx).gold


@internal_query
def look_slowly(ctx: QueryCtx, *, gate: str) -> list[Account]:
    """All accounts, of which only one is read before the gate."""
    stream = iter(ctx.db.query(Account))
    accounts = list(islice(stream, 1))
    GATES[gate].stop_here()
    accounts += stream
    if ctx.run_query(everything) != accounts or ctx.run_query(imbalance) != 0:
        raise ConvexError("One query saw two states")
    return accounts


@internal_query
def get_slowly(ctx: QueryCtx, *, gate: str, id: Id[Account]) -> list[Account]:
    """All accounts, of which only one, which may have been deleted, is read before the gate."""
    before = ctx.db.get(id)
    GATES[gate].stop_here()
    accounts = ctx.run_query(everything)
    known = next((account for account in accounts if account.id == id), None)
    if before != known or ctx.db.get(id) != known or ctx.run_query(imbalance) != 0:
        raise ConvexError("One query saw two states")
    return accounts


@internal_query
def of_size(ctx: QueryCtx, *, size: Size, low: int, high: int, order: Order, count: int) -> list[Account]:
    """Some accounts of a size, with a balance from `low` to `high`."""
    found = ctx.db.query(Account).with_index("by_size", size=size, balance=between(low, high))
    return found.order(order).take(count)


@internal_query
def page_of_odd(ctx: QueryCtx, *, order: Order, num_items: int, cursor: str | None) -> Page[Account]:
    """Some of the accounts with an odd balance, by size."""
    every = ctx.db.query(Account).with_index("by_size").order(order)
    return every.filter(lambda account: account.balance % 2 == 1).paginate(num_items=num_items, cursor=cursor)


@internal_query
def named(ctx: QueryCtx, *, name: str) -> Account | None:
    """The account of that name."""
    return ctx.db.query(Account).with_index("by_name", name=name).unique()


SCHEMA = Schema(Account, Vault)
FUNCTIONS: list[Function[..., object]] = [
    found,
    perform,
    occupy,
    everything,
    imbalance,
    look_slowly,
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


_DOING: dict[str, Callable[[MutationCtx, Step], None]] = {
    "open": _open,
    "patch": _patch,
    "replace": _replace,
    "delete": _delete,
    "part": _part,
    "fail": _fail,
}


# --- in memory -------------------------------------------------------------------------------------------------------


def after(before: Rows, steps: list[Step] | tuple[Step, ...]) -> Rows:
    """What accounts there are after these steps, in the order they were opened.

    Raises:
        ConvexHTTPError: The one that must come out of them.
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
    """Accounts in the order of the index: by size, balance and age."""
    ordered = sorted(accounts, key=lambda row: (row.size or "", row.balance))  # which keeps the order of age
    return ordered if order == "asc" else ordered[::-1]
