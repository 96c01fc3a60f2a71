"""`flask convex dashboard`: print a link that opens the dashboard."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.local_url import DEFAULT_URL, local_url
from flask_convex_http.cli.output import json_option, note, print_json
from flask_convex_http.web.state import DASHBOARD, current_backend

_LONGEST_NAME = 100
_URL_HELP = (
    f"Where the app is, by default CONVEX_SITE_URL, or else where FLASK_RUN_HOST and FLASK_RUN_PORT say: {DEFAULT_URL}."
)


@click.command()
@click.option("--name", default="", help="A name for people, such as its user's, which the commit log shows.")
@click.option("--read-only", is_flag=True, help="Print a link to a session that changes nothing.")
@click.option("--url", metavar="URL", help=_URL_HELP)
@click.option("--end-sessions", is_flag=True, help="End every session and withdraw every link instead.")
@json_option
@with_appcontext
def dashboard(name: str, read_only: bool, url: str | None, end_sessions: bool, as_json: bool) -> None:
    """Print a link that logs in to the dashboard once, within ten minutes.

    The code in the link is behind a #, so browsers send it to no server and no access log has it. Only a hash of it is
    stored. The link alone goes to stdout, everything else to stderr.

    \b
    Examples:
      flask convex dashboard
      flask convex dashboard --name anna
      flask convex dashboard --read-only
      flask convex dashboard --url https://shop.example
      flask convex dashboard --end-sessions
    """
    from flask_convex_http.dashboard.access import LINK_LIFETIME, Access, Role

    access = Access(current_backend())
    if end_sessions:
        _report_ended(access.end_all(), as_json)
        return
    if DASHBOARD not in current_app.blueprints:
        raise click.ClickException("This app has no dashboard: write ConvexHTTP(..., dashboard=True).")
    site = _checked(url) if url else current_backend().settings.site_url or local_url()
    expires = current_backend().clock() + LINK_LIFETIME
    role: Role = "read-only" if read_only else "full"
    link = f"{site}/_convex/login#{access.create_link(role, name.strip()[:_LONGEST_NAME])}"
    if as_json:
        print_json({"url": link, "role": role, "expires": expires})
        return
    note("This link works once, within ten minutes:")
    click.echo(link)


def _report_ended(count: int, as_json: bool) -> None:
    if as_json:
        print_json({"ended": count})
        return
    note(f"Ended {count} sessions and unused links." if count else "There are no sessions and no links.")


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")) or set(url) & set("#? "):
        raise click.BadParameter(f"{url!r} must look like https://shop.example.", param_hint="'--url'")
    return url.rstrip("/")
