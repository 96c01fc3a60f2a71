"""The loggers of the package, and what keeps their lines bounded.

Every logger passes its records through `SafeRecords`, since exceptions of applications hold text from outside: no line
is very long, and none can look like another one or command a terminal. The package configures no logging that the
application has configured.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal, TextIO

from flask_convex_http.error_texts import LONGEST_TEXT, escape, text_of

NAME = "flask_convex_http"
#: The parts of the package that have a logger of their own, such as `flask_convex_http.jobs`.
Part = Literal["dashboard", "database", "functions", "jobs", "live", "requests", "webhooks"]
PARTS: tuple[Part, ...] = ("dashboard", "database", "functions", "jobs", "live", "requests", "webhooks")

#: The format of lines where the application has configured nothing. The process tells the workers of a server apart.
_FORMAT = "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S %z"

#: Characters of a message.
_LONGEST_MESSAGE = 4000
#: Frames of a traceback: the first ones, and the last ones.
_FIRST_FRAMES, _LAST_FRAMES = 20, 60
#: Characters of all tracebacks of one record.
_LONGEST_TRACEBACKS = 16_000
#: Exceptions of a chain, and of a group.
_MOST_EXCEPTIONS = 10


def logger_of(part: Part | None = None) -> logging.Logger:
    """Return the logger of a part of the package, or the one above all parts."""
    logger = logging.getLogger(NAME if part is None else f"{NAME}.{part}")
    if not any(isinstance(known, SafeRecords) for known in logger.filters):
        logger.addFilter(SafeRecords())
    return logger


#: `extra=EVENT` marks a line that tells what an event of `telemetry` tells too. It is for people who read text, and
#: is left out where the event itself is logged.
EVENT = {"convex_event": True}
#: What formats all lines where the application has configured nothing, and whether events are logged; see `set_style`.
_formatter: logging.Formatter | None = None
_has_events = False
#: Called with each record of the package's loggers, in its final form.
observers: list[Callable[[logging.LogRecord], None]] = []


def is_event(record: logging.LogRecord) -> bool:
    """Return whether an event tells what a line tells, or the line is that of an event."""
    return "convex_event" in record.__dict__ or "convex" in record.__dict__


class Lines(str):
    """Several lines that the package itself has made, such as a stack: they stay lines in a message."""

    __slots__ = ()


class SafeRecords(logging.Filter):
    """Bounds and escapes the texts of records. Drops those whose event is logged too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten and escape the message and the traceback of a record, if it needs that."""
        if _has_events and "convex_event" in record.__dict__:
            return False
        message = record.getMessage()
        if len(message) > _LONGEST_MESSAGE or not message.isprintable():
            if isinstance(record.args, tuple) and record.args:
                record.args = tuple(map(_safe_argument, record.args))
            else:
                record.msg, record.args = _one_line(message, _LONGEST_MESSAGE), ()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            related = list(islice(_related(error, set()), _MOST_EXCEPTIONS + 1))
            if len(related) > _MOST_EXCEPTIONS or not all(map(_is_safe, related)):
                record.exc_text = _safe_tracebacks(related)  # a formatter takes it, and formats no exception then
        for observer in observers:
            observer(record)
        return True


# --- configuration ---------------------------------------------------------------------------------------------------


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to stderr while the root logger has no handler, so that no line is written twice."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter(_FORMAT, _TIME_FORMAT))
        self.addFilter(lambda record: not logging.root.handlers)


def set_style(formatter: logging.Formatter | None) -> None:
    """Log events as records of their own from now on.

    Args:
        formatter: Formats all lines where the application has configured nothing; None for text.
    """
    global _formatter, _has_events
    _formatter, _has_events = formatter or _formatter, True


def show_unless_configured() -> None:
    """Write lines from INFO on to stderr, unless the application has configured logging.

    Configured means a handler on the root logger, or on a logger of the package. A level that the application has set
    stays.
    """
    if not is_unconfigured():
        return
    if _formatter is None:
        show(_Stderr(), logging.INFO)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter)
    logging.root.addHandler(handler)
    set_default_level(logging.INFO)
    _replace_lines_of_werkzeug()


def formats_all_lines() -> bool:
    """Return whether `show_unless_configured` has put the formatter of `set_style` on the root logger."""
    return _formatter is not None and any(handler.formatter is _formatter for handler in logging.root.handlers)


def is_styled() -> bool:
    """Return whether `set_style` has given a formatter for all lines."""
    return _formatter is not None


def _replace_lines_of_werkzeug() -> None:
    """Leave the lines of Werkzeug's server to the root logger, without those of requests, which are events."""
    logger = logging.getLogger("werkzeug")
    for handler in list(logger.handlers):
        if type(handler).__module__ == "werkzeug._internal":  # its own, which the application has not configured
            logger.removeHandler(handler)
    logger.addFilter(lambda record: " - - [" not in str(record.msg))


def is_unconfigured() -> bool:
    """Return whether no handler receives the package's records."""
    return not logger_of().hasHandlers() and not any(logger_of(part).handlers for part in PARTS)


def show(handler: logging.Handler, level: int) -> None:
    """Let a handler receive the package's records, from a level on unless the application has set one."""
    logger_of().addHandler(handler)
    set_default_level(level)


def set_default_level(level: int) -> None:
    """Set the level of the package's loggers, unless the application has set one."""
    if logger_of().level == logging.NOTSET:
        logger_of().setLevel(level)


def configure_process() -> None:
    """Write the lines of all loggers to stderr, and those of the package from INFO on, for a process of its own.

    A configuration of the application stays as it is.
    """
    if _formatter is not None:
        show_unless_configured()
    elif is_unconfigured():
        logging.basicConfig(format=_FORMAT, datefmt=_TIME_FORMAT)
        set_default_level(logging.INFO)


# --- exceptions ------------------------------------------------------------------------------------------------------


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception and of those that led to it, bounded and escaped."""
    return _safe_tracebacks(list(islice(_related(error, set()), _MOST_EXCEPTIONS)))


def _related(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an exception and those that a traceback prints with it, the last one first."""
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        for member in current.exceptions if isinstance(current, BaseExceptionGroup) else ():
            yield from _related(member, seen)
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def _is_safe(error: BaseException) -> bool:
    """Return whether the usual traceback of an exception is bounded, and has one line for its text."""
    try:
        text = "".join(traceback.format_exception_only(error)).removesuffix("\n")
    except BaseException:  # the exception cannot be formatted
        return False
    frames = sum(1 for _ in islice(traceback.walk_tb(error.__traceback__), _FIRST_FRAMES + _LAST_FRAMES + 1))
    return len(text) <= LONGEST_TEXT and text.isprintable() and frames <= _FIRST_FRAMES + _LAST_FRAMES


def _safe_tracebacks(related: Sequence[BaseException]) -> str:
    """Return the bounded tracebacks of exceptions, in the order in which they were raised."""
    text = "\n\nwhich led to\n\n".join(map(_safe_traceback, reversed(related[:_MOST_EXCEPTIONS])))
    if len(text) <= _LONGEST_TRACEBACKS:
        return text
    half = _LONGEST_TRACEBACKS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _safe_traceback(error: BaseException) -> str:
    frames = list(traceback.extract_tb(error.__traceback__))
    middle: list[str] = []
    if len(frames) > _FIRST_FRAMES + _LAST_FRAMES:
        middle = [f"  ... {len(frames) - _FIRST_FRAMES - _LAST_FRAMES} frames left out ...\n"]
        first, last = frames[:_FIRST_FRAMES], frames[-_LAST_FRAMES:]
    else:
        first, last = frames, []
    lines = [*traceback.format_list(first), *middle, *traceback.format_list(last)]
    head = "Traceback (most recent call last):\n" if frames else ""
    return head + "".join(lines) + _one_line(text_of(error), LONGEST_TEXT)


def _safe_argument(value: object) -> object:
    """Return an argument of a message as a text that is bounded and has one line."""
    if isinstance(value, (Lines, int, float)):
        return value
    return _one_line(str(value), _LONGEST_MESSAGE)


def _one_line(text: str, limit: int) -> str:
    """Escape line breaks and control characters, and shorten the text."""
    left_out = len(text) - limit
    kept = text if left_out <= 0 else f"{text[:limit]}... ({left_out} more characters)"
    return escape(kept).replace("\n", "\\n").replace("\t", "\\t")
