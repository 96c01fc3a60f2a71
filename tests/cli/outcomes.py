"""How a command of `flask convex` ends, and what runs one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str
    exception: BaseException | None

    @property
    def json(self) -> Any:
        """What a program reads."""
        return json.loads(self.out)


Convex = Callable[..., Outcome]
