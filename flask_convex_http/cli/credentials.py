"""API keys and access tokens from the command line: make, list, rotate and revoke them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, TypeVar

import click
from flask.cli import AppGroup

from flask_convex_http.cli import options
from flask_convex_http.cli.database import without
from flask_convex_http.cli.output import json_option, moment, note, print_json, print_table
from flask_convex_http.credentials import Credentials
from flask_convex_http.schema.system_tables import AccessToken, ApiKey
from flask_convex_http.web.state import current_backend

C = TypeVar("C", ApiKey, AccessToken)

Expiry = datetime.timedelta | datetime.datetime

_HIDDEN = frozenset({"hash"})

keys = AppGroup("keys", help="API keys, which clients send as X-API-Key.")
tokens = AppGroup("tokens", help="Access tokens, which clients send as Authorization: Bearer.")


def _text(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("must not be empty.")
    return value.strip()


def _scopes(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> list[str]:
    for scope in value:
        if not scope or any(character.isspace() or character == "," for character in scope):
            raise click.BadParameter(f"{scope!r} is not one scope: write --scope read --scope write.")
    return list(dict.fromkeys(value))


_name_option = click.option("--name", required=True, callback=_text, help="Whose key it is, for people.")
_scope_option = click.option(
    "--scope", "scopes", multiple=True, callback=_scopes, help="What it may do; several times."
)
_expires_option = click.option("--expires", type=options.time, help="30d, 12h or 2027-01-01 (UTC); never if not given.")


# --- API keys --------------------------------------------------------------------------------------------------------


@keys.command("create")
@_name_option
@_scope_option
@_expires_option
@json_option
def create_key(name: str, scopes: list[str], expires: Expiry | None, as_json: bool) -> None:
    """Make an API key and print it, once.

    Only a hash of it is stored. The key alone goes to stdout, what else there is to say to stderr.

    \b
    Examples:
      flask convex keys create --name ci
      flask convex keys create --name ci --scope read --scope write --expires 30d
    """
    _create_key(name, scopes, options.expires_at(expires, current_backend().clock()), as_json)


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """List the API keys, oldest first; the keys themselves are not stored.

    \b
    Examples:
      flask convex keys list
      flask convex keys list --json
    """
    empty = "There are no API keys; `flask convex keys create --name ...` makes one."
    _list(current_backend().api_keys, "name", empty, as_json)


@keys.command("revoke")
@click.argument("key", metavar="ID_OR_NAME")
@json_option
def revoke_key(key: str, as_json: bool) -> None:
    """Make an API key invalid, at once and for ever.

    \b
    Examples:
      flask convex keys revoke ci
      flask convex keys revoke api_keys_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    _revoke(current_backend().api_keys, _named(key), "key", as_json)


@keys.command("rotate")
@click.argument("key", metavar="ID_OR_NAME")
@click.option(
    "--keep",
    type=options.duration,
    default="24h",
    show_default=True,
    help="How long the old key stays valid; 0s ends it.",
)
@click.option(
    "--expires", type=options.time, help="When the new key expires; when the old one would have, if not given."
)
@json_option
def rotate_key(key: str, keep: datetime.timedelta, expires: Expiry | None, as_json: bool) -> None:
    """Make a new API key with the name and scopes of another one, which expires soon.

    \b
    Examples:
      flask convex keys rotate ci
      flask convex keys rotate ci --keep 1h --expires 90d
    """
    backend = current_backend()
    now = backend.clock()
    old = _named(key)
    if _status(old, now) != "valid":
        raise click.ClickException(f"{old.id} is {_status(old, now)}; make a new key with `flask convex keys create`")
    new_expiry = old.expires_at if expires is None else options.expires_at(expires, now)
    end = now + keep.total_seconds() * 1000
    end = end if old.expires_at is None else min(end, old.expires_at)
    # First the new one: if this stops half way there are two keys, not none.
    _create_key(old.name, old.scopes, new_expiry, as_json, replaced={"id": old.id, "expires_at": end})
    backend.api_keys.change(old.id, expires_at=end)
    note(f"The old key {old.hint}... is valid until {moment(end)}.")


def _create_key(
    name: str, scopes: list[str], expiry: float | None, as_json: bool, replaced: dict[str, Any] | None = None
) -> None:
    key, stored = current_backend().api_keys.create(
        lambda hint, digest: ApiKey(name=name, hint=hint, hash=digest, scopes=scopes, expires_at=expiry)
    )
    _print_new("key", key, stored, as_json, {} if replaced is None else {"replaced": replaced})


def _named(text: str) -> ApiKey:
    """The key of an id, or the only valid one of a name."""
    backend = current_backend()
    found: list[ApiKey] = backend.api_keys.all()
    by_id = [key for key in found if key.id == text]
    by_name = [key for key in found if key.name == text]
    valid = [key for key in by_name if _status(key, backend.clock()) == "valid"]
    candidates = by_id or valid or by_name
    if not candidates:
        raise click.ClickException(
            f"There is no API key with the id or name {text!r}; `flask convex keys list` lists them"
        )
    if len(candidates) > 1:
        listed = "\n".join(f"  {key.id}  {key.hint}...  {_status(key, backend.clock())}" for key in candidates)
        raise click.ClickException(f"{len(candidates)} API keys have the name {text!r}; give the id of one:\n{listed}")
    return candidates[0]


# --- access tokens ---------------------------------------------------------------------------------------------------


@tokens.command("create")
@click.option("--subject", required=True, callback=_text, help="Who it stands for, such as a user's id.")
@_scope_option
@_expires_option
@json_option
def create_token(subject: str, scopes: list[str], expires: Expiry | None, as_json: bool) -> None:
    """Make an access token and print it, once.

    Only a hash of it is stored. The token alone goes to stdout, what else there is to say to stderr.

    \b
    Examples:
      flask convex tokens create --subject user_1
      flask convex tokens create --subject user_1 --scope read --expires 12h
    """
    backend = current_backend()
    expiry = options.expires_at(expires, backend.clock())
    token, stored = backend.tokens.create(
        lambda hint, digest: AccessToken(subject=subject, hint=hint, hash=digest, scopes=scopes, expires_at=expiry)
    )
    _print_new("token", token, stored, as_json, {})


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List the access tokens, oldest first; the tokens themselves are not stored.

    \b
    Examples:
      flask convex tokens list
      flask convex tokens list --json
    """
    empty = "There are no access tokens; `flask convex tokens create --subject ...` makes one."
    _list(current_backend().tokens, "subject", empty, as_json)


@tokens.command("revoke")
@click.argument("token", metavar="ID")
@json_option
def revoke_token(token: str, as_json: bool) -> None:
    """Make an access token invalid, at once and for ever.

    \b
    Examples:
      flask convex tokens revoke access_tokens_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    store = current_backend().tokens
    found = next((stored for stored in store.all() if stored.id == token), None)
    if found is None:
        raise click.ClickException(
            f"There is no access token with the id {token!r}; `flask convex tokens list` lists them"
        )
    _revoke(store, found, "token", as_json)


# --- what both share -------------------------------------------------------------------------------------------------


def _print_new(noun: str, secret: str, stored: ApiKey | AccessToken, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        print_json({noun: secret, **without(stored, _HIDDEN), **more})
        return
    click.echo(secret)
    scopes = ", ".join(stored.scopes) or "none"
    note(f"Id: {stored.id}. Scopes: {scopes}. Expires: {moment(stored.expires_at)}.")
    note(f"Copy the {noun} now: only a hash of it is stored, and it is not shown again.")


def _list(store: Credentials[C], owner: str, empty: str, as_json: bool) -> None:
    found = store.all()
    now = current_backend().clock()
    if as_json:
        print_json([{**without(stored, _HIDDEN), "status": _status(stored, now)} for stored in found])
        return
    if not found:
        click.echo(empty)
        return
    rows = [
        (
            stored.id,
            getattr(stored, owner),
            f"{stored.hint}...",
            ", ".join(stored.scopes),
            _status(stored, now),
            moment(stored.creation_time),
            moment(stored.expires_at),
            moment(stored.last_used_at),
        )
        for stored in found
    ]
    print_table(("ID", owner.upper(), "STARTS WITH", "SCOPES", "STATUS", "CREATED", "EXPIRES", "LAST USED"), rows)


def _revoke(store: Credentials[C], stored: C, noun: str, as_json: bool) -> None:
    """Revoke what is not revoked yet; the time of the first revocation stays."""
    before = stored.revoked_at
    revoked_at = current_backend().clock() if before is None else before
    if before is None:
        store.change(stored.id, revoked_at=revoked_at)
    if as_json:
        print_json({"_id": stored.id, "revoked_at": revoked_at})
    elif before is None:
        click.echo(f"The {noun} {stored.hint}... ({stored.id}) is revoked.")
    else:
        click.echo(f"The {noun} {stored.hint}... ({stored.id}) was revoked before, at {moment(before)}.")


def _status(stored: ApiKey | AccessToken, now: float) -> str:
    if stored.revoked_at is not None and stored.revoked_at <= now:
        return "revoked"
    return "expired" if stored.expires_at is not None and stored.expires_at <= now else "valid"
