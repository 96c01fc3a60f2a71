"""A cut-over: the app moves to another database, and its senders repeat deliveries that it has had before."""

from pathlib import Path

from flask_convex_http.backend import Backend
from tests.inbox.receiving import receiving
from tests.operations.move.moving import silent


def move(backend: Backend, folder: Path) -> bool:
    """Move the rows into the database of a folder, and return whether both are the same afterwards."""
    folder.mkdir(exist_ok=True)
    with backend.move(database_url=f"sqlite:///{folder / 'convex.db'}", storage_url=None) as started:
        return started.run(silent).is_same


def test_a_cut_over_repeats_no_delivery(tmp_path: Path) -> None:
    """After a run while the app receives and a run while it is stopped, the target knows every earlier delivery."""
    here, there = tmp_path / "here", tmp_path / "there"
    with receiving(here, is_kept=True) as receiver:
        assert receiver.deliver("evt_1").status_code == 200
        assert move(receiver.backend, there)
        assert receiver.deliver("evt_2").status_code == 200
    with receiving(here, is_kept=True) as stopped:
        assert move(stopped.backend, there)
    with receiving(there, is_kept=True) as receiver:
        assert receiver.effects == ["evt_1", "evt_2"]
        assert [receiver.deliver(f"evt_{number}").status_code for number in (1, 2, 3)] == [200] * 3
        assert receiver.effects == ["evt_1", "evt_2", "evt_3"]
