"""API keys, access tokens and admin keys: create, rotate and revoke them. A new one is shown once."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from flask import Response
from werkzeug.exceptions import BadRequest, NotFound

from flask_convex_http.credentials import Credentials
from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.errors import DocumentNotFoundError

page = Page("keys", "API keys")

_HOUR, _DAY = 3_600_000, 86_400_000
#: The lifetimes to choose from, in milliseconds; None for a key that does not expire.
LIFETIMES: dict[str, float | None] = {
    "never": None,
    "1 day": _DAY,
    "30 days": 30 * _DAY,
    "90 days": 90 * _DAY,
    "1 year": 365 * _DAY,
}
#: How long the old key may stay valid, in milliseconds.
OVERLAPS: dict[str, float] = {"no time": 0, "1 hour": _HOUR, "1 day": _DAY, "7 days": 7 * _DAY}
#: Keys of a kind on one page.
_KEYS = 50
_LONGEST = 200

Name = Literal["key", "token"]


class _Kind(NamedTuple):
    """API keys or access tokens.

    Attributes:
        name: The name in URLs and forms.
        title: The name for people.
        owner: The field that says whose they are.
        owner_label: The label of that field.
        header: The header that clients send them in.
    """

    name: Name
    title: str
    owner: str
    owner_label: str
    header: str

    @property
    def cursor(self) -> str:
        """The name of the cursor of its list."""
        return f"{self.name}s"


KINDS = (
    _Kind("key", "API key", "owner", "Owner (subject of its identity)", "X-API-Key"),
    _Kind("token", "Access token", "subject", "Subject (such as the id of a user)", "Authorization: Bearer"),
)


@page.get()
def index(visit: Visit) -> Response:
    """List the keys of each kind, the newest first."""
    owner = visit.text("owner") or None
    kinds = [(kind, *_page(visit, kind, owner)) for kind in KINDS]
    admin_keys = list(reversed(visit.backend.admin_keys.all()))
    return visit.render(
        "keys.html", kinds=kinds, owner=owner or "", admin_keys=admin_keys, lifetimes=LIFETIMES, overlaps=OVERLAPS
    )


@page.post("/create")
def create(visit: Visit) -> Response:
    """Create an API key or an access token, and show it."""
    kind = _kind(visit.field("kind"))
    name, owner = _short(visit, "name"), _short(visit, kind.owner)
    if kind.name == "key" and not name:
        return visit.redirect("keys_index", failed="An API key needs a name, such as the program that uses it.")
    if kind.name == "token" and not owner:
        return visit.redirect("keys_index", failed="An access token needs a subject, such as the id of a user.")
    fields: dict[str, Any] = {"name": name or None, kind.owner: owner or None}
    expires_at = _after(visit, _chosen(visit, "expires", LIFETIMES))
    text, stored = _store(visit, kind).create(scopes=_scopes(visit), expires_at=expires_at, **fields)
    return _show(visit, kind, text, stored)


@page.post("/rotate")
def rotate(visit: Visit) -> Response:
    """Replace a key with a new one, and show it. The old one stays valid for a while."""
    kind = _kind(visit.field("kind"))
    store, old = _store(visit, kind), _find(visit, kind)
    if store.status(old) != "valid":
        return visit.redirect("keys_index", failed=f"{old.hint}… is {store.status(old)}. Create a new one instead.")
    overlap = _chosen(visit, "overlap", OVERLAPS)
    until = visit.backend.clock() + (overlap or 0)
    text, stored, old = store.rotate(old.id, old_expires_at=until, expires_at=old.expires_at)
    return _show(visit, kind, text, stored, old)


@page.post("/revoke")
def revoke(visit: Visit) -> Response:
    """Revoke a key for good."""
    kind = _kind(visit.field("kind"))
    revoked = _store(visit, kind).revoke(_find(visit, kind).id)
    return visit.redirect("keys_index", done=f"Revoked {revoked.hint}….")


@page.post("/admin/revoke")
def revoke_admin(visit: Visit) -> Response:
    """Revoke an admin key for good, and end the sessions that it has opened."""
    hint = visit.field("hint")
    try:
        visit.backend.admin_keys.revoke(hint)
    except DocumentNotFoundError:
        return visit.redirect("keys_index", failed="There is no such admin key any more.")
    return visit.redirect("keys_index", done=f"Revoked the admin key {hint}….")


def _page(visit: Visit, kind: _Kind, owner: str | None) -> tuple[list[tuple[Any, str]], str | None]:
    """Return a page of the keys with their states, the newest first, and the cursor of the next page."""
    store, of = _store(visit, kind), f"{kind.name} {owner}"
    found = store.newest(_KEYS, visit.place(of, kind.cursor), owner=owner)
    return [(stored, store.status(stored)) for stored in found.documents], visit.cursor(found.next, of)


def _show(visit: Visit, kind: _Kind, text: str, stored: Any, replaced: Any = None) -> Response:
    """Show a new key in the response to the form, since nothing stores it."""
    return visit.render("keys_new.html", kind=kind, text=text, stored=stored, replaced=replaced)


def _kind(name: str) -> _Kind:
    found = next((kind for kind in KINDS if kind.name == name), None)
    if found is None:
        raise BadRequest(f"kind={name[:100]!r} must be key or token")
    return found


def _store(visit: Visit, kind: _Kind) -> Credentials[Any]:
    return visit.backend.api_keys if kind.name == "key" else visit.backend.tokens


def _find(visit: Visit, kind: _Kind) -> Any:
    found = _store(visit, kind).find(visit.field("id"))
    if found is None:
        raise NotFound
    return found


def _chosen(visit: Visit, name: str, choices: dict[str, Any]) -> float | None:
    text = visit.field(name)
    if text not in choices:
        raise BadRequest(f"{name}={text[:100]!r} must be one of {', '.join(choices)}")
    chosen: float | None = choices[text]
    return chosen


def _after(visit: Visit, lifetime: float | None) -> float | None:
    return None if lifetime is None else visit.backend.clock() + lifetime


def _short(visit: Visit, name: str) -> str:
    text = visit.field(name)
    if len(text) > _LONGEST:
        raise BadRequest(f"{name} must have at most {_LONGEST} characters")
    return text


def _scopes(visit: Visit) -> list[str]:
    return list(dict.fromkeys(_short(visit, "scopes").replace(",", " ").split()))
