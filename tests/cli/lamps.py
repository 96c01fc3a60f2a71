"""The lamps of the app of `shop`, through its commands."""

import json

from tests.cli.conftest import Convex


def add(convex: Convex, *names: str) -> None:
    """Store lamps."""
    for name in names:
        assert convex("run", "shop:add", json.dumps({"name": name})).status == 0


def lamps(convex: Convex) -> list[str]:
    """Return the names of the lamps, oldest first."""
    return [row["name"] for row in convex("data", "lamps", "--order", "asc", "--json").json]
