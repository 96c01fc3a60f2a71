"""Check where a move goes, and open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from flask_convex_http.config import Settings
from flask_convex_http.engines.factory import open_engine
from flask_convex_http.operations.move.move import Move, Side
from flask_convex_http.operations.move.records import MoveRefusedError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.storage.blobs import open_blobs


@contextmanager
def open_move(
    source: Side, here: Settings, there: Settings, schema: Schema, folder: Path, clock: Callable[[], float]
) -> Iterator[Move]:
    """Open the target of a move, and close it at the end.

    Args:
        source: The app's own database and blob store. The target shares those that do not move.
        here: The app's settings.
        there: The app's settings after the move.
        schema: All tables.
        folder: The folder of relative paths.
        clock: Returns the current time in milliseconds since the epoch.

    Raises:
        MoveRefusedError: The app uses the target already, the source or the target is temporary, or tables and files
            would be in one file.
    """
    _check_places(here, there, folder)
    engine, blobs = source.engine, source.blobs
    with ExitStack() as stack:
        if there.database_url != here.database_url:
            engine = stack.enter_context(closing(open_engine(there, schema, folder)))
        if there.storage_url != here.storage_url:
            blobs = stack.enter_context(closing(open_blobs(there, folder)))
        yield Move(schema, source, Side(engine, blobs, there.storage(folder)), clock)


def _check_places(here: Settings, there: Settings, folder: Path) -> None:
    old, new = (here.database(folder), here.storage(folder)), (there.database(folder), there.storage(folder))
    if old == new:
        raise MoveRefusedError("The app is there already: name another place")
    if new[0].key == new[1].key:
        raise MoveRefusedError("The tables and the files cannot move to one file: name two")
    for source, target in zip(old, new, strict=True):
        if source == target:
            continue
        if source.is_temporary:
            raise MoveRefusedError(
                "The app's data is temporary: set CONVEX_DATABASE_URL and CONVEX_STORAGE_URL to the data to move"
            )
        if target.is_temporary:
            raise MoveRefusedError("A temporary place is gone when the command ends: name another place")
        if target.key in (old[0].key, old[1].key):
            raise MoveRefusedError(f"The app uses {target} already: name another place")
