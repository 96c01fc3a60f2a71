"""The backend of a file sharing app: uploads from browsers, lists with URLs, and links that count their visits."""

from __future__ import annotations

import hashlib

import msgspec

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    Document,
    Id,
    MutationCtx,
    QueryCtx,
    StoredFile,
    action,
    internal_query,
    mutation,
    query,
)


class SharedFile(Document, table="shared_files", indexes={"by_name": ["file_name"]}):
    """A file that a user shares."""

    storage_id: Id[StoredFile]
    file_name: str
    download_count: int = 0
    thumbnail: bytes | None = None


class Listed(msgspec.Struct):
    """A file in a list."""

    id: Id[SharedFile]
    file_name: str
    url: str | None
    size_in_bytes: int
    thumbnail: bytes | None


@mutation
def generate_upload_url(ctx: MutationCtx) -> str:
    """Return a URL to which a client posts the bytes of a file."""
    return ctx.storage.generate_upload_url()


@mutation
def share(
    ctx: MutationCtx, *, storage_id: Id[StoredFile], file_name: str, thumbnail: bytes | None = None
) -> Id[SharedFile]:
    """Share a file that was uploaded."""
    if ctx.db.system.get(storage_id) is None:
        raise ConvexError({"code": "no_such_upload"})
    return ctx.db.insert(SharedFile(storage_id=storage_id, file_name=file_name, thumbnail=thumbnail))


@query
def list_files(ctx: QueryCtx) -> list[Listed]:
    """Return all files by name, with URLs to download them."""
    return [_listed(ctx, file) for file in ctx.db.query(SharedFile).with_index("by_name").collect()]


@mutation
def remove(ctx: MutationCtx, *, file_id: Id[SharedFile]) -> None:
    """Delete a file and its upload."""
    file = ctx.db.get(file_id)
    if file is not None:
        ctx.storage.delete(file.storage_id)
        ctx.db.delete(file_id)


@internal_query
def storage_of(ctx: QueryCtx, *, file_id: Id[SharedFile]) -> Id[StoredFile] | None:
    """Return the id of the upload, or None."""
    file = ctx.db.get(file_id)
    return None if file is None else file.storage_id


@action
def checksum(ctx: ActionCtx, *, file_id: Id[SharedFile]) -> bytes:
    """Return the SHA-256 digest of a file."""
    storage_id = ctx.run_query(storage_of, file_id=file_id)
    stored = None if storage_id is None else ctx.storage.get(storage_id)
    if stored is None:
        raise ConvexError({"code": "not_found"})
    with stored:
        return hashlib.sha256(stored.read()).digest()


def _listed(ctx: QueryCtx, file: SharedFile) -> Listed:
    stored = ctx.db.system.get(file.storage_id)
    return Listed(
        id=file.id,
        file_name=file.file_name,
        url=ctx.storage.get_url(file.storage_id),
        size_in_bytes=0 if stored is None else stored.size,
        thumbnail=file.thumbnail,
    )
