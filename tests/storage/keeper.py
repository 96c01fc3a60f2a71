"""A program that stores files in mutations until it is killed: `python -m tests.storage.keeper FOLDER STORE`.

It prints the id of each committed document. The folder has the database, and STORE is "sqlite" or "s3".
"""

import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask

from flask_convex_http import Document, Id, MutationCtx, Schema, StoredFile, internal_mutation
from tests import stores
from tests.web.apps import backend_of, deployed

#: The sizes of the files in bytes: small ones, and one of several pieces.
SIZES = (0, 1, 1000, 600_000)
_THREADS = 3


class Kept(Document, table="kept"):
    """A document with a file."""

    file: Id[StoredFile]


@internal_mutation
def keep(ctx: MutationCtx, *, data: bytes) -> Id[Kept]:
    """Store a file and a document that refers to it."""
    return ctx.db.insert(Kept(file=ctx.storage.store(data)))


@contextmanager
def app_of(folder: Path, store: str) -> Iterator[Flask]:
    """Yield the app of a folder, with its files in a store."""
    with stores.all_files_in(store):
        urls = {"CONVEX_STORAGE_URL": f"sqlite:///{folder / 'files.db'}", **stores.config(folder)}
        with deployed(folder, schema=Schema(Kept), functions=[keep], is_kept=True, **urls) as app:
            yield app


def run(folder: Path, store: str) -> None:
    """Store files forever, in several threads."""
    with app_of(folder, store) as app:
        ctx = backend_of(app).ctx()

        def store_files() -> None:
            while True:
                kept = ctx.run_mutation(keep, data=secrets.token_bytes(secrets.choice(SIZES)))
                sys.stdout.write(f"{kept}\n")
                sys.stdout.flush()

        threads = [threading.Thread(target=store_files) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
