"""The result of a command of `flask convex`, and the type of a function that runs one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    status: int
    out: str
    err: str
    exception: BaseException | None

    @property
    def json(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)


Convex = Callable[..., Outcome]
