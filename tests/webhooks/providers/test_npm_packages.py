"""Agreement with the vendors' packages of npm, in both directions where a package can sign."""

import base64
import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import VerificationError
from tests.environments import node_commands_of
from tests.lengths import LONG
from tests.webhooks.providers.catalogue import provider_senders
from tests.webhooks.senders import NOW, SENDERS

PACKAGES = (
    *("@octokit/webhooks-methods@6.0.0", "@shopify/shopify-api@13.1.0", "@sendgrid/eventwebhook@8.0.0"),
    *("@hubspot/api-client@13.5.0", "twilio@6.3.1", "square@46.0.0", "@paddle/paddle-node-sdk@3.10.0"),
    *("svix@1.99.1", "standardwebhooks@1.1.1", "discord-interactions@4.4.0", "stripe@23.1.0", "razorpay@2.9.8"),
)
SCRIPT = Path(__file__).with_name("vendors.mjs")
GENERIC = ("github", "shopify", "svix", "standard", "stripe")
CASES: dict[str, Any] = {name: SENDERS[name] for name in GENERIC} | {
    name: case
    for name, case in provider_senders().items()
    if name in ("sendgrid", "hubspot", "twilio", "square", "paddle", "discord", "razorpay")
}
SIGNERS = ("github", "twilio", "svix", "standard", "stripe")
#: Packages that accept what we reject: they compare no time, or one end of it only.
LENIENT = {
    ("sendgrid", "late"),
    ("sendgrid", "early"),
    ("discord", "late"),
    ("discord", "early"),
    ("stripe", "early"),
    ("hubspot", "early"),
    ("paddle", "early"),
}
#: Packages that reject what we accept: the tolerance of Paddle's is five seconds.
STRICT = {("paddle", "soon")}
#: Headers that a package requires and nothing signs.
MORE = {"shopify": {"X-Shopify-API-Version": "2025-10", "X-Shopify-Shop-Domain": "example.myshopify.com"}}
AGES = {"now": 0, "soon": 60, "late": 900, "early": -900}


def ask(commands: Path, cases: list[dict[str, Any]]) -> list[Any]:
    """Return the packages' verdicts or signatures."""
    node = ["node", str(SCRIPT), str(commands.parents[1])]
    done = subprocess.run(node, input=json.dumps(cases), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    verdicts: list[Any] = json.loads(done.stdout)
    return verdicts


def delivery(name: str, **values: Any) -> dict[str, Any]:
    """Return a delivery for the packages."""
    case = CASES[name]
    url = getattr(case, "url", "https://receiver.example/")
    sent = {"vendor": name, "secret": case.secret, "body": case.body.decode(), "url": url, "signs": False}
    return sent | {"at": NOW * 1000} | values


@LONG
@pytest.mark.timeout(600)
def test_npm_packages_and_providers_agree(pytestconfig: pytest.Config) -> None:
    """Both accept or reject a delivery that is in time, late, early, altered or of another secret, but for a few."""
    commands = node_commands_of(pytestconfig, *PACKAGES)
    sent, own, kinds = [], [], []
    for name, (age, seconds), kind in product(CASES, AGES.items(), ("genuine", "altered", "other")):
        case = CASES[name]
        headers = {**MORE.get(name, {}), **case.headers(at=NOW - seconds)}
        secret = case.other_secret if kind == "other" else case.secret
        if name == "sendgrid":  # the package takes no PEM
            secret = base64.b64encode(case.provider(secret).key(secret)).decode()
        body = case.body + (b" " if kind == "altered" and name != "twilio" else b"&a=b" if kind == "altered" else b"")
        sent.append(delivery(name, headers=headers, secret=secret, body=body.decode()))
        kinds.append((name, age))
        try:
            own.append(bool(case.provider(secret).verify_signature(headers, body, now=NOW * 1000)))
        except VerificationError:
            own.append(False)
    theirs = [bool(verdict) for verdict in ask(commands, sent)]
    differing = {(*kind, ours) for kind, ours, verdict in zip(kinds, own, theirs, strict=True) if ours != verdict}
    assert differing == {(*kind, False) for kind in LENIENT} | {(*kind, True) for kind in STRICT}
    assert {name for (name, _), ours in zip(kinds, own, strict=True) if ours} == set(CASES)


@LONG
@pytest.mark.timeout(600)
def test_providers_verify_what_npm_packages_sign(pytestconfig: pytest.Config) -> None:
    """A provider verifies a delivery that the vendor's package signs."""
    commands = node_commands_of(pytestconfig, *PACKAGES)
    signed = ask(commands, [delivery(name, signs=True) for name in SIGNERS])
    for name, headers in zip(SIGNERS, signed, strict=True):
        assert CASES[name].provider().verify_signature(headers, CASES[name].body, now=NOW * 1000) == "secret 1"
