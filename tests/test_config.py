"""The `CONVEX_` settings: the values that each accepts, and the message for a wrong one."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import ConfigurationError
from flask_convex_http.config import Location, Settings, hide_password
from flask_convex_http.environment import with_environment
from tests.lengths import SAMPLED, examples

SECRET = "correct horse battery staple, twice over"
KEYS = [
    "CONVEX_DATABASE_URL",
    "CONVEX_STORAGE_URL",
    "CONVEX_SECRET",
    "CONVEX_SITE_URL",
    "CONVEX_MAX_BODY_BYTES",
    "CONVEX_MAX_UPLOAD_BYTES",
    "CONVEX_MAX_JSON_BYTES",
    "CONVEX_MAX_FORM_BYTES",
    "CONVEX_MAX_FORM_FIELDS",
    "CONVEX_API_KEY_PREFIX",
    "CONVEX_DURABILITY",
    "CONVEX_WRITE_TIMEOUT",
    "CONVEX_WRITE_QUEUE",
]


def rejection(key: str, value: Any) -> str:
    """Return the message for a wrong value."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({key: value})
    return str(caught.value)


def test_no_key_is_required() -> None:
    """Every setting has a default, so an app needs no configuration."""
    assert Settings.from_mapping({}) == Settings()


def test_each_key_sets_its_field() -> None:
    """Each `CONVEX_` key sets the field of its name, and other keys are ignored."""
    given = {
        "CONVEX_DATABASE_URL": "sqlite:///a.db",
        "CONVEX_STORAGE_URL": " sqlite:////srv/b.db ",
        "CONVEX_SECRET": SECRET,
        "CONVEX_SITE_URL": "https://example.com/app/",
        "CONVEX_FILES_URL": "https://files.example.com",
        "CONVEX_MAX_BODY_BYTES": 1,
        "CONVEX_MAX_UPLOAD_BYTES": 2,
        "CONVEX_MAX_JSON_BYTES": 5,
        "CONVEX_MAX_FORM_BYTES": 6,
        "CONVEX_MAX_FORM_FIELDS": 7,
        "CONVEX_API_KEY_PREFIX": "acme1",
        "CONVEX_INVALID_CREDENTIAL_STATUS": 401,
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
        files_url="https://files.example.com",
        max_body_bytes=1,
        max_upload_bytes=2,
        max_json_bytes=5,
        max_form_bytes=6,
        max_form_fields=7,
        api_key_prefix="acme1",
        invalid_credential_status=401,
        durability="normal",
        write_timeout=3.0,
        write_queue=4,
    )


@pytest.mark.parametrize("key", KEYS)
def test_none_is_not_set(key: str) -> None:
    """None stands for the default."""
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
        *((key, value) for key in KEYS[4:9] for value in (0, -1, 1.5, "1000", True, "20 MB")),
        *(("CONVEX_API_KEY_PREFIX", value) for value in ("", "A", "1a", "a_b", "a-b", "a" * 17, "é", 1, "a\n")),
        *(("CONVEX_INVALID_CREDENTIAL_STATUS", value) for value in (400, 404, "401", True, 401.5, [401])),
        *(("CONVEX_DURABILITY", value) for value in ("", "FULL", "off", "full ", 2, True, b"full", ["full"])),
        *(
            ("CONVEX_WRITE_TIMEOUT", value)
            for value in (0, 0.0, -1, 3600.1, float("nan"), float("inf"), True, "10", 10**400)
        ),
        *(("CONVEX_WRITE_QUEUE", value) for value in (0, -1, 1.0, "1000", True, float("inf"))),
    ],
)
def test_wrong_value(key: str, value: Any) -> None:
    """A wrong value fails at start, with a message that names the key and the expected form."""
    assert rejection(key, value).startswith(f"{key} must ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("CONVEX_DURABILITY", value) for value in ("full", "normal")),
        *(("CONVEX_WRITE_TIMEOUT", value) for value in (0.001, 1, 2.5, 3600)),
        *(("CONVEX_WRITE_QUEUE", value) for value in (1, 10**6)),
    ],
)
def test_settings_of_writes(key: str, value: Any) -> None:
    """Durability, timeout and queue of writes accept their whole range."""
    parsed = Settings.from_mapping({key: value})
    assert getattr(parsed, key.removeprefix("CONVEX_").lower()) == value


def test_writes_are_durable_by_default() -> None:
    """By default commits are synced, writes wait up to ten seconds, and up to a thousand wait."""
    parsed = Settings.from_mapping({})
    assert (parsed.durability, parsed.write_timeout, parsed.write_queue) == ("full", 10.0, 1000)


def test_messages_have_no_secrets() -> None:
    """No message has the value of a secret or the password of a URL."""
    assert "hunter2" not in rejection("CONVEX_SECRET", "hunter2")
    assert "hunter2" not in rejection("CONVEX_DATABASE_URL", "mysql://ada:hunter2@db/app")
    assert "hunter2" not in rejection("CONVEX_DATABASE_URL", "hunter2")
    assert "hunter2" not in rejection("CONVEX_SITE_URL", "hunter2")
    assert SECRET not in repr(Settings(secret=SECRET))
    url = "postgresql://ada:hunter2@db1,db2:5433/app?password=hunter2"
    assert "hunter2" not in repr(Settings(database_url=url))
    assert hide_password(url) == "postgresql://db1,db2:5433/app"


@pytest.mark.parametrize("url", ["postgresql://app@db/app", "postgres:///app?host=/run/postgresql", "postgresql://"])
def test_postgresql_urls_are_accepted(url: str) -> None:
    """The database may be a PostgreSQL, in the forms that libpq takes."""
    assert Settings.from_mapping({"CONVEX_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize("url", ["s3://app-files", "s3://app-files/production/eu"])
def test_s3_urls_are_accepted(url: str) -> None:
    """The blob store may be a bucket, with or without a prefix."""
    assert Settings.from_mapping({"CONVEX_STORAGE_URL": url}).storage_url == url


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("CONVEX_STORAGE_URL", url)
            for url in ("s3://", "s3://A b", "s3://x", "s3://files?region=eu", "postgresql://a/b")
        ),
        *(("CONVEX_DATABASE_URL", url) for url in ("s3://app-files", "postgresql:/app", "sqlite://a.db", "sqlite:///")),
        *((key, url) for key in KEYS[:2] for url in ("sqlite:///data/", "sqlite:////data/", "sqlite:///~/app.db")),
        *(("CONVEX_DATABASE_CONNECTIONS", count) for count in (0, -1, "10", 2.5, True)),
        *(("CONVEX_STORAGE_REDIRECT", switch) for switch in ("yes", 1, "")),
    ],
)
def test_impossible_places_are_rejected(key: str, value: Any) -> None:
    """An impossible place fails at start, with a message that names the key and the expected form."""
    assert rejection(key, value).startswith(f"{key} must ")


@pytest.mark.parametrize(
    ("key", "url", "place", "instead"),
    [
        ("CONVEX_DATABASE_URL", "sqlite:///app.db?timeout=30&key=hunter2", "sqlite:///app.db", "CONVEX_WRITE_TIMEOUT"),
        ("CONVEX_DATABASE_URL", "sqlite:///:memory:?cache=shared", "sqlite:///:memory:", "CONVEX_DURABILITY"),
        ("CONVEX_DATABASE_URL", "sqlite:///file:app.db?mode=ro", "sqlite:///file:app.db", "CONVEX_DURABILITY"),
        ("CONVEX_STORAGE_URL", "sqlite:////srv/files.db?timeout=30", "sqlite:////srv/files.db", "CONVEX_WRITE_TIMEOUT"),
        ("CONVEX_STORAGE_URL", "s3://app-files/x?region=eu", "s3://app-files/x", "AWS_REGION"),
    ],
)
def test_urls_without_options(key: str, url: str, place: str, instead: str) -> None:
    """An option in the URL of a file or a bucket fails at start; the message names it, and the setting instead."""
    message = rejection(key, url)
    assert re.search(rf"\((timeout|cache|mode|region).*\): write {re.escape(place)} and set .*{instead}", message)
    assert "hunter2" not in message


def test_the_timeout_in_the_url() -> None:
    """`?timeout=` in the URL of a SQLite database sets the write timeout, unless the setting says it too."""
    key = "CONVEX_DATABASE_URL"
    settings = Settings.from_mapping({key: " sqlite:////data/app.db?timeout=2.5 "})
    assert (settings.database_url, settings.write_timeout) == ("sqlite:////data/app.db", 2.5)
    assert settings.storage_url == "sqlite:////data/app-files.db"
    with pytest.raises(ConfigurationError, match="keep one"):
        Settings.from_mapping({key: "sqlite:///app.db?timeout=30", "CONVEX_WRITE_TIMEOUT": 10})
    for wrong in ("0", "-1", "", "1e3", "4000", "soon"):
        assert rejection(key, f"sqlite:///app.db?timeout={wrong}").startswith("CONVEX_")


@pytest.mark.parametrize(
    ("database", "files"),
    [
        ("sqlite:///convex.db", "sqlite:///convex-files.db"),
        ("sqlite:////data/convex.db", "sqlite:////data/convex-files.db"),
        ("sqlite:////data/shop.sqlite3", "sqlite:////data/shop-files.sqlite3"),
        ("sqlite:///sub/shop", "sqlite:///sub/shop-files"),
        ("postgresql://app@db/app", "sqlite:///convex-files.db"),
    ],
)
def test_files_are_beside_the_database(database: str, files: str) -> None:
    """By default files are in a database of their own beside the SQLite database, and moves with it."""
    assert Settings.from_mapping({"CONVEX_DATABASE_URL": database}).storage_url == files


def test_files_of_an_earlier_version_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files at the earlier default are used until there are files beside the database, with a warning what to set."""
    database = {"CONVEX_DATABASE_URL": f"sqlite:///{tmp_path}/data/shop.db"}
    beside = f"sqlite:///{tmp_path}/data/shop-files.db"
    assert Settings.from_mapping(database, tmp_path).storage_url == beside
    (tmp_path / "convex-files.db").touch()
    assert caplog.messages == []
    assert Settings.from_mapping(database, tmp_path).storage_url == "sqlite:///convex-files.db"
    assert f"set CONVEX_STORAGE_URL=sqlite:///{tmp_path}/convex-files.db" in caplog.messages[0]
    explicit = database | {"CONVEX_STORAGE_URL": beside}
    assert Settings.from_mapping(explicit, tmp_path).storage_url == beside
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shop-files.db").touch()
    assert Settings.from_mapping(database, tmp_path).storage_url == beside
    assert len(caplog.messages) == 1


def test_the_environment_sets_missing_keys() -> None:
    """A key that the app has not set comes from FLASK_CONVEX_..., then from the bare variable, then it is the default.

    An empty variable is not set.
    """
    variables = {
        "CONVEX_DATABASE_URL": "sqlite:////bare.db",
        "FLASK_CONVEX_DATABASE_URL": "sqlite:////flask.db",
        "CONVEX_STORAGE_URL": "sqlite:////bare-files.db",
        "FLASK_CONVEX_SECRET": "1234567890" * 4,
        "CONVEX_WRITE_QUEUE": "7",
        "CONVEX_WORKER": "off",
        "FLASK_CONVEX_DURABILITY": "",
        "CONVEX_SITE_URL": "https://env.example",
        "CONVEX_URL": "of another program",
    }
    config = {"CONVEX_SITE_URL": "https://app.example", "CONVEX_API_KEY_PREFIX": None, "OTHER": 1}
    assert Settings.from_mapping(with_environment(config, variables)) == Settings(
        database_url="sqlite:////flask.db",
        storage_url="sqlite:////bare-files.db",
        secret="1234567890" * 4,
        write_queue=7,
        worker="off",
        site_url="https://app.example",
    )


@pytest.mark.parametrize("prefix", ["", "FLASK_"])
def test_a_misspelt_variable_is_warned_about(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """A variable that is almost a setting is a warning without its value. One of another program is not."""
    variables = {f"{prefix}CONVEX_DATABSE_URL": "hunter2", "CONVEX_DEPLOYMENT": "dev:owl", "CONVEX_CLOUD_URL": "x"}
    assert Settings.from_mapping(with_environment({}, variables)) == Settings()
    hint = "CONVEX_DATABSE_URL is not a setting of flask_convex_http; did you mean CONVEX_DATABASE_URL?"
    assert caplog.messages == [hint]


def test_a_wrong_variable_fails_at_start() -> None:
    """A wrong value in the environment fails like one in the config."""
    with pytest.raises(ConfigurationError, match=r"CONVEX_WRITE_QUEUE must be a whole number, 1 or more"):
        Settings.from_mapping(with_environment({}, {"CONVEX_WRITE_QUEUE": "0"}))


def test_tests_ignore_the_environment() -> None:
    """An app with TESTING never uses the database that a developer's environment names."""
    variables = {"CONVEX_DATABASE_URL": "sqlite:////precious.db", "FLASK_CONVEX_WORKER": "off"}
    assert with_environment({"TESTING": True}, variables) == {"TESTING": True}


@pytest.mark.parametrize(
    ("storage", "database"),
    [("sqlite:///a.db", "sqlite:///a.db"), ("sqlite:///./a.db", "sqlite:///a.db"), ("sqlite:////a", "sqlite:////a")],
)
def test_database_and_blob_store_need_two_files(storage: str, database: str) -> None:
    """The blob store cannot be in the database's file."""
    with pytest.raises(ConfigurationError, match="CONVEX_STORAGE_URL must name another file than CONVEX_DATABASE_URL"):
        Settings.from_mapping({"CONVEX_STORAGE_URL": storage, "CONVEX_DATABASE_URL": database})


def test_temporary_database() -> None:
    """With a temporary database the blob store is temporary too, unless it is set."""
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
    assert Location.parse(url, Path("/instance")).path == path


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("sqlite:///a.db", "sqlite:///b/../a.db", True),
        ("sqlite:///a.db", "sqlite:////instance/a.db", True),
        ("sqlite:///a.db", "sqlite:///b.db", False),
        ("sqlite:///a.db", "sqlite:///:memory:", False),
        ("s3://files/app", "s3://files/app/", True),
        ("s3://files/app", "s3://files/app2", False),
    ],
)
def test_locations_are_compared(one: str, other: str, is_same: bool) -> None:
    """Two URLs of one file or bucket have the same key."""
    folder = Path("/instance")
    assert (Location.parse(one, folder).key == Location.parse(other, folder).key) is is_same


def test_a_location_is_printed_without_its_password() -> None:
    """The text of a location is its file, or its URL without user, password and query."""
    url = "postgresql://ada:hunter2@db/app?sslmode=require"
    assert str(Location.parse(url, Path("/instance"))) == "postgresql://db/app"
    assert "hunter2" not in repr(Location.parse(url, Path("/instance")))
    assert str(Location.parse("sqlite:///a.db", Path("/instance"))) == "/instance/a.db"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("CONVEX_DATABSE_URL", "; did you mean CONVEX_DATABASE_URL?"),
        ("CONVEX_SECRET_KEY", "; did you mean CONVEX_SECRET?"),
        ("CONVEX_QQQQQQQQQQQQQQQQQQQQ", ""),
    ],
)
def test_unknown_key(key: str, hint: str, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown key is logged as a warning with the most similar one, and without its value."""
    with caplog.at_level(logging.WARNING):
        assert Settings.from_mapping({key: "hunter2"}) == Settings()
    assert caplog.messages == [f"{key} is not a setting of flask_convex_http{hint}"]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.text())


@SAMPLED
@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
@settings(deadline=None, max_examples=examples(100))
def test_any_value(config: dict[str, Any]) -> None:
    """Any values either are valid settings or raise one error that names a key."""
    try:
        Settings.from_mapping(config)
    except ConfigurationError as error:
        assert str(error).split()[0] in config
