"""The last use of an API key, as it is recorded."""

from datetime import timedelta
from pathlib import Path

from flask import Flask

from flask_convex_http.testing import Clock
from tests.web.apps import backend_of
from tests.web.guarded import INVALID_KEY, get_with_key, guarded, new_key


def last_used(app: Flask) -> float | None:
    """Return when the app's one key was last used, or None."""
    (key,) = backend_of(app).api_keys.all()
    return key.last_used_at


def test_use_is_recorded_after_the_response_once_a_minute(tmp_path: Path) -> None:
    """The last use of a key is recorded after the response, and at most once a minute."""
    clock = Clock()
    with guarded(tmp_path, clock) as app:
        key, start = new_key(app), clock()
        response = app.test_client().get("/key", headers={"X-API-Key": key})
        assert last_used(app) is None
        response.close()
        assert last_used(app) == start
        clock.advance(timedelta(seconds=59))
        get_with_key(app, "/key", key)
        assert last_used(app) == start
        clock.advance(timedelta(seconds=1))
        get_with_key(app, "/key", key)
        assert last_used(app) == start + 60_000


def test_rejected_key_is_not_recorded(tmp_path: Path) -> None:
    """A rejected key does not count as used."""
    with guarded(tmp_path) as app:
        key = new_key(app, revoked_at=1.0)
        assert get_with_key(app, "/key", key) == INVALID_KEY
        assert last_used(app) is None
