"""Records of uploaded files."""

from flask_convex_http import Id, MutationCtx, StoredFile, internal_mutation

from .schema import Upload


@internal_mutation
def record(ctx: MutationCtx, *, file: Id[StoredFile]) -> Id[Upload]:
    """Record an uploaded file."""
    return ctx.db.insert(Upload(file=file))
