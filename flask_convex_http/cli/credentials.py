"""`flask convex keys ...` and `tokens ...`: create, list, rotate and revoke API keys and access tokens."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup

from flask_convex_http.cli import options
from flask_convex_http.cli.output import json_option, moment, note, print_json, print_table
from flask_convex_http.credentials import Credentials, without_hash
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import AccessToken, ApiKey

Expiry = datetime.timedelta | datetime.datetime

keys = AppGroup("keys", help="API keys, which clients send as X-API-Key.")
tokens = AppGroup("tokens", help="Access tokens, which clients send as Authorization: Bearer.")


def _text(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("must not be empty.")
    return value.strip()


def _optional_text(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _text(ctx, param, value)


def _scopes(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> list[str]:
    for scope in value:
        if not scope or any(character.isspace() or character == "," for character in scope):
            raise click.BadParameter(f"{scope!r} is not one scope: write --scope read --scope write.")
    return list(dict.fromkeys(value))


_name_option = click.option("--name", required=True, callback=_text, help="A name for people, such as its owner's.")
_scope_option = click.option(
    "--scope", "scopes", multiple=True, callback=_scopes, help="What it may be used for; repeat for several scopes."
)
_expires_option = click.option(
    "--expires", type=options.time, help="When it expires: 30d, 12h or 2027-01-01 (UTC); never if not given."
)
_listed_owner_option = click.option("--owner", help="List those of this owner only.")
_rotated_expires_option = click.option(
    "--expires", type=options.time, help="When the new one expires; as the old one if not given."
)
_overlap_option = click.option(
    "--overlap",
    "--keep",
    "overlap",
    type=options.duration,
    default="24h",
    show_default=True,
    help="How long the old one stays valid; 0s expires it at once.",
)


# --- API keys --------------------------------------------------------------------------------------------------------


@keys.command("create")
@_name_option
@click.option(
    "--owner",
    callback=_optional_text,
    help="The subject of the key's identity, such as a user's id; the id of the key if not given.",
)
@_scope_option
@_expires_option
@json_option
def create_key(name: str, owner: str | None, scopes: list[str], expires: Expiry | None, as_json: bool) -> None:
    """Create an API key and print it once.

    Only a hash of the key is stored. The key alone goes to stdout, everything else to stderr.

    \b
    Examples:
      flask convex keys create --name ci
      flask convex keys create --name ci --scope read --scope write --expires 30d
      flask convex keys create --name script --owner user_1
    """
    backend = current_backend()
    expires_at = options.expires_at(expires, backend.clock())
    key, stored = backend.api_keys.create(name=name, owner=owner, scopes=scopes, expires_at=expires_at)
    _print_new("key", key, stored, as_json, {})


@keys.command("list")
@_listed_owner_option
@json_option
def list_keys(owner: str | None, as_json: bool) -> None:
    """List the API keys, oldest first, without the keys themselves.

    \b
    Examples:
      flask convex keys list
      flask convex keys list --owner user_1 --json
    """
    empty = "There are no API keys; `flask convex keys create --name ...` creates one."
    _list(current_backend().api_keys, ("name", "owner"), owner, empty, as_json)


@keys.command("revoke")
@click.argument("key", metavar="ID_OR_NAME")
@json_option
def revoke_key(key: str, as_json: bool) -> None:
    """Revoke an API key, at once and for good.

    By name, all valid keys of a rotation are revoked: the new key and the old one that has not expired yet. If more
    than one key of that name has no expiry, they are of different owners, and an id is needed.

    \b
    Examples:
      flask convex keys revoke ci
      flask convex keys revoke api_keys_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    store = current_backend().api_keys
    _revoke(store, _keys_of_rotation(store, key) or [_find_key(store, key)], "key", as_json)


@keys.command("rotate")
@click.argument("key", metavar="ID_OR_NAME")
@_overlap_option
@_rotated_expires_option
@json_option
def rotate_key(key: str, overlap: datetime.timedelta, expires: Expiry | None, as_json: bool) -> None:
    """Replace an API key with a new one of the same name, owner and scopes.

    The old key expires soon.

    \b
    Examples:
      flask convex keys rotate ci
      flask convex keys rotate ci --overlap 1h --expires 90d
    """
    store = current_backend().api_keys
    _rotate(store, _find_key(store, key), "key", overlap, expires, as_json)


def _keys_of_rotation(store: Credentials[ApiKey], name: str) -> list[ApiKey]:
    """Return the valid keys of a name, if at most one has no expiry: a rotation gives the old key an expiry.

    If no key of the name is valid, return all of them, since there is nothing to choose.
    """
    named = [key for key in store.all() if key.name == name]
    valid = [key for key in named if store.status(key) == "valid"] or named
    return valid if valid is named or sum(key.expires_at is None for key in valid) < 2 else []


def _find_key(store: Credentials[ApiKey], text: str) -> ApiKey:
    """Return the key with an id, or the only valid key with a name."""
    found = store.all()
    by_name = [key for key in found if key.name == text]
    valid = [key for key in by_name if store.status(key) == "valid"]
    candidates = [key for key in found if key.id == text] or valid or by_name
    if not candidates:
        raise click.ClickException(
            f"There is no API key with the id or name {text!r}; `flask convex keys list` lists them"
        )
    if len(candidates) > 1:
        listed = "\n".join(f"  {key.id}  {key.hint}...  {store.status(key)}" for key in candidates)
        raise click.ClickException(f"{len(candidates)} API keys have the name {text!r}; give the id of one:\n{listed}")
    return candidates[0]


# --- access tokens ---------------------------------------------------------------------------------------------------


@tokens.command("create")
@click.option(
    "--subject", "--owner", "subject", required=True, callback=_text, help="Its owner, such as the id of a user."
)
@click.option("--name", callback=_optional_text, help="A name for people, such as the device.")
@_scope_option
@_expires_option
@json_option
def create_token(subject: str, name: str | None, scopes: list[str], expires: Expiry | None, as_json: bool) -> None:
    """Create an access token and print it once.

    Only a hash of the token is stored. The token alone goes to stdout, everything else to stderr.

    \b
    Examples:
      flask convex tokens create --subject user_1
      flask convex tokens create --subject user_1 --scope read --expires 12h
    """
    backend = current_backend()
    expires_at = options.expires_at(expires, backend.clock())
    token, stored = backend.tokens.create(subject=subject, name=name, scopes=scopes, expires_at=expires_at)
    _print_new("token", token, stored, as_json, {})


@tokens.command("list")
@_listed_owner_option
@json_option
def list_tokens(owner: str | None, as_json: bool) -> None:
    """List the access tokens, oldest first, without the secrets.

    \b
    Examples:
      flask convex tokens list
      flask convex tokens list --owner user_1 --json
    """
    empty = "There are no access tokens; `flask convex tokens create --subject ...` creates one."
    _list(current_backend().tokens, ("subject", "name"), owner, empty, as_json)


@tokens.command("revoke")
@click.argument("token", metavar="ID")
@json_option
def revoke_token(token: str, as_json: bool) -> None:
    """Revoke an access token, at once and for good.

    \b
    Examples:
      flask convex tokens revoke access_tokens_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    store = current_backend().tokens
    _revoke(store, [_find_token(store, token)], "token", as_json)


@tokens.command("rotate")
@click.argument("token", metavar="ID")
@_overlap_option
@_rotated_expires_option
@json_option
def rotate_token(token: str, overlap: datetime.timedelta, expires: Expiry | None, as_json: bool) -> None:
    """Replace an access token with a new one of the same subject, name and scopes.

    The old token expires soon.

    \b
    Examples:
      flask convex tokens rotate access_tokens_0190f3a1b2c3d4e5f60718293a4b5c6d
      flask convex tokens rotate access_tokens_0190f3a1b2c3d4e5f60718293a4b5c6d --overlap 1h --expires 90d
    """
    store = current_backend().tokens
    _rotate(store, _find_token(store, token), "token", overlap, expires, as_json)


def _find_token(store: Credentials[AccessToken], token_id: str) -> AccessToken:
    found = store.find(token_id)
    if found is None:
        raise click.ClickException(
            f"There is no access token with the id {token_id!r}; `flask convex tokens list` lists them"
        )
    return found


# --- shared by both --------------------------------------------------------------------------------------------------


def _print_new(noun: str, secret: str, stored: ApiKey | AccessToken, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        print_json({noun: secret, **without_hash(stored), **more})
        return
    click.echo(secret)
    scopes = ", ".join(stored.scopes) or "none"
    note(f"Id: {stored.id}. Scopes: {scopes}. Expires: {moment(stored.expires_at)}.")
    note(f"Copy the {noun} now: only a hash of it is stored, and it is not shown again.")


def _list(store: Credentials[Any], columns: tuple[str, str], owner: str | None, empty: str, as_json: bool) -> None:
    found = store.all(owner)
    if as_json:
        print_json([{**without_hash(stored), "status": store.status(stored)} for stored in found])
        return
    if not found:
        click.echo(empty if owner is None else f"There are none of the owner {owner!r}.")
        return
    rows = [
        (
            stored.id,
            *(getattr(stored, column) or "" for column in columns),
            f"{stored.hint}...",
            ", ".join(stored.scopes),
            store.status(stored),
            moment(stored.creation_time),
            moment(stored.expires_at),
            moment(stored.last_used_at),
        )
        for stored in found
    ]
    names = (column.upper() for column in columns)
    print_table(("ID", *names, "STARTS WITH", "SCOPES", "STATUS", "CREATED", "EXPIRES", "LAST USED"), rows)


def _rotate(
    store: Credentials[Any],
    old: ApiKey | AccessToken,
    noun: str,
    overlap: datetime.timedelta,
    expires: Expiry | None,
    as_json: bool,
) -> None:
    now = current_backend().clock()
    if store.status(old) != "valid":
        raise click.ClickException(
            f"{old.id} is {store.status(old)}; create a {noun} with `flask convex {noun}s create`"
        )
    text, new, old = store.rotate(
        old.id,
        old_expires_at=now + overlap.total_seconds() * 1000,
        expires_at=old.expires_at if expires is None else options.expires_at(expires, now),
    )
    _print_new(noun, text, new, as_json, {"replaced": {"id": old.id, "expires_at": old.expires_at}})
    note(f"The old {noun} {old.hint}... is valid until {moment(old.expires_at)}.")


def _revoke(store: Credentials[Any], found: Sequence[ApiKey | AccessToken], noun: str, as_json: bool) -> None:
    revoked = [store.revoke(stored.id) for stored in found]
    if as_json:
        printed = [{"_id": stored.id, "revoked_at": stored.revoked_at} for stored in revoked]
        print_json(printed if len(printed) > 1 else printed[0])
        return
    for before, now in zip(found, revoked, strict=True):
        verb = "is revoked" if before.revoked_at is None else f"was revoked at {moment(now.revoked_at)} already"
        click.echo(f"The {noun} {now.hint}... ({now.id}) {verb}.")
