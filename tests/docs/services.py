"""A real PostgreSQL and a real S3 for the addresses that pages name."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import s3
from tests.databases import PostgresServer
from tests.docs.markdown import Block

#: The addresses in the pages.
DATABASE, STORAGE = "postgresql://app@db.internal/app", "s3://app-files/production"
_AWS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class Services:
    """The services that a folder's commands use.

    Attributes:
        places: The real address for each address of the pages, quoted for the shell.
        environment: The environment variables of the services' clients.
    """

    places: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@contextmanager
def services(blocks: list[Block], folder: Path) -> Iterator[Services]:
    """Start the services that the commands of a folder name."""
    commands = "\n".join(block.code for block in blocks if block.language in ("sh", "console"))
    if DATABASE not in commands and STORAGE not in commands:
        yield Services()
        return
    server = PostgresServer()
    server.start()
    try:
        places = {DATABASE: shlex.quote(server.make()), STORAGE: s3.url(folder)}
        yield Services(places, {name: os.environ[name] for name in _AWS if name in os.environ})
    finally:
        server.remove()
