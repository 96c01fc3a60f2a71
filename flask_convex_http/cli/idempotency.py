"""`flask convex idempotency ...`: list and purge the keys of idempotent requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from flask.cli import AppGroup

from flask_convex_http.cli.options import LISTED
from flask_convex_http.cli.output import counted, json_option, moment, print_json, print_table, shortened
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import IdempotencyKey

idempotency = AppGroup("idempotency", help="Keys of idempotent requests, and their stored responses.")


class _KeyOutput(msgspec.Struct):
    """A key, as `--json` prints it. The body of the response is left out, since it may hold what only its client knows.

    Attributes:
        key: The key.
        identity: The caller, None for an anonymous one.
        method: The method of the request.
        path: Its path.
        status: The status of the stored response.
        size: Bytes of its body.
        request_id: The id of the request whose effects are committed.
        created: The time of the request, in milliseconds since the epoch.
        expires: The time after which the key is purged.
    """

    key: str
    identity: str | None
    method: str
    path: str
    status: int
    size: int
    request_id: str
    created: float
    expires: float

    @classmethod
    def of(cls, stored: IdempotencyKey) -> _KeyOutput:
        return cls(
            key=stored.key,
            identity=stored.identity,
            method=stored.method,
            path=stored.path,
            status=stored.status,
            size=len(stored.body),
            request_id=stored.request_id,
            created=stored.creation_time,
            expires=stored.expires,
        )

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table's row."""
        request = f"{self.method} {self.path}"
        caller = "anonymous" if self.identity is None else self.identity
        return (
            shortened(self.key, 40),
            shortened(caller, 40),
            shortened(request),
            str(self.status),
            moment(self.created),
            moment(self.expires),
        )


@idempotency.command("list")
@click.option("--key", help="Only this key, of any caller.")
@click.option("--limit", type=LISTED, default=20, show_default=True, help="How many keys to list.")
@json_option
def list_keys(key: str | None, limit: int, as_json: bool) -> None:
    """List the keys of idempotent requests, the newest first. Times are in UTC.

    \b
    Examples:
      flask convex idempotency list
      flask convex idempotency list --key 8e03978e-40d5-43dd-bc93-6894a57f9324 --json
    """
    found = [_KeyOutput.of(stored) for stored in current_backend().idempotency.list_keys(key, limit)]
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no keys." if key is None else "There is no such key.")
        return
    headings = ("KEY", "CALLER", "REQUEST", "STATUS", "CREATED", "EXPIRES")
    print_table(headings, [output.cells() for output in found])


@idempotency.command("purge")
@click.option("--key", help="Delete this key of every caller, expired or not. A retry with it then runs again.")
@click.option("--all", "is_all", is_flag=True, help="Delete all keys. Retries of earlier requests then run again.")
@json_option
def purge_keys(key: str | None, is_all: bool, as_json: bool) -> None:
    """Delete the expired keys, or those that an option names. The worker deletes expired keys by itself.

    \b
    Examples:
      flask convex idempotency purge
      flask convex idempotency purge --key 8e03978e-40d5-43dd-bc93-6894a57f9324
      flask convex idempotency purge --all
    """
    if key is not None and is_all:
        raise click.UsageError("--key and --all exclude each other: give one of them.")
    count = current_backend().idempotency.delete_keys(key=key, is_all=is_all)
    if as_json:
        print_json({"deleted": count})
        return
    click.echo(f"Deleted {counted(count, 'key')}.")
