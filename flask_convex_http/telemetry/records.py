"""Log records: the stored form of a request, a function, a job, a delivery or a log line."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

RecordKind = Literal["request", "function", "job", "delivery", "line"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

#: The numbers of the levels, which are those of `logging`.
LEVELS: dict[str, int] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_NAMES: dict[int, Level] = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}

#: The subject of a counter, and the label of one of its values.
CounterKey: TypeAlias = tuple[int, str, str]


class LogRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One record.

    Attributes:
        number: Its number, by which readers continue. 0 until it is stored.
        time: Its time, in milliseconds since the epoch: the end of a request or function.
        level: Its level.
        kind: Its subject; "line" for a line that the code has logged itself.
        logger: The name of the logger.
        message: One line for people.
        request_id: The id of the request that it belongs to, or None.
        function: The function that it is about or that ran, or None.
        data: More of it by name, such as `status`, `ms`, `error` and `traceback`; see `logs.records`.
    """

    number: int = 0
    time: float
    level: Level
    kind: RecordKind
    logger: str
    message: str
    request_id: str | None = None
    function: str | None = None
    data: dict[str, Any] = {}


class LogFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to read.

    Attributes:
        after: Only records with a larger number.
        before: Only records with a smaller number.
        limit: The largest number of records: the first ones after `after`, or the last ones without it.
        request_id: Only those of this request.
        function: Only those of this function.
        kind: Only those of this kind.
        level: Only those of this level or a higher one, as a number.
        text: Only those whose message has this text, whatever its case.
    """

    after: int | None = None
    before: int | None = None
    limit: int = 100
    request_id: str | None = None
    function: str | None = None
    kind: RecordKind | None = None
    level: int = 0
    text: str | None = None


def level_name(number: int) -> Level:
    """Return the name of the highest usual level that is not above a number."""
    return _NAMES[min(max(number // 10 * 10, 10), 50)]
