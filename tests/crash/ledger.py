"""A ledger that shows every half-written transaction, and its backend.

One posting writes to three tables: an entry, its account and the entry's twin. Each entry has its number in the account
and the account's total after it, so that a loss in the middle shows as well.
"""

from pathlib import Path

from flask_convex_http import (
    ConvexError,
    Document,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    StoredFile,
    internal_mutation,
    internal_query,
    unique,
)
from flask_convex_http.backend import Backend, Functions
from flask_convex_http.config import Settings
from tests.databases import folder_config

DATABASE, FILES = "ledger.db", "ledger-files.db"


class Account(Document, table="accounts", indexes={"by_name": unique("name")}):
    name: str
    total: int
    entries: int


class Entry(Document, table="entries", indexes={"by_key": unique("key"), "by_account": unique("account", "number")}):
    """A posting; the client chose `key`."""

    key: str
    account: Id[Account]
    number: int
    amount: int
    total: int
    note: str
    receipt: Id[StoredFile] | None = None


class Twin(Document, table="twins", indexes={"by_entry": unique("entry")}):
    entry: Id[Entry]
    key: str
    amount: int


schema = Schema(Account, Entry, Twin)


@internal_mutation
def post(
    ctx: MutationCtx,
    *,
    key: str,
    account: str,
    amount: int,
    note: str = "",
    receipt: Id[StoredFile] | None = None,
    refused: bool = False,
) -> Id[Entry]:
    found = ctx.db.query(Account).with_index("by_name", name=account).unique()
    number, total = (1, amount) if found is None else (found.entries + 1, found.total + amount)
    account_id = ctx.db.insert(Account(name=account, total=0, entries=0)) if found is None else found.id
    entry = Entry(key=key, account=account_id, number=number, amount=amount, total=total, note=note, receipt=receipt)
    entry_id = ctx.db.insert(entry)
    ctx.db.patch(account_id, total=total, entries=number)
    ctx.db.insert(Twin(entry=entry_id, key=key, amount=amount))
    if refused:
        raise ConvexError("Refused, after everything was written")
    return entry_id


@internal_query
def is_torn(ctx: QueryCtx, *, account: str) -> bool:
    """Return whether the newest entry, its twin and the account disagree, which no snapshot may show."""
    found = ctx.db.query(Account).with_index("by_name", name=account).unique()
    if found is None:
        return False
    newest = ctx.db.query(Entry).with_index("by_account", account=found.id).order("desc").first()
    if newest is None:
        return True
    twin = ctx.db.query(Twin).with_index("by_entry", entry=newest.id).unique()
    return (newest.number, newest.total, newest.key) != (found.entries, found.total, twin and twin.key)


@internal_mutation
def increment(ctx: MutationCtx, *, account: str) -> int:
    """Add one to an account's total, and nothing else."""
    found = ctx.db.query(Account).with_index("by_name", name=account).unique()
    if found is None:
        ctx.db.insert(Account(name=account, total=1, entries=0))
        return 1
    ctx.db.patch(found.id, total=found.total + 1)
    return found.total + 1


functions: Functions = (post, is_torn, increment)


def configuration(folder: Path, **more: object) -> dict[str, object]:
    """Return the settings of an app whose data is in a folder."""
    return {
        "CONVEX_DATABASE_URL": f"sqlite:///{folder / DATABASE}",
        "CONVEX_STORAGE_URL": f"sqlite:///{folder / FILES}",
        **folder_config(folder),
        **more,
    }


def open_ledger(folder: Path, **more: object) -> Backend:
    """Return the ledger in a folder. It opens nothing yet."""
    return Backend(Settings.from_mapping(configuration(folder, **more)), schema, functions, folder=folder)
