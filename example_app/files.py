"""Uploads: which files were uploaded here."""

from flask_convex_http import Id, MutationCtx, StoredFile, internal_mutation

from .schema import Upload


@internal_mutation
def remember(ctx: MutationCtx, *, file: Id[StoredFile]) -> Id[Upload]:
    """Remember an uploaded file."""
    return ctx.db.insert(Upload(file=file))
