"""Checks of tokens for one provider."""

from __future__ import annotations

from typing import Any

import pytest

from flask_convex_http import AuthenticationError, CustomJWT
from flask_convex_http.identities import AuthProvider
from flask_convex_http.identities.tokens import Tokens
from flask_convex_http.testing import Clock
from tests.identities.issuer import Issuer


class Checks:
    """Tokens checked for one provider."""

    def __init__(self, provider: AuthProvider, clock: Clock) -> None:
        self._tokens = Tokens([provider], clock)
        self.identify = self._tokens.identify

    def accepts(self, token: str) -> bool:
        """Return whether a token is accepted."""
        try:
            self.identify(token)
        except AuthenticationError:
            return False
        return True

    def rejection(self, token: str) -> str:
        """Return the reason for which a token is rejected."""
        with pytest.raises(AuthenticationError) as caught:
            self.identify(token)
        return str(caught.value)


def custom(issuer: Issuer, clock: Clock, **options: Any) -> Checks:
    """Return checks for a `CustomJWT`."""
    given = {"issuer": issuer.url, "jwks": f"{issuer.url}/jwks.json", "algorithm": "ES256"} | options
    return Checks(CustomJWT(**given), clock)
