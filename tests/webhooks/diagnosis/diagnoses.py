"""Diagnoses, for the tests of what is found in them."""

from collections.abc import Mapping
from typing import Any

from flask_convex_http.webhooks import Provider
from flask_convex_http.webhooks.diagnosis.diagnose import diagnose
from flask_convex_http.webhooks.diagnosis.findings import Finding
from tests.webhooks.senders import BODY, NOW, OLD_SECRET, OTHER_SECRET, SECRET

Others = tuple[tuple[str, Provider], ...]


def found(
    provider: Provider,
    headers: Mapping[str, str],
    body: bytes = BODY,
    others: Others = (),
    *,
    at: float = NOW,
    is_whole: bool = True,
) -> list[Finding]:
    """The findings; none of them tells a secret."""
    findings = diagnose(provider, headers, body, at * 1000, others, is_whole=is_whole)
    assert findings
    sentences = "".join(finding.sentence for finding in findings)
    for secret in (SECRET, OLD_SECRET, OTHER_SECRET):
        assert secret not in sentences and secret.removeprefix("whsec_") not in sentences
    return findings


def first(*arguments: Any, **more: Any) -> tuple[str, str]:
    """The word and the sentence of the likeliest, which is certain."""
    finding = found(*arguments, **more)[0]
    assert finding.is_certain
    return finding.word, finding.sentence


def words(*arguments: Any, **more: Any) -> list[str]:
    """The words of all."""
    return [finding.word for finding in found(*arguments, **more)]
