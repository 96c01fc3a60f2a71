"""`flask convex keys` and `tokens`."""

import datetime
import time

import pytest
from flask import Flask

from flask_convex_http.cli.options import duration
from tests.cli.conftest import Convex
from tests.cli.shop import make_app

HOUR = 3600 * 1000


def status_of(convex: Convex, group: str) -> list[str]:
    """Return the status of each credential, oldest first."""
    return [stored["status"] for stored in convex(group, "list", "--json").json]


def is_valid(folder: object, key: str) -> bool:
    """Return whether an app on the same database accepts a key."""
    app: Flask = make_app(str(folder))
    backend = app.extensions["convex_http"]
    found = backend.api_keys.verify(key) or backend.tokens.verify(key)
    backend.close()
    return found is not None


def test_a_new_key_is_printed_once_and_works(convex: Convex, tmp_path: object) -> None:
    """A new key alone is on stdout, works, and is in no list."""
    created = convex("keys", "create", "--name", "ci", "--scope", "read", "--scope", "write")
    assert created.status == 0
    key = created.out.strip()
    assert created.out == f"{key}\n"
    assert "not shown again" in created.err
    assert is_valid(tmp_path, key)
    for listed in (convex("keys", "list"), convex("keys", "list", "--json"), convex("data", "api_keys")):
        assert key not in listed.out
    stored = convex("keys", "list", "--json").json[0]
    assert (stored["name"], stored["scopes"], stored["status"]) == ("ci", ["read", "write"], "valid")
    assert "hash" not in stored


def test_json_of_a_new_key_is_one_document(convex: Convex, tmp_path: object) -> None:
    """With --json, the key is a field beside its stored document, which has no hash."""
    created = convex("keys", "create", "--name", "ci", "--expires", "12h", "--json")
    assert is_valid(tmp_path, created.json["key"])
    assert created.json["expires_at"] - created.json["_creationTime"] == pytest.approx(12 * HOUR, abs=60_000)
    assert "hash" not in created.json
    assert created.err == ""


def test_a_date_is_in_utc(convex: Convex) -> None:
    """A date without a zone is midnight in UTC."""
    created = convex("keys", "create", "--name", "ci", "--expires", "2099-01-01", "--json").json
    assert created["expires_at"] == datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC).timestamp() * 1000


@pytest.mark.parametrize("expires", ["2001-01-01", "0s", "soon", "-1d", "30", "999999999w", "37000d", "", "٣d"])
def test_an_impossible_expiry_is_wrong_usage(convex: Convex, expires: str) -> None:
    """A time in the past or no time at all is wrong usage, and no key is created."""
    refused = convex("keys", "create", "--name", "ci", "--expires", expires)
    assert refused.status == 2
    assert "--expires" in refused.err
    assert convex("keys", "list", "--json").json == []


@pytest.mark.parametrize(
    "options", [[], ["--name", " "], ["--name", "ci", "--scope", "a b"], ["--name", "ci", "--scope", ""]]
)
def test_a_key_without_a_proper_name_or_scope_is_wrong_usage(convex: Convex, options: list[str]) -> None:
    """A key needs a name, and a scope is one word."""
    assert convex("keys", "create", *options).status == 2


def test_a_revoked_key_stops_working(convex: Convex, tmp_path: object) -> None:
    """A key that is revoked by name is invalid at once, and to revoke it again changes nothing."""
    key = convex("keys", "create", "--name", "ci").out.strip()
    first = convex("keys", "revoke", "ci", "--json")
    assert first.status == 0
    assert not is_valid(tmp_path, key)
    again = convex("keys", "revoke", first.json["_id"], "--json")
    assert again.json == first.json
    assert "already" in convex("keys", "revoke", "ci").out


def test_an_ambiguous_name_lists_the_ids(convex: Convex) -> None:
    """If two valid keys share a name, neither is revoked, and the error lists their ids."""
    ids = [convex("keys", "create", "--name", "ci", "--json").json["_id"] for _ in range(2)]
    refused = convex("keys", "revoke", "ci")
    assert refused.status == 1
    assert all(key_id in refused.err for key_id in ids)
    assert status_of(convex, "keys") == ["valid", "valid"]
    assert convex("keys", "revoke", ids[0]).status == 0
    assert convex("keys", "revoke", "ci").status == 0
    assert status_of(convex, "keys") == ["revoked", "revoked"]


@pytest.mark.parametrize("command", ["keys revoke", "keys rotate", "tokens revoke"])
def test_unknown_credentials_are_errors(convex: Convex, command: str) -> None:
    """An unknown id or name is an error that repeats it."""
    refused = convex(*command.split(), "nobody")
    assert refused.status == 1
    assert "'nobody'" in refused.err


def test_rotation_leaves_both_keys_valid_for_a_while(convex: Convex, tmp_path: object) -> None:
    """The new key has the name and scopes of the old one, which expires after --keep."""
    old = convex("keys", "create", "--name", "ci", "--scope", "read", "--json").json
    new = convex("keys", "rotate", "ci", "--keep", "2h", "--json").json
    assert (new["name"], new["scopes"]) == ("ci", ["read"])
    assert new["replaced"]["id"] == old["_id"]
    assert new["replaced"]["expires_at"] == pytest.approx(time.time() * 1000 + 2 * HOUR, abs=60_000)
    assert is_valid(tmp_path, old["key"])
    assert is_valid(tmp_path, new["key"])
    stored = convex("keys", "list", "--json").json
    assert stored[0]["expires_at"] == new["replaced"]["expires_at"]
    assert stored[1]["expires_at"] is None


def test_a_name_is_revoked_during_a_rotation(convex: Convex, tmp_path: object) -> None:
    """While the old key of a rotation is still valid, to revoke the name ends both keys."""
    old = convex("keys", "create", "--name", "ci").out.strip()
    new = convex("keys", "rotate", "ci").out.strip()
    convex("keys", "create", "--name", "other")
    revoked = convex("keys", "revoke", "ci", "--json")
    assert revoked.status == 0
    assert len(revoked.json) == 2
    assert convex("keys", "revoke", "ci").out.count("already") == 2
    assert not is_valid(tmp_path, old)
    assert not is_valid(tmp_path, new)
    assert status_of(convex, "keys") == ["revoked", "revoked", "valid"]


def test_rotation_can_end_the_old_key_at_once(convex: Convex, tmp_path: object) -> None:
    """With --keep 0s only the new key is valid."""
    old = convex("keys", "create", "--name", "ci").out.strip()
    new = convex("keys", "rotate", "ci", "--keep", "0s").out.strip()
    assert not is_valid(tmp_path, old)
    assert is_valid(tmp_path, new)
    assert status_of(convex, "keys") == ["expired", "valid"]


def test_rotation_keeps_the_expiry(convex: Convex) -> None:
    """Both keys expire when the old one would have, unless --expires is given."""
    old = convex("keys", "create", "--name", "ci", "--expires", "1h", "--json").json
    new = convex("keys", "rotate", "ci", "--json").json
    assert new["expires_at"] == old["expires_at"] == new["replaced"]["expires_at"]
    longer = convex("keys", "rotate", new["_id"], "--expires", "90d", "--json").json
    assert longer["expires_at"] > old["expires_at"]


def test_a_revoked_key_cannot_be_rotated(convex: Convex) -> None:
    """A revoked key cannot be rotated."""
    convex("keys", "create", "--name", "ci")
    convex("keys", "revoke", "ci")
    refused = convex("keys", "rotate", "ci")
    assert refused.status == 1
    assert "revoked" in refused.err
    assert len(status_of(convex, "keys")) == 1


def test_a_token_is_created_listed_and_revoked(convex: Convex, tmp_path: object) -> None:
    """A token for a subject is created, listed and revoked as a key is."""
    created = convex("tokens", "create", "--subject", "user_1", "--scope", "read", "--json").json
    assert is_valid(tmp_path, created["token"])
    shown = convex("tokens", "list").out
    assert "user_1" in shown
    assert created["token"] not in shown
    assert convex("tokens", "revoke", created["_id"]).status == 0
    assert not is_valid(tmp_path, created["token"])
    assert status_of(convex, "tokens") == ["revoked"]


def test_a_token_is_rotated(convex: Convex, tmp_path: object) -> None:
    """The new token has the subject, name and scopes of the old one, which expires after --overlap."""
    create = ("tokens", "create", "--owner", "user_1", "--name", "phone", "--scope", "read", "--json")
    old = convex(*create).json
    new = convex("tokens", "rotate", old["_id"], "--overlap", "0s", "--json").json
    assert (new["subject"], new["name"], new["scopes"]) == ("user_1", "phone", ["read"])
    assert (is_valid(tmp_path, old["token"]), is_valid(tmp_path, new["token"])) == (False, True)
    refused = convex("tokens", "rotate", old["_id"])
    assert (refused.status, "flask convex tokens create" in refused.err) == (1, True)


def test_owners(convex: Convex) -> None:
    """A key has an owner, and the lists can be limited to those of an owner."""
    owned = convex("keys", "create", "--name", "script", "--owner", "user_1", "--json").json
    convex("keys", "create", "--name", "ci")
    assert owned["owner"] == "user_1"
    assert [key["name"] for key in convex("keys", "list", "--owner", "user_1", "--json").json] == ["script"]
    shown = convex("keys", "list").out
    assert "OWNER" in shown and "user_1" in shown
    for subject in ("user_1", "user_2"):
        convex("tokens", "create", "--subject", subject)
    assert [token["subject"] for token in convex("tokens", "list", "--owner", "user_2", "--json").json] == ["user_2"]
    assert "'user_3'" in convex("tokens", "list", "--owner", "user_3").out
    assert convex("keys", "create", "--name", "a", "--owner", " ").status == 2


def test_empty_lists_name_the_command(convex: Convex) -> None:
    """Without credentials, people read which command creates one and programs an empty list."""
    for group in ("keys", "tokens"):
        assert f"flask convex {group} create" in convex(group, "list").out
        assert convex(group, "list", "--json").json == []


def test_durations_are_read() -> None:
    """Each unit of a duration stands for its length."""
    assert [duration(text).total_seconds() for text in ("90s", "2m", "1h", "1d", "1w")] == [
        90,
        120,
        3600,
        86400,
        604800,
    ]
