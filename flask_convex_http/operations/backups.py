"""Back up the database and the blob store to files, and restore them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask_convex_http.config import Location
from flask_convex_http.engines import Backups, Engine, PreparedRestore
from flask_convex_http.errors import ConfigurationError, MigrationRequiredError
from flask_convex_http.operations.progress import ProgressDisplay
from flask_convex_http.storage.blobs.base import BlobStore


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The state of a deployment after a restore.

    Attributes:
        put_aside: Where damaged files were moved to.
        migration: The steps of the migration that the backup needs, one sentence each.
    """

    put_aside: list[Path]
    migration: list[str]


@dataclass(frozen=True, slots=True)
class DeploymentRestore:
    """Backups that were inspected and can be restored.

    Attributes:
        path: The database's file, which may be missing or damaged.
        database: The backup of the database.
        files: The backup of the blob store, if it is to be restored.
        finish: Is called after the restore; returns the steps of the migration that it needs.
    """

    path: Path
    database: PreparedRestore
    files: PreparedRestore | None
    finish: Callable[[], list[str]]

    def run(self, display: ProgressDisplay) -> RestoreReport:
        """Restore the database, then the blob store, while the app reads.

        Args:
            display: Shows the progress of each part.

        Raises:
            OverloadedError: Other writers did not stop within the timeout.
        """
        put_aside = [_restore(self.database, display, "Database")]
        if self.files is not None:
            put_aside.append(_restore(self.files, display, "Files"))
        return RestoreReport([path for path in put_aside if path is not None], self.finish())


@dataclass(frozen=True, slots=True)
class DeploymentBackups:
    """Makes and restores backups of a deployment.

    Attributes:
        engine: The database.
        blobs: The blob store.
        database: The location of the database.
        storage: The location of the blob store.
        finish_restore: See `DeploymentRestore.finish`.
    """

    engine: Engine
    blobs: BlobStore
    database: Location
    storage: Location
    finish_restore: Callable[[], list[str]]

    def create(self, path: Path, files_path: Path | None, display: ProgressDisplay) -> None:
        """Write backups to new files, while the app reads and writes.

        The blob store comes second. So a file that is deleted in between may lack its bytes in the backup.

        Args:
            path: The new file for the database.
            files_path: The new file for the blob store, or None to leave that out.
            display: Shows the progress of each part.

        Raises:
            ConfigurationError: The database is not a permanent SQLite file, the blob store is not a SQLite file, or a
                new file exists already or has no folder.
            MigrationRequiredError: The database does not exist.
        """
        for target in (path, files_path):
            _check_target(target)
        source, backups = self._database()
        if not source.exists():  # its tables do not matter: a database that has to be migrated is one to back up
            raise MigrationRequiredError(f"There is no database {source} yet; run `flask convex migrate` to create it")
        store = None if files_path is None else self._store()
        with display("Database") as progress:
            backups.create(path, progress)
        if files_path is not None and store is not None:
            with display("Files") as progress:
                store.create(files_path, progress)

    def prepare_restore(self, path: Path, files_path: Path | None) -> DeploymentRestore:
        """Inspect backups, and change nothing yet.

        Args:
            path: The backup of the database.
            files_path: The backup of the blob store, or None to leave that as it is.

        Raises:
            ConfigurationError: The database is not a permanent SQLite file, or the blob store is not a SQLite file.
            EngineError: A backup is damaged or is not one of this deployment.
        """
        source, backups = self._database()
        database = backups.prepare_restore(path)
        files = None if files_path is None else self._store().prepare_restore(files_path)
        return DeploymentRestore(source, database, files, self.finish_restore)

    def remove_unfinished(self) -> None:
        """Remove the parts of backups and restores whose processes were killed."""
        for backups in (self.engine.backups, self.blobs.backups):
            if backups is not None:
                backups.remove_unfinished()

    def _database(self) -> tuple[Path, Backups]:
        backups = self.engine.backups
        if backups is None:
            raise ConfigurationError(
                f"{self.database} is backed up and restored with PostgreSQL's own tools: pg_dump and pg_restore"
            )
        if backups.path is None:
            raise ConfigurationError("The database is temporary: set CONVEX_DATABASE_URL to another one")
        return backups.path, backups

    def _store(self) -> Backups:
        backups = self.blobs.backups
        if backups is None:
            raise ConfigurationError(
                f"The bytes of files are in {self.storage}: back them up and restore them with the tools of that store"
            )
        return backups


def _check_target(path: Path | None) -> None:
    if path is None:
        return
    if path.exists() or path.is_symlink():
        raise ConfigurationError(f"{path} exists already; name a new file")
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no folder {path.parent}; create it first")


def _restore(prepared: PreparedRestore, display: ProgressDisplay, label: str) -> Path | None:
    with display(label) as progress:
        return prepared.run(progress)
