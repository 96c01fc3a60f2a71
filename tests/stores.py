"""The stores that tests have files in: SQLite's, and S3.

A module whose tests hold for each says `pytestmark = EACH_STORE`, and makes its apps with `config(folder)`; its tests
then run once on each. Elsewhere files are in SQLite's store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import ceph, s3

STORES = ("sqlite", "s3")
#: The tests of a module run on each store; see the fixture in `conftest.py`.
EACH_STORE = pytest.mark.usefixtures("each_store")
#: A test of what moto's server does not look at.
NEEDS_SIGNATURES = pytest.mark.skipif(
    not ceph.is_installed(), reason="moto's server takes any signature, and Ceph is not installed"
)

#: Whether the files of the module that runs are in S3.
_is_turn = False


def config(folder: Path) -> dict[str, Any]:
    """Where an app has its files: in the store whose turn it is, and read through the app from any of them."""
    return {"CONVEX_STORAGE_URL": s3.url(folder), "CONVEX_STORAGE_REDIRECT": "off"} if _is_turn else {}


@contextmanager
def all_files_in(store: str) -> Iterator[None]:
    """Let every app that is made have its files there, as long as the block lasts."""
    global _is_turn
    _is_turn, before = store == "s3", _is_turn
    try:
        yield
    finally:
        _is_turn = before
