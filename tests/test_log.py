"""The package's log: bounded lines without control characters, and lines that are visible without a configuration."""

import io
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from flask_convex_http import ConvexHTTP, gunicorn, log
from flask_convex_http.error_texts import text_of
from flask_convex_http.log import PARTS, configure_process, logger_of, show_unless_configured
from flask_convex_http.web.state import current_backend
from tests.logs import unconfigured


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler with the usual formatter writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    logger_of().addHandler(handler)
    yield stream
    logger_of().removeHandler(handler)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an exception with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [None, *PARTS])
def test_messages_are_one_short_line(part: log.Part | None, written: io.StringIO) -> None:
    """A text from outside cannot make a long line, another line, or a command for the terminal."""
    logger_of(part).error("Delivery %s failed", "evt\n2027 ERROR forged\x1b[2J\u202e\u2028" + "x" * 100_000)
    assert written.getvalue().count("\n") == 1
    assert r"evt\n2027 ERROR forged\x1b[2J\u202e\u2028xxx" in written.getvalue()
    assert len(written.getvalue()) < 5000


def test_lines_of_the_package_stay_lines(written: io.StringIO) -> None:
    """A stack that the package logs keeps its lines beside texts from outside, which do not."""
    logger_of().error("%s is stuck after %d s:\n%s", "a\nb", 30, log.Lines("first\nsecond"))
    assert written.getvalue().endswith("a\\nb is stuck after 30 s:\nfirst\nsecond\n")


def _too_long() -> BaseException:
    return raised(KeyError("x" * 100_000))


def _forging() -> BaseException:
    return raised(ValueError("no\n2027 ERROR forged \x1b[2J"))


def _too_long_inside() -> BaseException:
    return raised(ValueError("no"), raised(KeyError("x" * 100_000)))


def _group() -> BaseException:
    return raised(BaseExceptionGroup("several", [raised(ValueError("y" * 50_000)), raised(KeyError("x\x1b"))]))


def _many() -> BaseException:
    error = raised(ValueError("x" * 1500))
    for _ in range(200):
        error = raised(ValueError("x" * 1500), error)
    return error


def _deep() -> BaseException:
    def first(depth: int) -> None:
        second(depth - 1) if depth else 1 / 0

    def second(depth: int) -> None:
        first(depth - 1) if depth else 1 / 0

    try:
        first(700)
    except ZeroDivisionError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("made", [_too_long, _forging, _too_long_inside, _group, _many, _deep])
def test_tracebacks_are_bounded(made: Callable[[], BaseException], written: io.StringIO) -> None:
    """A traceback is bounded, and no exception in it forges a line or commands the terminal."""
    logger_of("jobs").error("It failed", exc_info=made())
    assert len(written.getvalue()) < 17_000
    assert "Traceback (most recent call last)" in written.getvalue()
    assert "\x1b" not in written.getvalue()
    assert "\n2027" not in written.getvalue()


def test_usual_tracebacks_are_left_to_the_formatter(written: io.StringIO) -> None:
    """A usual traceback is formatted by the application's formatter, with its cause."""
    logger_of("jobs").error("It failed", exc_info=raised(ValueError("one"), raised(KeyError("two"))))
    assert "KeyError: 'two'\n\nThe above exception was the direct cause" in written.getvalue()
    assert written.getvalue().endswith("ValueError: one\n")


def test_a_record_keeps_its_exception(caplog: pytest.LogCaptureFixture) -> None:
    """Error trackers find the exception itself in the record."""
    error = _too_long()
    logger_of().error("It failed", exc_info=error)
    [record] = caplog.records
    assert record.exc_info is not None and record.exc_info[1] is error


def test_stored_texts_are_bounded_and_escaped() -> None:
    """The text of an exception that is stored is bounded, and has no control characters but line breaks."""
    assert text_of(ValueError("a\x00b\x1b[2J\r\u202e\nc\ud800")) == r"ValueError: a\x00b\x1b[2J\r\u202e" + "\nc\\ud800"
    assert len(text_of(KeyError("\x00" * 10_000))) == 2000


# --- without a configuration -----------------------------------------------------------------------------------------


def test_lines_are_visible_without_a_configuration() -> None:
    """Lines from INFO on are written to stderr, once, with time, process, level and logger."""
    with unconfigured() as stderr:
        for _ in range(2):
            show_unless_configured()
        logger_of("jobs").info("The job is done")
        logger_of("jobs").debug("It was easy")
        logging.getLogger("shop").info("Not the package's")
        [line] = stderr.getvalue().splitlines()
        assert re.match(r"\d{4}-\d\d-\d\d ", line)
        assert line.endswith("] INFO flask_convex_http.jobs: The job is done")


def test_a_configuration_is_left_alone() -> None:
    """Nothing is added where the application has a handler, on the root logger or on one of the package's."""
    with unconfigured() as stderr:
        for logger in (logging.root, logger_of(), logger_of("jobs")):
            handler = logging.NullHandler()
            logger.addHandler(handler)
            show_unless_configured()
            assert logger.handlers == [handler]
            assert logger_of().level == logging.NOTSET
            logger.removeHandler(handler)
        logger_of("jobs").info("The job is done")
        assert stderr.getvalue() == ""


def test_a_later_configuration_takes_over() -> None:
    """If the application configures logging later, no line is written twice."""
    with unconfigured() as stderr:
        show_unless_configured()
        logging.root.addHandler(logging.NullHandler())
        logger_of("jobs").info("The job is done")
        assert stderr.getvalue() == ""


def test_a_level_of_the_application_stays() -> None:
    """A level that the application has set for the package stays."""
    with unconfigured() as stderr:
        logger_of().setLevel(logging.ERROR)
        show_unless_configured()
        logger_of("jobs").warning("The job is late")
        assert stderr.getvalue() == ""


def test_a_process_of_its_own_shows_all_loggers() -> None:
    """A worker process also shows warnings of the application, in the same form."""
    with unconfigured() as stderr:
        configure_process()
        logger_of("jobs").info("The job is done")
        logging.getLogger("shop").warning("The shop is closed")
        logging.getLogger("shop").info("Nobody has come")
        assert [line.partition("] ")[2] for line in stderr.getvalue().splitlines()] == [
            "INFO flask_convex_http.jobs: The job is done",
            "WARNING shop: The shop is closed",
        ]


# --- servers ---------------------------------------------------------------------------------------------------------


def shop(*, testing: bool = False) -> Flask:
    """Return an app without jobs, whose requests start no worker."""
    app = Flask(__name__)
    app.config.from_mapping(CONVEX_DATABASE_URL="sqlite:///:memory:", TESTING=testing)
    ConvexHTTP(app)
    return app


def test_the_first_request_shows_the_log() -> None:
    """An app that has configured no logging shows the package's lines from the first request on."""
    with unconfigured() as stderr:
        shop(testing=True).test_client().get("/")
        logger_of("jobs").info("Too early")
        shop().test_client().get("/")
        logger_of("jobs").info("The job is done")
        assert [line.partition("jobs: ")[2] for line in stderr.getvalue().splitlines()] == ["The job is done"]


def test_a_migration_of_the_app_is_shown() -> None:
    """`convex.migrate()` in the application says what it did."""
    app = shop()
    with unconfigured() as stderr, app.app_context():
        ConvexHTTP().migrate()
        assert "INFO flask_convex_http.database: Migrated the database" in stderr.getvalue()
        current_backend().close()


def test_gunicorn_s_log_has_the_lines(tmp_path: Path) -> None:
    """With the settings for gunicorn the lines go to gunicorn's log, with its time and level."""
    settings = Config()
    settings.set("errorlog", str(tmp_path / "errors.log"))
    worker = SimpleNamespace(log=Logger(settings), wsgi=shop())
    with unconfigured() as stderr:
        gunicorn.post_worker_init(worker)
        logger_of("jobs").info("The job is done")
        logger_of("jobs").debug("It was easy")
        assert stderr.getvalue() == ""
    [line] = (tmp_path / "errors.log").read_text().splitlines()
    assert re.match(r"\[\d{4}-\d\d-\d\d ", line)
    assert line.endswith("] [INFO] The job is done")
    for handler in worker.log.error_log.handlers:
        handler.close()
