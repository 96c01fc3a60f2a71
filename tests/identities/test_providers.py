"""Arguments of providers that cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from flask_convex_http import OIDC, CustomJWT, RegistrationError
from tests.identities.issuer import AUDIENCE


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example",
        "ftp://auth.example",
        "https://",
        "https://user:secret@auth.example",
        "https://auth.example#x",
        "https://auth example",
        "https://[::1",
        "http://127.0.0.1.evil.example",
        "",
        3,
    ],
)
def test_urls_of_issuers(url: Any) -> None:
    """An issuer must be at an https:// URL, or on loopback."""
    with pytest.raises(RegistrationError):
        OIDC(url, audience=AUDIENCE)
    with pytest.raises(RegistrationError):
        CustomJWT(issuer="shop", jwks=url, algorithm="ES256")


def test_wrong_providers() -> None:
    """An argument that cannot work is refused when the provider is made."""
    for audience in ("", [], [3]):
        with pytest.raises(RegistrationError):
            OIDC("https://auth.example", audience=audience)  # type: ignore[arg-type]
    for leeway in (-1, 301, "5", float("nan")):
        with pytest.raises(RegistrationError, match="leeway"):
            OIDC("https://auth.example", audience="a", leeway=leeway)  # type: ignore[arg-type]
