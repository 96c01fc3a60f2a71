"""`flask convex admin-key`: create, list and revoke the keys of operators."""

from __future__ import annotations

import click
import msgspec
from flask.cli import with_appcontext

from flask_convex_http.cli.output import json_option, moment, note, print_json, print_table
from flask_convex_http.web.state import current_backend


@click.command("admin-key")
@click.option("--name", default="", help="A name for people, such as its owner's.")
@click.option("--read-only", is_flag=True, help="Create a key that opens the dashboard for reading, and nothing else.")
@click.option("--list", "is_list", is_flag=True, help="List the keys instead, without the keys themselves.")
@click.option("--revoke", "revoked", metavar="START", help="Revoke the key that begins like this instead.")
@click.option("--revoke-all", is_flag=True, help="Revoke every key instead.")
@json_option
@with_appcontext
def admin_key(name: str, read_only: bool, is_list: bool, revoked: str | None, revoke_all: bool, as_json: bool) -> None:
    """Create an admin key and print it once.

    Who has an admin key may call every function of this app, internal ones included, and act as any user. Only a hash
    of the key is stored. The key alone goes to stdout, everything else to stderr.

    \b
    Examples:
      flask convex admin-key
      flask convex admin-key --name laptop --json
      flask convex admin-key --list
      flask convex admin-key --revoke admin_3fK9x0
      CONVEX_SELF_HOSTED_ADMIN_KEY=$(flask convex admin-key) npx convex run items:list
    """
    if is_list + revoke_all + (revoked is not None) > 1:
        raise click.UsageError("Give only one of --list, --revoke and --revoke-all.")
    if is_list:
        _list(as_json)
    elif revoke_all or revoked is not None:
        _revoke(None if revoke_all else revoked, as_json)
    else:
        _create(name.strip(), read_only, as_json)


def _create(name: str, read_only: bool, as_json: bool) -> None:
    key, stored = current_backend().admin_keys.create(name, read_only=read_only)
    if as_json:
        print_json({"key": key, **msgspec.structs.asdict(stored)})
        return
    note("This key is shown only once:")
    click.echo(key)


def _list(as_json: bool) -> None:
    stored = current_backend().admin_keys.all()
    if as_json:
        print_json(stored)
    elif not stored:
        note("There are no admin keys; `flask convex admin-key` creates one.")
    else:
        rows = [(key.hint, key.name, moment(key.created), "read-only" if key.read_only else "full") for key in stored]
        print_table(("START", "NAME", "CREATED", "ROLE"), rows)


def _revoke(hint: str | None, as_json: bool) -> None:
    revoked = current_backend().admin_keys.revoke(hint)
    if as_json:
        print_json(revoked)
        return
    for key in revoked:
        note(f"Revoked {key.hint}.")
