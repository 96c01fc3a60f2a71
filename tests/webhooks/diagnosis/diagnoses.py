"""Helpers that diagnose a delivery and check that no finding contains a secret."""

from collections.abc import Mapping
from typing import Any

from flask_convex_http.webhooks import Provider
from flask_convex_http.webhooks.diagnosis import Finding, diagnose
from tests.webhooks.senders import BODY, NOW, OLD_SECRET, OTHER_SECRET, SECRET

Others = tuple[tuple[str, Provider], ...]


def findings_of(
    provider: Provider,
    headers: Mapping[str, str],
    body: bytes = BODY,
    others: Others = (),
    *,
    at: float = NOW,
    is_whole: bool = True,
) -> list[Finding]:
    """Return the findings, of which none contains a secret."""
    findings = diagnose(provider, headers, body, at * 1000, others, is_whole=is_whole)
    assert findings
    sentences = "".join(finding.sentence for finding in findings)
    for secret in (SECRET, OLD_SECRET, OTHER_SECRET):
        assert secret not in sentences and secret.removeprefix("whsec_") not in sentences
    return findings


def certain_finding(*arguments: Any, **more: Any) -> tuple[str, str]:
    """Return the word and the sentence of the first finding, which is certain."""
    finding = findings_of(*arguments, **more)[0]
    assert finding.is_certain
    return finding.word, finding.sentence


def words_of(*arguments: Any, **more: Any) -> list[str]:
    """Return the words of all findings."""
    return [finding.word for finding in findings_of(*arguments, **more)]
