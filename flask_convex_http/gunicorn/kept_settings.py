"""The settings of a worker, kept as attributes."""

from __future__ import annotations

from typing import Any


def keep_settings(cfg: Any) -> None:
    """Keep the values of the settings as attributes. A worker looks up seventeen for each request.

    gunicorn finds each in a method that Python calls for absent attributes. It took a quarter of a request without the
    app. A worker's settings do not change: gunicorn starts other workers for new ones.
    """
    values = {name: setting.get() for name, setting in cfg.settings.items()}
    vars(cfg).update((name, value) for name, value in values.items() if not hasattr(type(cfg), name))
