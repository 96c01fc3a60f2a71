"""Agreement with the packages of Apple and Plaid, in an environment of their own."""

import base64
import json
import subprocess
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from flask_convex_http import VerificationError
from tests.environments import commands_of
from tests.lengths import LONG
from tests.webhooks.providers import test_plaid, vendor_keys
from tests.webhooks.providers.test_app_store import (
    APP,
    ISSUER,
    LEAF,
    NUMBER,
    ROOT,
    SIGNER,
    WWDR,
    app_store,
    issued,
    jws,
    notification,
)
from tests.webhooks.providers.test_plaid import BODY, CLIENT, KID, SECRET, Api, headers, plaid

PACKAGES = ("app-store-server-library==3.1.2", "plaid-python==46.0.0")
api = test_plaid._api  # the fixture
CHAINS: dict[str, dict[str, Any]] = {
    "genuine": {},
    "by another key": {"by": "forger"},
    "no leaf mark": {"chain": (issued("signer", "wwdr"), WWDR, ROOT)},
    "no issuer mark": {"chain": (SIGNER, issued("wwdr", "root", is_authority=True), ROOT)},
    "no authority": {"chain": (SIGNER, issued("wwdr", "root", mark=ISSUER), ROOT)},
    "another issuer": {"chain": (issued("signer", "forger", mark=LEAF, claims="wwdr"), WWDR, ROOT)},
    "expired": {"chain": (issued("signer", "wwdr", mark=LEAF, days=-1), WWDR, ROOT)},
    "two certificates": {"chain": (SIGNER, WWDR)},
    "another algorithm": {"algorithm": "HS256"},
}


def ask(config: pytest.Config, given: dict[str, Any]) -> Any:
    """Return the output of the packages."""
    python = commands_of(config, *PACKAGES) / "python"
    done = subprocess.run(
        [python, vendor_keys.__file__], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def accepts(payload: str) -> bool:
    """Return whether the provider accepts a payload."""
    try:
        app_store().verify({}, json.dumps({"signedPayload": payload}).encode())
    except VerificationError:
        return False
    return True


@LONG
@pytest.mark.timeout(600)
def test_apples_package_agrees(pytestconfig: pytest.Config) -> None:
    """Apple's package and the provider accept the genuine chain only, and the notifications of one app."""
    payloads = {name: jws(notification(), **options) for name, options in CHAINS.items()}
    others: dict[str, Any] = {"bundleId": "x", "appAppleId": 1, "environment": "Sandbox"}
    for name, value in others.items():
        payloads[name] = jws(notification(data=notification()["data"] | {name: value}))
    root = base64.b64encode(ROOT.public_bytes(Encoding.DER)).decode()
    given = {"root": root, "app": APP, "number": NUMBER, "payloads": list(payloads.values())}
    theirs = dict(zip(payloads, ask(pytestconfig, given), strict=True))
    assert theirs == {name: accepts(payload) for name, payload in payloads.items()}
    assert [name for name, verdict in theirs.items() if verdict] == ["genuine"]


@LONG
@pytest.mark.timeout(600)
def test_plaids_package_fetches_the_same_key(pytestconfig: pytest.Config, api: Api) -> None:
    """Plaid's package sends the same request for a key, and reads the key with which the provider verifies."""
    plaid(api).verify(headers(), BODY)
    key = ask(pytestconfig, {"url": api.url, "client_id": CLIENT, "secret": SECRET, "key_id": KID})
    assert {name: key[name] for name in ("x", "y", "kid", "alg")} == {
        name: api.key[name] for name in ("x", "y", "kid", "alg")
    }
    first, second = api.requests
    assert first == second
