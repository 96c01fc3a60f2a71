"""Users, kept in step with Clerk."""

from flask_convex_http import Id, MutationCtx, QueryCtx, internal_mutation, internal_query

from .schema import User


@internal_query
def get_by_clerk_id(ctx: QueryCtx, *, clerk_id: str) -> User | None:
    """The user Clerk knows by an id."""
    return ctx.db.query(User).with_index("by_clerk_id", clerk_id=clerk_id).unique()


@internal_mutation
def upsert(ctx: MutationCtx, *, clerk_id: str, email: str | None, name: str) -> Id[User]:
    """Create the user, or bring them up to date."""
    user = ctx.run_query(get_by_clerk_id, clerk_id=clerk_id)
    if user is None:
        return ctx.db.insert(User(clerk_id=clerk_id, email=email, name=name))
    ctx.db.patch(user.id, email=email, name=name)
    return user.id


@internal_mutation
def remove(ctx: MutationCtx, *, clerk_id: str) -> None:
    """Remove the user, if they are there."""
    user = ctx.run_query(get_by_clerk_id, clerk_id=clerk_id)
    if user is not None:
        ctx.db.delete(user.id)
