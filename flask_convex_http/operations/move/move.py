"""Move a deployment to another database, another store of files, or both.

The rules of this module:

* The source is only read. What a move writes down lies in the target's database (the one there is, if only files move).
* A move is a run that brings over what differs, however often it is run: first while the app works, then once more
  when it is stopped, to bring the rest. A run that was killed is a run that has brought less.
* A target that holds anything but what a move has brought is refused, and so is one that is the source.
* At the end both sides are read whole and compared.

Everything goes through the ports of the engines and stores, so between any two members. What is bytes and rows is in
`file_copies` and `row_copies`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from flask_convex_http.engines.base import Engine, Snapshot
from flask_convex_http.errors import MigrationRefusedError, MigrationRequiredError
from flask_convex_http.operations.move.checksums import Contents, contents_of
from flask_convex_http.operations.move.files import FileCopy, FilesReport
from flask_convex_http.operations.move.records import MoveRecords, MoveRefusedError, RowsRecord, is_moved
from flask_convex_http.operations.move.rows import RowCopy, rows_in_order
from flask_convex_http.schema.documents import Schema, Table
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import CreateTable, Migration, Step, plan
from flask_convex_http.schema.system_tables import CronJob, ScheduledFunction, Setting, StoredFile
from flask_convex_http.storage.blobs.base import BlobStore

T = TypeVar("T")
Progress = Callable[[int, int], None]

#: What a migration and a start of the app leave in a database that holds nothing of anybody's yet.
_MADE_ANEW: tuple[type, ...] = (Setting, CronJob)
#: How many actions that are under way are counted.
_ACTIONS = 100
_EMPTY_ONE = "name an empty database"


@dataclass(frozen=True)
class Side:
    """A deployment's data in one place.

    Attributes:
        engine: The database.
        blobs: The store of files.
        store: The store's URL.
    """

    engine: Engine
    blobs: BlobStore
    store: str


@dataclass(frozen=True)
class TableReport:
    """A table after a move.

    Attributes:
        name: The table.
        source: What it holds in the source.
        target: What it holds in the target.
    """

    name: str
    source: Contents
    target: Contents

    @property
    def is_same(self) -> bool:
        """Whether that is the same."""
        return self.source == self.target


@dataclass(frozen=True)
class MoveReport:
    """Both sides after a run.

    Attributes:
        tables: The tables, if rows were to move.
        files: The bytes of files, if they were.
        left_behind: Tables and columns that the source has and the schema does not.
        actions: How many scheduled actions the source's workers have begun and not ended.
    """

    tables: list[TableReport] = field(default_factory=list)
    files: FilesReport | None = None
    left_behind: list[str] = field(default_factory=list)
    actions: int = 0

    @property
    def different(self) -> list[str]:
        """The tables that are not the same."""
        return [table.name for table in self.tables if not table.is_same]

    @property
    def is_same(self) -> bool:
        """Whether the target has all that the source has, and nothing else."""
        return not self.different and not (self.files and self.files.faults)


class Watch(Protocol):
    """Runs a part of a move, gives it somebody to tell how far it is, and answers what it answers."""

    def __call__(self, label: str, work: Callable[[Progress], T], /) -> T: ...


class Move:
    """One run from one side to the other; where both have the same database or store, that is left as it is.

    Args:
        schema: All tables.
        source: Where the deployment is.
        target: Where it goes.
        clock: Answers now, in milliseconds since the epoch.
    """

    def __init__(self, schema: Schema, source: Side, target: Side, clock: Callable[[], float]) -> None:
        self._schema = schema
        self._source, self._target = source, target
        self._clock = clock
        self._files = FileCopy(source.blobs, target.blobs, self._is_file)
        self._there = MoveRecords(source.engine, schema)
        self._records = MoveRecords(target.engine, schema)
        self._tables = list(schema.tables.values())

    @property
    def has_rows(self) -> bool:
        """Whether rows go to another database."""
        return self._source.engine is not self._target.engine

    @property
    def has_files(self) -> bool:
        """Whether bytes go to another store."""
        return self._source.blobs is not self._target.blobs

    # --- before ------------------------------------------------------------------------------------------------------

    def look(self, progress: Progress) -> int:
        """See that nothing can be lost; nothing is changed.

        Returns:
            How many rows are in the target already, from runs before.

        Raises:
            MoveRefusedError: The target is the source, or holds what no move has brought.
            MigrationRequiredError: The source is not ready.
        """
        with self._source.engine.read():
            pass
        rows = self._look_at_rows(progress) if self.has_rows else 0
        if self.has_files:
            self._refuse_strange_bytes()
        return rows

    # --- the work ----------------------------------------------------------------------------------------------------

    def run(self, watch: Watch) -> MoveReport:
        """Bring what differs, then compare.

        Raises:
            MoveRefusedError: The target holds what no move has brought, or a row cannot be stored there.
        """
        watch("Looking", self._begin)
        if self.has_rows:
            watch("Rows", self._copy_rows)
        files = watch("Files", self._copy_files) if self.has_files else None
        return self._report(watch, files)

    def verify(self, watch: Watch) -> MoveReport:
        """Compare both sides, all bytes of files included; nothing is changed.

        Raises:
            MoveRefusedError: There is nothing to compare with.
        """
        return self._report(watch, watch("Reading files", self._verify_files) if self.has_files else None)

    def _report(self, watch: Watch, files: FilesReport | None) -> MoveReport:
        tables = watch("Comparing", self._compare) if self.has_rows else []
        return MoveReport(tables, files, self._left_behind(), self._actions())

    def _begin(self, progress: Progress) -> None:
        """Make the tables of the target, and write down what it is for."""
        if self.has_rows:
            steps = self._target.engine.migrate(self._plan, dry_run=False)
            is_new = self._records.rows() is None
            held = self._refuse_strange_rows(progress) if steps or is_new else {}
            if is_new:
                tables = {name: (contents.rows, contents.checksum) for name, contents in held.items()}
                self._records.begin_rows(RowsRecord(self._identity(), tables), self._clock())
        if self.has_files and self._records.store() != self._target.store:
            self._records.begin_store(self._target.store, self._clock())

    def _copy_rows(self, progress: Progress) -> None:
        record = self._records.rows()
        if record is None:
            raise MoveRefusedError("The target has changed during the move: nothing else may write there")
        with self._source.engine.read() as snapshot:
            steps = _Steps(sum(map(snapshot.count, self._tables)), progress)
        for table in self._tables:
            source, target = self._source.engine, self._target.engine
            RowCopy(table, source, target, self._records, record.of(table), steps.add).run()
        steps.end()

    def _copy_files(self, progress: Progress) -> FilesReport:
        return self._files.copy(self._stored_files(), _Steps(self._file_bytes(), progress).add)

    def _verify_files(self, progress: Progress) -> FilesReport:
        with self._comparable():
            return self._files.verify(self._stored_files(), _Steps(self._file_bytes(), progress).add)

    def _compare(self, progress: Progress) -> list[TableReport]:
        source = self._contents(self._source.engine, progress)
        with self._comparable():
            target = self._contents(self._target.engine, progress)
        return [TableReport(name, contents, target[name]) for name, contents in source.items()]

    def _contents(self, engine: Engine, progress: Progress) -> dict[str, Contents]:
        with engine.read() as snapshot:
            steps = _Steps(sum(map(snapshot.count, self._tables)), progress)
            return {
                table.name: contents_of(snapshot, table, partial(is_moved, table), steps.add) for table in self._tables
            }

    @contextmanager
    def _comparable(self) -> Iterator[None]:
        try:
            yield
        except MigrationRequiredError:
            raise MoveRefusedError("The target has nothing yet to compare with: move to it first") from None

    # --- parts of these ----------------------------------------------------------------------------------------------

    def _look_at_rows(self, progress: Progress) -> int:
        try:
            steps = self._target.engine.migrate(self._plan, dry_run=True)
        except MigrationRefusedError as error:
            raise MoveRefusedError(f"The target cannot have the app's tables ({error}): {_EMPTY_ONE}") from None
        made = {step.table.name for step in steps if isinstance(step, CreateTable)}
        changed = [step for step in steps if step.table.name not in made]
        if changed:
            raise MoveRefusedError(f"The target has tables of another schema (to {changed[0]}): {_EMPTY_ONE}")
        if steps:
            return 0  # whether rows are in the tables that are there is seen when the others are
        return sum(contents.rows for contents in self._refuse_strange_rows(progress).values())

    def _plan(self, migration: Migration) -> list[Step]:
        return plan(self._schema, migration, allow_destructive=True)

    def _refuse_strange_rows(self, progress: Progress) -> dict[str, Contents]:
        """What the target holds by table, if it is nothing but what a move has brought."""
        record, identity = self._records.rows(), self._identity()
        own = self._records.shape()
        if own is not None and own.id == identity:
            raise MoveRefusedError("The target is the database that the app has now, or a copy of it: name another one")
        if record is not None and record.source != identity:
            raise MoveRefusedError(f"The target holds rows that were moved from another database: {_EMPTY_ONE}")
        with self._target.engine.read() as snapshot:
            steps = _Steps(sum(map(snapshot.count, self._tables)), progress)
            return {table.name: self._expected(snapshot, table, record, steps.add) for table in self._tables}

    def _expected(
        self, snapshot: Snapshot, table: Table[Any], record: RowsRecord | None, progress: Callable[[int], None]
    ) -> Contents:
        contents = contents_of(snapshot, table, partial(is_moved, table), progress)
        if record is None and contents.rows and table.document not in _MADE_ANEW:
            raise MoveRefusedError(f"The target has rows in {table.name} that no move has brought: {_EMPTY_ONE}")
        if record is not None and record.of(table) != contents:
            raise MoveRefusedError(
                f"The target's {table.name} is not what the move before has left there. If the app has run on it, that "
                f"is where the deployment is now, and to move again would undo what it has written. Otherwise "
                f"{_EMPTY_ONE}"
            )
        return contents

    def _refuse_strange_bytes(self) -> None:
        """Bytes of others would be taken for those of files that were deleted, and swept away."""
        if self._has_begun():
            return
        for key, _ in self._target.blobs.keys():  # noqa: SIM118  # it is no mapping
            if not self._is_file(key):
                raise MoveRefusedError(
                    f"The store to move to has bytes of none of this app's files ({key!r}): name an empty one, or "
                    "another prefix"
                )

    def _has_begun(self) -> bool:
        """Whether a run before has begun to fill this store."""
        try:
            return self._records.store() == self._target.store
        except MigrationRequiredError:  # the target database is not there yet
            return False

    def _left_behind(self) -> list[str]:
        """What the last migration knew and the schema does not have; it cannot be read through the engine."""
        known = self._there.known_tables() if self.has_rows else {}
        found = [name for name in known if name not in self._schema.tables]
        for name, table in self._schema.tables.items():
            columns = known[name].columns if name in known else {}
            found += [f"{name}.{column}" for column in columns if column not in table.columns]
        return found

    def _actions(self) -> int:
        table = self._schema.table_for(ScheduledFunction)
        running = Segment(table.indexes["by_state"].columns, (("state", "inProgress"),))
        with self._source.engine.read() as snapshot:
            return len(snapshot.select(table, running, descending=False, limit=_ACTIONS))

    def _identity(self) -> str:
        """What tells the source from other databases."""
        shape = self._there.shape()
        if shape is None:
            raise MigrationRequiredError(
                "The database has lost what its last migration kept; run `flask convex migrate`"
            )
        return shape.id

    def _is_file(self, key: str) -> bool:
        with self._source.engine.read() as snapshot:
            return snapshot.get(self._schema.table_for(StoredFile), key) is not None

    def _stored_files(self) -> Iterator[StoredFile]:
        table = self._schema.table_for(StoredFile)
        return (table.read(row) for row in rows_in_order(self._target.engine, table))

    def _file_bytes(self) -> int:
        return sum(file.size for file in self._stored_files())


class _Steps:
    """Tells how far something is."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total = 0, total
        self._progress = progress

    def add(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        self._progress(min(self._done, self._total), self._total)

    def end(self) -> None:
        """All is done, also what did not count."""
        self.add(self._total - self._done)
