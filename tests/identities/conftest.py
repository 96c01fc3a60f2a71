"""An issuer on loopback, a clock that stands still, and checks of the issuer's tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_convex_http import OIDC
from flask_convex_http.testing import Clock
from tests.identities.checks import Checks
from tests.identities.issuer import AUDIENCE, Issuer, issuing


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as started:
        yield started


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def oidc(issuer: Issuer, clock: Clock) -> Checks:
    return Checks(OIDC(issuer.url, audience=AUDIENCE), clock)
