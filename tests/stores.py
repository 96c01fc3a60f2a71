"""The blob stores of the tests, SQLite's and S3.

A module that sets `pytestmark = EACH_STORE` and configures its apps with `config(folder)` runs once on each store. All
other tests use SQLite's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import ceph, s3

STORES = ("sqlite", "s3")
#: Runs the tests of a module on each store; see the fixture in `conftest.py`.
EACH_STORE = pytest.mark.usefixtures("each_store")
#: Skips a test of signatures, which moto's server does not check.
NEEDS_SIGNATURES = pytest.mark.skipif(
    not ceph.is_installed(), reason="moto's server takes any signature, and Ceph is not installed"
)

#: Whether the current module has its files in S3.
_is_s3 = False


def config(folder: Path) -> dict[str, Any]:
    """Return the settings of the current store. Files in S3 are sent by the app, without redirects."""
    return {"CONVEX_STORAGE_URL": s3.url(folder), "CONVEX_STORAGE_REDIRECT": "off"} if _is_s3 else {}


@contextmanager
def all_files_in(store: str) -> Iterator[None]:
    """Put the files of every app in this block into a store."""
    global _is_s3
    _is_s3, before = store == "s3", _is_s3
    try:
        yield
    finally:
        _is_s3 = before
