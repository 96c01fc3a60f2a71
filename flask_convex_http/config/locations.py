"""The location of a database or a blob store, as the URL of a setting gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: The URL of a temporary database or blob store.
MEMORY = "sqlite:///:memory:"
#: The beginning of the URL of a SQLite file.
SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a database or a blob store. Its text has no password.

    Attributes:
        url: The URL.
        path: The SQLite file; None on a server or in a bucket, and for a temporary database.
    """

    url: str = field(repr=False)
    path: Path | None = None

    @classmethod
    def parse(cls, url: str, folder: Path) -> Location:
        """Parse the URL of a setting.

        Args:
            url: A URL that `Settings` accepts.
            folder: The folder of relative paths.
        """
        is_file = url.startswith(SQLITE) and url != MEMORY
        return cls(url, folder / url.removeprefix(SQLITE) if is_file else None)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, in a file or temporary."""
        return self.url.startswith(SQLITE)

    @property
    def is_temporary(self) -> bool:
        """Whether the data is gone when it is closed."""
        return self.url == MEMORY

    @property
    def key(self) -> str:
        """A text that is the same for all URLs of one file or bucket."""
        return self.url.rstrip("/") if self.path is None else str(self.path.resolve())

    def __str__(self) -> str:
        return hide_password(self.url) if self.path is None else str(self.path)


def hide_password(url: str) -> str:
    """Return a URL of a setting without its user, password and query."""
    scheme, _, rest = url.partition("://")
    if scheme in ("sqlite", "s3"):
        return url
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
