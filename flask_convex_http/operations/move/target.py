"""Where a move goes: check the URLs of the target, and open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from flask_convex_http.config import MEMORY, Settings, is_sqlite, shown_url, sqlite_path
from flask_convex_http.engines import open_engine
from flask_convex_http.operations.move.move import Move, Side
from flask_convex_http.operations.move.records import MoveRefusedError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.storage.blobs import open_blobs


@contextmanager
def open_move(
    schema: Schema,
    source: Side,
    settings: Settings,
    clock: Callable[[], float],
    folder: Path,
    *,
    database_url: str | None,
    storage_url: str | None,
) -> Iterator[Move]:
    """Open the target of a move, and close it at the end.

    Args:
        schema: All tables.
        source: The app's own database and blob store.
        settings: The app's settings.
        clock: Returns the current time in milliseconds since the epoch.
        folder: The folder of relative paths.
        database_url: The database to move to; None if the rows stay.
        storage_url: The blob store to move to; None if the files stay.

    Raises:
        MoveRefusedError: The app is there already, or a place is temporary.
    """
    there = replace(
        settings,
        database_url=settings.database_url if database_url is None else database_url,
        storage_url=settings.storage_url if storage_url is None else storage_url,
    )
    _check_places(settings, there, folder)
    engine, blobs = source.engine, source.blobs
    with ExitStack() as stack:
        if there.database_url != settings.database_url:
            engine = stack.enter_context(closing(open_engine(there, schema, folder)))
        if there.storage_url != settings.storage_url:
            blobs = stack.enter_context(closing(open_blobs(there, folder)))
        yield Move(schema, source, Side(engine, blobs, _place(there.storage_url, folder)), clock)


def _check_places(here: Settings, there: Settings, folder: Path) -> None:
    if here == there:
        raise MoveRefusedError("The app is there already: name another place")
    if _place(there.database_url, folder) == _place(there.storage_url, folder):
        raise MoveRefusedError("The tables and the files cannot move to one file: name two")
    used = {_place(here.database_url, folder), _place(here.storage_url, folder)}
    pairs = (here.database_url, there.database_url), (here.storage_url, there.storage_url)
    for old, new in [pair for pair in pairs if pair[0] != pair[1]]:
        if old == MEMORY:
            raise MoveRefusedError(
                "The app's data is temporary: set CONVEX_DATABASE_URL and CONVEX_STORAGE_URL to the data to move"
            )
        if new == MEMORY:
            raise MoveRefusedError(f"{new} is temporary, and would be gone when the command ends: name another place")
        if _place(new, folder) in used:
            raise MoveRefusedError(f"The app uses {shown_url(new)} already: name another place")


def _place(url: str, folder: Path) -> str:
    """Return a text that is the same for all URLs of one place."""
    path = sqlite_path(url, folder) if is_sqlite(url) else None
    return url.rstrip("/") if path is None else str(path.resolve())
