"""Security schemes, from the guards of handlers and the issuers of JWTs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from flask_convex_http.identities import OIDC, AuthProvider
from flask_convex_http.web.handlers.operations import Guard

API_KEY, BEARER = "apiKey", "bearer"


def schemes(providers: Sequence[AuthProvider]) -> dict[str, Any]:
    """Return all security schemes of an app by name.

    Args:
        providers: The issuers whose JWTs identify callers.
    """
    kinds = "An access token or a JWT" if providers else "An access token"
    found: dict[str, Any] = {
        API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
        BEARER: {"type": "http", "scheme": "bearer", "description": f"{kinds}, or an API key where one is accepted."},
    }
    issuers = [provider.issuer for provider in providers if isinstance(provider, OIDC)]
    for number, issuer in enumerate(issuers, 1):
        found[f"oidc{number if number > 1 else ''}"] = {
            "type": "openIdConnect",
            "openIdConnectUrl": f"{issuer}/.well-known/openid-configuration",
        }
    return found


def bearer_names(found: Iterable[str]) -> list[str]:
    """Return the names of the schemes whose credentials are Bearer tokens."""
    return [name for name in found if name != API_KEY]


def requirements(guards: Sequence[Guard], bearer_schemes: list[str]) -> list[dict[str, list[str]]]:
    """Return the alternatives of credentials for a handler with guards, each with its scopes.

    Args:
        guards: The guards. The credential must satisfy all of them.
        bearer_schemes: The names of the schemes whose credentials are Bearer tokens.
    """
    choices = []
    for guard in guards:
        names = {"api_key": [API_KEY, BEARER], "bearer": bearer_schemes}.get(guard.scheme, [API_KEY, *bearer_schemes])
        choices.append([(name, guard.scopes) for name in names])
    found: list[dict[str, list[str]]] = []
    for combination in itertools.product(*choices):
        scopes: dict[str, set[str]] = {}
        for name, needed in combination:
            scopes.setdefault(name, set()).update(needed)
        alternative = {name: sorted(needed) for name, needed in scopes.items()}
        if alternative not in found:
            found.append(alternative)
    return found
