"""Workers of servers collect garbage less often, unless the app decides that by itself."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from flask_convex_http import collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Node:
    """An object that refers to itself, which only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_a_worker_does_not_look_at_the_objects_of_its_app_again() -> None:
    """Objects from before are left out of collections, and cycles that are made later are freed."""
    collector.settle()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == 20_000
    later = weakref.ref(Node())
    gc.collect()
    assert later() is None


def test_an_app_that_sets_the_collector_up_is_left_alone() -> None:
    """A threshold of the app's own stays, and nothing is frozen."""
    gc.set_threshold(5_000)
    collector.settle()
    assert (gc.get_threshold()[0], gc.get_freeze_count()) == (5_000, 0)


def test_a_disabled_collector_stays_disabled() -> None:
    """An app that collects at times of its own choice keeps its threshold."""
    gc.disable()
    collector.settle()
    assert not gc.isenabled()
    assert gc.get_freeze_count() == 0
