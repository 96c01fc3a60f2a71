"""Move a deployment to another database, another blob store, or both.

Rules:

* The source is only read. The records of the move are in the target's database, or in the only database if just files
  move.
* A run writes the differences to the target. So the same command runs first while the app serves requests, and once
  more after the app is stopped. A run that was killed has only written fewer of them.
* A target is refused if it is the source, or if it holds anything that no move has written.
* At the end, both sides are read as a whole and compared.

Rows and bytes go through the ports of engines and blob stores, so between any two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from flask_convex_http.config import Location
from flask_convex_http.engines import Engine
from flask_convex_http.errors import MigrationRefusedError, MigrationRequiredError
from flask_convex_http.operations.move.files import FilesCopy, FilesReport
from flask_convex_http.operations.move.records import Contents, MoveRecords, MoveRefusedError, RowsRecord
from flask_convex_http.operations.move.rows import TableCopy, moving_pages, moving_rows
from flask_convex_http.operations.progress import Meter, Progress, ProgressDisplay
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.migrations import CreateTable, Migration, MigrationStep, plan
from flask_convex_http.schema.system_tables import CronJob, Setting, StoredFile
from flask_convex_http.storage.blobs.base import BlobStore

#: Tables that have rows after a migration and a start of the app, before the app has stored anything.
_FILLED_BY_MIGRATION: tuple[type, ...] = (Setting, CronJob)


@dataclass(frozen=True)
class Side:
    """One end of a move.

    Attributes:
        engine: The database.
        blobs: The blob store.
        storage: The location of the blob store.
    """

    engine: Engine
    blobs: BlobStore
    storage: Location


@dataclass(frozen=True)
class MoveReport:
    """Both sides after a run.

    Attributes:
        tables: The contents of each table in the source and in the target; none if only files move.
        files: The files; None if only rows move.
        left_behind: Tables and columns of the source that the schema does not have.
    """

    tables: dict[str, tuple[Contents, Contents]] = field(default_factory=dict)
    files: FilesReport | None = None
    left_behind: list[str] = field(default_factory=list)

    @property
    def different(self) -> list[str]:
        """The names of the tables that differ."""
        return [name for name, (source, target) in self.tables.items() if source != target]

    @property
    def is_same(self) -> bool:
        """Whether the target has everything that the source has, and nothing else."""
        return not self.different and not (self.files and self.files.faults)


class Move:
    """A move from one side to the other. A database or blob store that both sides share does not move.

    Args:
        schema: All tables.
        source: The side to read.
        target: The side to write.
        clock: Returns the current time in milliseconds since the epoch.
    """

    def __init__(self, schema: Schema, source: Side, target: Side, clock: Callable[[], float]) -> None:
        self._schema = schema
        self._source = source
        self._target = target
        self._clock = clock
        self._store_key = target.storage.key
        self._moves_rows = source.engine is not target.engine
        self._moves_files = source.blobs is not target.blobs
        self._files = FilesCopy(source.blobs, target.blobs, self._is_file)
        self._source_records = MoveRecords(source.engine, schema)
        self._records = MoveRecords(target.engine, schema)

    def run(self, display: ProgressDisplay) -> MoveReport:
        """Write all differences to the target, then compare both sides.

        Args:
            display: Shows the progress of each part.

        Raises:
            MoveRefusedError: The target is the source or holds something that no move has written, or a row cannot be
                stored there.
            MigrationRequiredError: The source is not migrated.
        """
        with self._source.engine.snapshot():  # nothing is created in the target if the source is not ready
            pass
        if self._moves_files:
            self._refuse_foreign_bytes()
        if self._moves_rows:
            self._move_rows(display)
        return self._report(display, self._move_files(display) if self._moves_files else None)

    def verify(self, display: ProgressDisplay) -> MoveReport:
        """Compare both sides, with all bytes of all files. Nothing is changed.

        Args:
            display: Shows the progress of each part.

        Raises:
            MoveRefusedError: The target has no tables.
            MigrationRequiredError: The source is not migrated.
        """
        with self._source.engine.snapshot():
            pass
        try:
            with self._target.engine.snapshot():
                pass
        except MigrationRequiredError:
            raise MoveRefusedError("The target has no tables to compare with: move to it first") from None
        files = None
        if self._moves_files:
            with display("Reading files") as progress:
                files = self._files.verify(self._stored_files(), self._meter_of_bytes(progress).advance)
        return self._report(display, files)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _move_rows(self, display: ProgressDisplay) -> None:
        self._target.engine.migrate(self._plan, dry_run=False)
        with display("Checking the target") as progress:
            contents = self._own_contents(progress)
        if self._records.rows() is None:
            self._records.begin_rows(RowsRecord(self._source_id(), contents), self._clock())
        with display("Rows") as progress:
            meter = self._meter_of_rows(self._source.engine, progress)
            for name, table in self._schema.tables.items():
                copy = TableCopy(table, self._source.engine, self._target.engine, self._records, contents[name])
                copy.run(meter.advance)
            meter.finish()

    def _plan(self, migration: Migration) -> list[MigrationStep]:
        """Plan the tables that the target does not have; refuse to change those that it has."""
        try:
            steps = plan(self._schema, migration, allow_destructive=True, by_time=self._source.engine.ordered_by_time())
        except MigrationRefusedError as error:
            raise MoveRefusedError(
                f"The target cannot have the app's tables ({error}): name an empty database"
            ) from None
        created = {step.table.name for step in steps if isinstance(step, CreateTable)}
        for step in steps:
            if step.table.name not in created:
                raise MoveRefusedError(f"The target has tables of another schema (to {step}): name an empty database")
        return steps

    def _own_contents(self, progress: Progress) -> dict[str, Contents]:
        """Return the contents of the target's tables.

        Raises:
            MoveRefusedError: They are not exactly what earlier moves from the source have written.
        """
        record, source_id = self._records.rows(), self._source_id()
        if self._records.database_id() == source_id:
            raise MoveRefusedError(
                "The target is the database that the app uses now, or a copy of it: name another database"
            )
        if record is not None and record.source != source_id:
            raise MoveRefusedError(
                "The target holds rows that were moved from another database: name an empty database"
            )
        contents = self._contents(self._target.engine, progress)
        for name, table in self._schema.tables.items():
            if record is None and contents[name].rows and table.document not in _FILLED_BY_MIGRATION:
                raise MoveRefusedError(
                    f"The target has rows in {name} that no move has written: name an empty database"
                )
            if record is not None and record.tables.get(name, Contents()) != contents[name]:
                raise MoveRefusedError(
                    f"The target's {name} has changed since the last move. If the app has run there, the deployment is "
                    "there now, and another move would overwrite newer data. Otherwise name an empty database"
                )
        return contents

    def _contents(self, engine: Engine, progress: Progress) -> dict[str, Contents]:
        meter = self._meter_of_rows(engine, progress)
        found = dict.fromkeys(self._schema.tables, Contents())
        for name, table in self._schema.tables.items():
            for rows in moving_pages(engine, table):
                found[name] = found[name].changed([], rows)
                meter.advance(len(rows))
        meter.finish()
        return found

    def _source_id(self) -> str:
        source_id = self._source_records.database_id()
        if source_id is None:
            raise MigrationRequiredError("The database has lost the record of its tables; run `flask convex migrate`")
        return source_id

    # --- files -------------------------------------------------------------------------------------------------------

    def _move_files(self, display: ProgressDisplay) -> FilesReport:
        if self._records.store() != self._store_key:
            self._records.set_store(self._store_key, self._clock())
        with display("Files") as progress:
            return self._files.copy(self._stored_files(), self._meter_of_bytes(progress).advance)

    def _refuse_foreign_bytes(self) -> None:
        """Refuse a store with bytes of another application: a sweep of orphaned bytes would delete them."""
        with suppress(MigrationRequiredError):  # a target without tables has no record either
            if self._records.store() == self._store_key:
                return
        for key, _ in self._target.blobs.keys():  # noqa: SIM118  # a blob store is no mapping
            if not self._is_file(key):
                raise MoveRefusedError(
                    f"The blob store to move to has bytes of none of this app's files ({key!r}): name an empty one, or "
                    "another prefix"
                )

    def _is_file(self, key: str) -> bool:
        with self._source.engine.snapshot() as snapshot:
            return snapshot.get(self._schema.table_for(StoredFile), key) is not None

    def _stored_files(self) -> Iterator[StoredFile]:
        table = self._schema.table_for(StoredFile)
        return (table.read(row) for row in moving_rows(self._target.engine, table))

    # --- report ------------------------------------------------------------------------------------------------------

    def _report(self, display: ProgressDisplay, files: FilesReport | None) -> MoveReport:
        if not self._moves_rows:
            return MoveReport(files=files)
        with display("Comparing") as progress:
            source = self._contents(self._source.engine, progress)
            target = self._contents(self._target.engine, progress)
        tables = {name: (contents, target[name]) for name, contents in source.items()}
        return MoveReport(tables, files, self._left_behind())

    def _left_behind(self) -> list[str]:
        """Return the tables and columns of the last migration that the schema does not have."""
        stored = self._source_records.shape()
        found = [name for name in stored if name not in self._schema.tables]
        for name, table in self._schema.tables.items():
            columns = stored[name].columns if name in stored else {}
            found += [f"{name}.{column}" for column in columns if column not in table.columns]
        return found

    def _meter_of_rows(self, engine: Engine, progress: Progress) -> Meter:
        with engine.snapshot() as snapshot:
            return Meter(progress, sum(map(snapshot.count, self._schema.tables.values())))

    def _meter_of_bytes(self, progress: Progress) -> Meter:
        return Meter(progress, sum(file.size for file in self._stored_files()))
