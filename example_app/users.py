"""Users, synchronised with Clerk."""

from flask_convex_http import Id, MutationCtx, QueryCtx, internal_mutation, internal_query

from .schema import DeletedUser, User


@internal_query
def get_by_clerk_id(ctx: QueryCtx, *, clerk_id: str) -> User | None:
    """Return the user with this Clerk id, or None."""
    return ctx.db.query(User).with_index("by_clerk_id", clerk_id=clerk_id).unique()


@internal_mutation
def upsert(
    ctx: MutationCtx, *, clerk_id: str, email: str | None, name: str, updated_at: float, received_at: float
) -> Id[User] | None:
    """Create or update the user, unless a later state or their deletion is stored."""
    if _deletion(ctx, clerk_id) is not None:
        return None
    state = User(clerk_id=clerk_id, email=email, name=name, updated_at=updated_at, received_at=received_at)
    return ctx.db.apply_if_newer(state, by="by_clerk_id", version=("updated_at", "received_at"))


@internal_mutation
def remove(ctx: MutationCtx, *, clerk_id: str) -> None:
    """Delete the user and record the deletion."""
    if _deletion(ctx, clerk_id) is None:
        ctx.db.insert(DeletedUser(clerk_id=clerk_id))
    user = ctx.run_query(get_by_clerk_id, clerk_id=clerk_id)
    if user is not None:
        ctx.db.delete(user.id)


def _deletion(ctx: MutationCtx, clerk_id: str) -> DeletedUser | None:
    return ctx.db.query(DeletedUser).with_index("by_clerk_id", clerk_id=clerk_id).unique()
