"""The CONVEX_ settings: what each takes, and how a wrong one is reported."""

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import ConfigurationError
from flask_convex_http.config import Settings, shown_url, sqlite_path

SECRET = "correct horse battery staple, twice over"
KEYS = [
    "CONVEX_DATABASE_URL",
    "CONVEX_STORAGE_URL",
    "CONVEX_SECRET",
    "CONVEX_SITE_URL",
    "CONVEX_MAX_BODY_BYTES",
    "CONVEX_MAX_UPLOAD_BYTES",
    "CONVEX_API_KEY_PREFIX",
    "CONVEX_DURABILITY",
    "CONVEX_WRITE_TIMEOUT",
    "CONVEX_WRITE_QUEUE",
]


def refusal(key: str, value: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({key: value})
    return str(caught.value)


def test_nothing_set() -> None:
    """Everything has a default, so that an app needs no configuration."""
    assert Settings.from_mapping({}) == Settings()


def test_everything_set() -> None:
    """Each key ends up in the setting of its name; other keys are Flask's and others' business."""
    given = {
        "CONVEX_DATABASE_URL": "sqlite:///a.db",
        "CONVEX_STORAGE_URL": " sqlite:////srv/b.db ",
        "CONVEX_SECRET": SECRET,
        "CONVEX_SITE_URL": "https://example.com/app/",
        "CONVEX_MAX_BODY_BYTES": 1,
        "CONVEX_MAX_UPLOAD_BYTES": 2,
        "CONVEX_API_KEY_PREFIX": "acme1",
        "CONVEX_DURABILITY": "normal",
        "CONVEX_WRITE_TIMEOUT": 3,
        "CONVEX_WRITE_QUEUE": 4,
        "SECRET_KEY": "flask's own",
        "convex_secret": "another one's",
    }
    assert Settings.from_mapping(given) == Settings(
        database_url="sqlite:///a.db",
        storage_url="sqlite:////srv/b.db",
        secret=SECRET,
        site_url="https://example.com/app",
        max_body_bytes=1,
        max_upload_bytes=2,
        api_key_prefix="acme1",
        durability="normal",
        write_timeout=3.0,
        write_queue=4,
    )


@pytest.mark.parametrize("key", KEYS)
def test_none_is_not_set(key: str) -> None:
    """None means that the key is not set."""
    assert Settings.from_mapping({key: None}) == Settings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in KEYS[:2] for value in ("", " ", 1, True, "a.db", "sqlite:a.db", "sqlite:///", b"x")),
        *((key, f"{scheme}://user:password@host/db") for key in KEYS[:2] for scheme in ("mysql", "sqlite", "")),
        *(("CONVEX_SECRET", value) for value in ("", "a" * 31, 10**40, b"a" * 40)),
        *(
            ("CONVEX_SITE_URL", value)
            for value in (
                "",
                "example.com",
                "ftp://example.com",
                "https://",
                "https:///x",
                "https://a b",
                "https://a?b",
                1,
            )
        ),
        *((key, value) for key in KEYS[4:6] for value in (0, -1, 1.5, "1000", True, "20 MB")),
        *(("CONVEX_API_KEY_PREFIX", value) for value in ("", "A", "1a", "a_b", "a-b", "a" * 17, "é", 1, "a\n")),
        *(("CONVEX_DURABILITY", value) for value in ("", "FULL", "off", "full ", 2, True, b"full", ["full"])),
        *(
            ("CONVEX_WRITE_TIMEOUT", value)
            for value in (0, 0.0, -1, 3600.1, float("nan"), float("inf"), True, "10", 10**400)
        ),
        *(("CONVEX_WRITE_QUEUE", value) for value in (0, -1, 1.0, "1000", True, float("inf"))),
    ],
)
def test_wrong_value(key: str, value: Any) -> None:
    """A wrong value fails at start, and the message names the key and what it should look like."""
    assert refusal(key, value).startswith(f"{key} must ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("CONVEX_DURABILITY", value) for value in ("full", "normal")),
        *(("CONVEX_WRITE_TIMEOUT", value) for value in (0.001, 1, 2.5, 3600)),
        *(("CONVEX_WRITE_QUEUE", value) for value in (1, 10**6)),
    ],
)
def test_how_writes_are_made(key: str, value: Any) -> None:
    """How durable writes are, and how long and how many may wait, can be anything that makes sense."""
    made = Settings.from_mapping({key: value})
    assert getattr(made, key.removeprefix("CONVEX_").lower()) == value


def test_writes_are_durable_unless_said_otherwise() -> None:
    """What was answered is on the disk by default; writes wait ten seconds, a thousand at most."""
    made = Settings.from_mapping({})
    assert (made.durability, made.write_timeout, made.write_queue) == ("full", 10.0, 1000)


def test_messages_hold_no_secrets() -> None:
    """No message repeats a secret or what may be a password in a URL."""
    assert "hunter2" not in refusal("CONVEX_SECRET", "hunter2")
    assert "hunter2" not in refusal("CONVEX_DATABASE_URL", "mysql://ada:hunter2@db/app")
    assert "hunter2" not in refusal("CONVEX_DATABASE_URL", "hunter2")
    assert "hunter2" not in refusal("CONVEX_SITE_URL", "hunter2")
    assert SECRET not in repr(Settings(secret=SECRET))
    url = "postgresql://ada:hunter2@db1,db2:5433/app?password=hunter2"
    assert "hunter2" not in repr(Settings(database_url=url))
    assert shown_url(url) == "postgresql://db1,db2:5433/app"


@pytest.mark.parametrize("url", ["postgresql://app@db/app", "postgres:///app?host=/run/postgresql", "postgresql://"])
def test_a_database_elsewhere(url: str) -> None:
    """A database may be a PostgreSQL, named as libpq does."""
    assert Settings.from_mapping({"CONVEX_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize("url", ["s3://app-files", "s3://app-files/production/eu"])
def test_files_in_a_bucket(url: str) -> None:
    """The bytes of files may be in a bucket, below a prefix."""
    assert Settings.from_mapping({"CONVEX_STORAGE_URL": url}).storage_url == url


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("CONVEX_STORAGE_URL", url)
            for url in ("s3://", "s3://A b", "s3://x", "s3://files?region=eu", "postgresql://a/b")
        ),
        *(("CONVEX_DATABASE_URL", url) for url in ("s3://app-files", "postgresql:/app", "sqlite://a.db", "sqlite:///")),
        *(("CONVEX_DATABASE_CONNECTIONS", count) for count in (0, -1, "10", 2.5, True)),
        *(("CONVEX_STORAGE_REDIRECT", switch) for switch in ("yes", 1, "")),
    ],
)
def test_places_that_cannot_be(key: str, value: Any) -> None:
    """A place that cannot be one is refused at start with what it should look like."""
    assert refusal(key, value).startswith(f"{key} must ")


@pytest.mark.parametrize(
    ("storage", "database"),
    [("sqlite:///a.db", "sqlite:///a.db"), ("sqlite:///./a.db", "sqlite:///a.db"), ("sqlite:////a", "sqlite:////a")],
)
def test_files_beside_documents(storage: str, database: str) -> None:
    """The bytes of files have a database file of their own."""
    with pytest.raises(ConfigurationError, match="CONVEX_STORAGE_URL must name another file than CONVEX_DATABASE_URL"):
        Settings.from_mapping({"CONVEX_STORAGE_URL": storage, "CONVEX_DATABASE_URL": database})


def test_temporary_database() -> None:
    """With a temporary database the files are temporary too, unless something else is said."""
    assert Settings.from_mapping({"CONVEX_DATABASE_URL": "sqlite:///:memory:"}).storage_url == "sqlite:///:memory:"
    kept = {"CONVEX_DATABASE_URL": "sqlite:///:memory:", "CONVEX_STORAGE_URL": "sqlite:///a.db"}
    assert Settings.from_mapping(kept).storage_url == "sqlite:///a.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a.db", Path("/instance/a.db")),
        ("sqlite:////srv/a.db", Path("/srv/a.db")),
        ("sqlite:///b/a.db", Path("/instance/b/a.db")),
        ("sqlite:///:memory:", None),
    ],
)
def test_relative_paths(url: str, path: Path | None) -> None:
    """A relative path is below the instance folder."""
    assert sqlite_path(url, Path("/instance")) == path


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("CONVEX_DATABSE_URL", "; did you mean CONVEX_DATABASE_URL?"),
        ("CONVEX_SECRET_KEY", "; did you mean CONVEX_SECRET?"),
        ("CONVEX_QQQQQQQQQQQQQQQQQQQQ", ""),
    ],
)
def test_unknown_key(key: str, hint: str, caplog: pytest.LogCaptureFixture) -> None:
    """A key nobody knows is warned about, with the one that was probably meant, and its value is not logged."""
    with caplog.at_level(logging.WARNING):
        assert Settings.from_mapping({key: "hunter2"}) == Settings()
    assert caplog.messages == [f"{key} is not a setting of flask_convex_http{hint}"]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.text())


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
@settings(deadline=None, max_examples=100)
def test_any_value(config: dict[str, Any]) -> None:
    """Whatever is set either makes settings or is one error that names a key."""
    try:
        Settings.from_mapping(config)
    except ConfigurationError as error:
        assert str(error).split()[0] in config
