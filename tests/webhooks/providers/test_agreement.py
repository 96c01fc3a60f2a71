"""Agreement with the vendors' own packages, in an environment of its own, in both directions."""

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.environments import commands_of
from tests.lengths import LONG
from tests.webhooks.providers import (
    test_discord,
    test_paddle,
    test_polar,
    test_resend,
    test_twilio,
    test_workos,
    vendors,
)
from tests.webhooks.providers.contract import SenderContract

PACKAGES = (
    "twilio==9.13.0",
    "paddle-python-sdk==1.16.1",
    "workos==10.8.0",
    "polar-sdk==1.0.2",
    "resend==2.52.0",
    "PyNaCl==1.6.2",
)
#: The classes are not imported by name, or pytest would run them here again.
CASES: dict[str, SenderContract] = {
    "twilio": test_twilio.TestTwilio(),
    "paddle": test_paddle.TestPaddle(),
    "workos": test_workos.TestWorkOS(),
    "polar": test_polar.TestPolar(),
    "resend": test_resend.TestResend(),
    "discord": test_discord.TestDiscord(),
}
#: Those whose package can sign too.
SIGNERS = ("twilio", "paddle", "discord")


@pytest.fixture(scope="module", name="python")
def _python(pytestconfig: pytest.Config) -> Path:
    """Return the Python of an environment with the vendors' packages."""
    return commands_of(pytestconfig, *PACKAGES) / "python"


def ask(python: Path, cases: list[dict[str, Any]]) -> list[Any]:
    """Return the packages' verdicts or signatures."""
    done = subprocess.run(
        [python, vendors.__file__], input=json.dumps(cases), capture_output=True, text=True, check=True, timeout=120
    )
    verdicts: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return verdicts


def case_of(name: str, **values: Any) -> dict[str, Any]:
    """Return a delivery for the packages."""
    case, at = CASES[name], int(time.time())
    signed = {
        "vendor": name,
        "secret": case.secret,
        "body": case.body.decode(),
        "at": at,
        "url": test_twilio.URL,
        "signs": False,
    }
    return {**signed, "seed": hashlib.sha256(b"1").hexdigest(), **values}


@LONG
@pytest.mark.timeout(300)
def test_vendors_and_providers_agree(python: Path) -> None:
    """A package verifies what a provider signs and rejects it once altered, and a provider verifies what it signs."""
    expected, cases = [], []
    for name, case in CASES.items():
        secret, (event_id, event_type) = case.signing_secret(case.secret), case.event
        headers = case.provider().sign(
            case.body, secret=secret, event_id=event_id, event_type=event_type, now=time.time() * 1000
        )
        cases += [case_of(name, headers=headers), case_of(name, headers=headers, body=case.body.decode() + "&a=1")]
        expected += [(name, True), (name, False)]
    verdicts = ask(python, cases)
    assert [(name, verdict) for (name, _), verdict in zip(expected, verdicts, strict=True)] == expected
    for name, headers in zip(SIGNERS, ask(python, [case_of(name, signs=True) for name in SIGNERS]), strict=True):
        provider, case = CASES[name].provider(), CASES[name]
        assert provider.verify(headers, case.body).type == case.event[1]
