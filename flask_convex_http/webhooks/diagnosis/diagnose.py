"""The diagnosis of one rejected delivery.

A finding is certain if the signature confirms it: with another secret, another spelling of the secret, another spelling
of the body, or at another time. Every other finding is only likely.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from flask_convex_http.errors import ConvexHTTPError, MissingSecretError, VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.diagnosis.body_changes import other_spellings, visible_change
from flask_convex_http.webhooks.diagnosis.findings import Finding
from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS, Delivery
from flask_convex_http.webhooks.secret_mistakes import corrections, visible_mistake
from flask_convex_http.webhooks.secrets import LabelledSecret

_NAMED_PROVIDERS = Iterable[tuple[str, Provider]]


def diagnose(
    provider: Provider,
    headers: Mapping[str, str],
    body: bytes,
    received_at: float,
    others: _NAMED_PROVIDERS = (),
    *,
    is_whole: bool = True,
    had_secret: bool = False,
) -> list[Finding]:
    """Return the problems of a delivery.

    Args:
        provider: The provider that rejected it, with the secrets that are set now.
        headers: The headers as received.
        body: The body as received.
        received_at: When it was received, in milliseconds since the epoch.
        others: The providers of the application's other webhooks, each with the webhook's name.
        is_whole: Whether `body` is the whole body. A signature cannot be checked on a part.
        had_secret: Whether the application is known to have had a secret when it rejected the delivery.

    Returns:
        At least one finding, certain ones first. If nothing is wrong it is one finding, `verifies`.
    """
    delivery = _delivery(headers, body, received_at)
    case = _Case(provider, delivery, [other for other in others if other[1] is not provider], is_whole)
    try:
        event = provider.verify(delivery.headers, body, now=received_at)
    except MissingSecretError as error:
        findings = [_missing_secret(error, had_secret and not case.secrets), *_secret_findings(case)]
    except VerificationError as error:
        findings = list(_findings(case, error))
    else:
        findings = [_verifies(event.secret_label)]
    return sorted(findings, key=lambda finding: not finding.is_certain)


def signed_at(provider: Provider, headers: Mapping[str, str], body: bytes) -> float | None:
    """Return when a delivery says it was signed, in milliseconds since the epoch, or None if it does not.

    Args:
        provider: The delivery's provider.
        headers: The headers as received.
        body: The body as received.
    """
    try:
        timestamp = provider.timestamp(_delivery(headers, body, 0.0))
    except Exception:  # a vendor's library may raise anything on a malformed header
        return None
    return None if timestamp is None else timestamp * 1000.0


def _delivery(headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    return Delivery({name.lower(): value for name, value in headers.items()}, body, now)


@dataclass(frozen=True, slots=True)
class _Case:
    """The delivery, its provider and the other providers of the application."""

    provider: Provider
    delivery: Delivery
    others: list[tuple[str, Provider]]
    is_whole: bool

    @property
    def secrets(self) -> list[LabelledSecret]:
        return _available(self.provider)

    @property
    def labels(self) -> str:
        return " or ".join(secret.label for secret in self.secrets) or "the secret"

    def matches(self, secret: str, body: bytes | None = None) -> bool:
        """Return whether a secret made the signature, regardless of its time."""
        delivery = self.delivery if body is None else msgspec.structs.replace(self.delivery, body=body)
        try:
            return self.provider.matches(delivery, self.provider.key(secret))
        except Exception:  # a vendor's library may raise anything on a malformed header or key
            return False


def _available(provider: Provider) -> list[LabelledSecret]:
    try:
        return provider.available_secrets()
    except ConvexHTTPError:
        return []


def _findings(case: _Case, error: VerificationError) -> Iterator[Finding]:
    missing = list(_missing_headers(case))
    if missing:
        yield from missing
        yield from _genuine_for_others(case)
        return
    if not case.is_whole:
        yield _CUT_BODY
        yield from _clock(case, error, is_certain=False)
        return
    label = next((secret.label for secret in case.secrets if case.matches(secret.value)), None)
    explained = [] if label else [*_secret_findings(case), *_altered_body(case)]
    is_certain = label is not None or any(finding.is_certain for finding in explained)
    yield from explained
    yield from _clock(case, error, is_certain=is_certain)
    if error.reason == "malformed":
        matched = f"The signature matches {label}, but the content" if label else "The delivery"
        sentence = f"{matched} is not what {case.provider.name} sends: {error}. Is it the right provider?"
        yield Finding("malformed", sentence, label is not None)
    elif not is_certain:
        yield from _test_mode(case)
        yield _unknown_signer(case)


# --- secrets ---------------------------------------------------------------------------------------------------------


def _missing_secret(error: MissingSecretError, had_secret: bool) -> Finding:
    if had_secret:
        sentence = f"This command does not see the app's secret ({error}). Run it with the app's environment variables."
        return Finding("unseen-secret", sentence, True)
    sentence = f"{error}: set it where the app runs, then have the delivery sent again."
    return Finding("missing-secret", sentence, True)


def _secret_findings(case: _Case) -> Iterator[Finding]:
    """Yield the mistake in a secret, or the other webhook whose secret made the signature."""
    for secret in case.secrets:
        mistake = next((what for what, other in corrections(secret.value) if case.matches(other)), "")
        if mistake:
            sentence = f"{secret.label} {mistake}: without that mistake the signature matches. Set it again."
            yield Finding("pasted-secret", sentence, True)
        elif visible := case.provider.mistake(secret.value) or visible_mistake(secret.value):
            yield Finding("pasted-secret", f"{secret.label} {visible}. Set it again.")
    others = ((name, secret) for name, other in case.others for secret in _available(other))
    for name, secret in others:
        if case.matches(secret.value):
            yield Finding(
                "other-secret",
                f"It was signed with {secret.label} of {name}, not with {case.labels} of this webhook: correct the "
                "URL in the sender's settings, or exchange the two secrets.",
                True,
            )


def _test_mode(case: _Case) -> Iterator[Finding]:
    if case.provider.name != "stripe":
        return
    try:
        mode = msgspec.json.decode(case.delivery.body)["livemode"]
    except (ValueError, RecursionError, TypeError, LookupError):
        return
    yield Finding(
        "test-mode-secret",
        f"The event has livemode: {'true' if mode is True else 'false'}. Stripe gives each endpoint a secret of its "
        "own: in test mode, in live mode, for connected accounts and for `stripe listen`. Is "
        f"{case.labels} that of the endpoint that sent this event?",
    )


def _unknown_signer(case: _Case) -> Finding:
    return Finding(
        "unknown-signer",
        "It was signed with a secret that this app does not have, or its body was altered on the way: compare "
        f"{case.labels} with the secret in the sender's settings, then have the delivery sent again.",
    )


# --- headers, time and body ------------------------------------------------------------------------------------------


def _missing_headers(case: _Case) -> Iterator[Finding]:
    headers = case.delivery.headers
    for names in case.provider.required_headers:
        lowered = [name.lower() for name in names]
        if any(headers.get(name, "").strip() for name in lowered):
            continue
        if CREDENTIAL_HEADERS.intersection(lowered):
            sentence = f"{names[0]} is not kept with a rejected delivery: give the delivery with --headers and --body."
            yield Finding("missing-header", sentence)
        elif any(name in headers for name in lowered):
            yield Finding("missing-header", f"The header {names[0]} is empty: a proxy has cleared it.", True)
        else:
            sentence = f"The header {names[0]} is missing: the sender does not sign, or a proxy removed the header."
            yield Finding("missing-header", sentence, True)


def _genuine_for_others(case: _Case) -> Iterator[Finding]:
    for name, other in case.others:
        try:
            other.verify_signature(case.delivery.headers, case.delivery.body, now=case.delivery.now)
        except ConvexHTTPError:
            continue
        sentence = f"It is a genuine delivery for {name}: correct the URL in the sender's settings."
        yield Finding("other-provider", sentence, True)


def _clock(case: _Case, error: VerificationError, *, is_certain: bool) -> Iterator[Finding]:
    at = signed_at(case.provider, case.delivery.headers, case.delivery.body)
    if error.reason not in ("too-old", "too-new") or at is None:
        return
    age = (case.delivery.now - at) / 1000
    if age > 0:
        when = f"{age:.0f} s before"
        causes = "this machine's clock is fast, the delivery was held up on the way, or an old one was sent again"
    else:
        when, causes = f"{-age:.0f} s after", "this machine's clock is slow, or the sender's is fast"
    yield Finding("clock", f"It was signed {when} it was received, outside the tolerance: {causes}.", is_certain)


def _altered_body(case: _Case) -> Iterator[Finding]:
    """Yield how the body was changed after it was signed, if a signature or the headers show it."""
    advice = "Have the proxy or `before_request` function that does it pass on the bytes as received."
    for what, spelling in other_spellings(case.delivery.body):
        if any(case.matches(secret.value, spelling) for secret in case.secrets):
            yield Finding("altered-body", f"The body was altered on the way: {what}. {advice}", True)
            return
    visible = visible_change(case.delivery.headers, case.delivery.body)
    if visible:
        yield Finding("altered-body", f"{visible}: the body was altered on the way. {advice}")


def _verifies(label: str) -> Finding:
    return Finding(
        "verifies",
        f"The signature matches {label}, so the cause may be gone: have the delivery sent again. If it is rejected "
        "again, the app runs with other environment variables or another clock than this command.",
        True,
    )


_CUT_BODY = Finding(
    "cut-body",
    "Only the beginning of the body was kept, so the signature cannot be checked: copy the delivery from the sender's "
    "page and give it with --source, --headers and --body.",
    True,
)
