"""A process that has not configured logging, for tests of what is visible then."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from flask_convex_http.log import logger_of


@contextmanager
def unconfigured() -> Iterator[io.StringIO]:
    """Be a process that has not configured logging, and yield what is written to stderr."""
    logger, level, handlers = logger_of(), logger_of().level, logging.root.handlers
    with pytest.MonkeyPatch.context() as patched, redirect_stderr(io.StringIO()) as stderr:
        patched.setattr(logging.root, "handlers", [])  # pytest's own
        logger.setLevel(logging.NOTSET)
        yield stderr
    logger.handlers.clear()
    logger.setLevel(level)
    assert logging.root.handlers is handlers
