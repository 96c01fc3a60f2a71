"""Items: one mutation and two queries."""

from flask_convex_http import Id, MutationCtx, QueryCtx, internal_mutation, query

from .schema import Item


@internal_mutation
def create(ctx: MutationCtx, *, name: str, description: str | None = None) -> Id[Item]:
    """Store an item."""
    return ctx.db.insert(Item(name=name, description=description))


@query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    """Return the item with this id, or None."""
    return ctx.db.get(id)


@query
def list_items(ctx: QueryCtx, *, limit: int = 10) -> list[Item]:
    """Return the newest items first."""
    return ctx.db.query(Item).order("desc").take(limit)
