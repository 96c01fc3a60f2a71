"""What is wrong with a delivery that was refused, found out by trying.

The signature is tried with the secrets of the application's other webhooks, with secrets as they may have been meant,
with the body as it may have been before something changed it, and as of the time the delivery carries. What matches
says what happened. Whatever is hostile in a delivery, the work is bounded; no finding holds a secret, a signature or a
part of the body. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from flask_convex_http.errors import ConvexHTTPError, MissingSecretError, VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.diagnosis.body_changes import changes
from flask_convex_http.webhooks.diagnosis.findings import Finding
from flask_convex_http.webhooks.diagnosis.missing_headers import missing_headers, unversioned
from flask_convex_http.webhooks.diagnosis.secret_mistakes import mistakes
from flask_convex_http.webhooks.diagnosis.signature_forms import forms
from flask_convex_http.webhooks.events import Delivery
from flask_convex_http.webhooks.secrets import LabelledSecret

#: Bytes that are hashed at most, and what a try costs beside its body.
_MOST_WORK = 256 * 1024 * 1024
_PER_TRY = 4096
_LENGTH = re.compile(r"[0-9]{1,12}", re.ASCII)


def diagnose(
    provider: Provider,
    headers: Mapping[str, str],
    body: bytes,
    received_at: float,
    others: Iterable[tuple[str, Provider]] = (),
    *,
    is_whole: bool = True,
    had_secret: bool = False,
) -> list[Finding]:
    """Say what is wrong with a delivery, the likeliest first.

    Args:
        provider: Who should have sent it, with the secrets that are set now.
        headers: The headers as received.
        body: The body as received.
        received_at: When that was, in milliseconds since the epoch.
        others: The other webhooks of the application, by what people call them.
        is_whole: Whether that is all of the body. No signature can be tried on a part.
        had_secret: Whether it is known that the app had a secret when it refused the delivery.

    Returns:
        At least one finding. The only one is `verifies` if nothing is wrong.
    """
    delivery = _delivery(headers, body, received_at)
    case = _Case(provider, delivery, [other for other in others if other[1] is not provider], is_whole, had_secret)
    found = list(_findings(case))
    # A sort keeps the order of equals: what is certain comes first, each in the order it was found.
    return sorted(dict.fromkeys(found), key=lambda finding: not finding.is_certain)


def signed_at(provider: Provider, headers: Mapping[str, str], body: bytes) -> float | None:
    """When a delivery says it was signed, in milliseconds since the epoch; None if it does not.

    Args:
        provider: Who should have sent it.
        headers: The headers as received.
        body: The body as received.
    """
    try:
        timestamp = provider.timestamp(_delivery(headers, body, 0.0))
    except Exception:  # missing, or no number
        return None
    return None if timestamp is None else timestamp * 1000.0


def _delivery(headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    return Delivery({name.lower(): value for name, value in headers.items()}, body, now)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A secret that may be the one, and whose."""

    secret: LabelledSecret
    owner: str = ""

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.secret.label} of {self.owner}" if self.owner else self.secret.label


class _Case:
    """What is known of a refused delivery, and the work that may still be spent on it."""

    def __init__(
        self,
        provider: Provider,
        delivery: Delivery,
        others: Sequence[tuple[str, Provider]],
        is_whole: bool,
        had_secret: bool,
    ) -> None:
        self.provider = provider
        self.delivery = delivery
        self.others = others
        self.is_whole = is_whole
        self.had_secret = had_secret
        self.own = [_Candidate(secret) for secret in _available(provider)]
        known = {candidate.secret.value for candidate in self.own}
        self.foreign = [
            _Candidate(secret, name)
            for name, other in others
            for secret in _available(other)
            if secret.value not in known
        ]
        self._work = _MOST_WORK

    @property
    def labels(self) -> str:
        return " or ".join(candidate.name for candidate in self.own)

    def matches(self, secret: str, delivery: Delivery) -> bool:
        """Whether the delivery's signature was made with a secret, whatever its time."""
        self._work -= len(delivery.body) + _PER_TRY
        if self._work < 0:
            return False
        try:
            return self.provider.matches(delivery, self.provider.key(secret))
        except Exception:  # a header or a key in another form, as vendors' libraries say it
            return False


def _available(provider: Provider) -> list[LabelledSecret]:
    try:
        return provider.available_secrets()
    except ConvexHTTPError:
        return []


def _findings(case: _Case) -> Iterator[Finding]:
    delivery = case.delivery
    try:
        event = case.provider.verify(delivery.headers, delivery.body, now=delivery.now)
    except MissingSecretError as error:
        refused: VerificationError | MissingSecretError = error
    except VerificationError as error:
        refused = error
    else:
        yield _verifies(event.secret_label)
        return
    if isinstance(refused, MissingSecretError):
        yield _missing_secret(case, refused)
    missing = list(missing_headers(case.provider, delivery, case.others))
    yield from missing
    if missing:
        yield from _clues(case)
        return
    signed = _signature(case) if case.is_whole else _cut()
    if signed is not None and signed.word != "verifies":
        yield signed
    yield from _time(case, signed)
    yield from _content(refused, signed)
    yield from _clues(case)
    is_unseen = isinstance(refused, MissingSecretError) and (case.had_secret or not case.own)
    if signed is None and not is_unseen:  # with no secret to try, nothing is known of who has signed it
        yield unversioned(case.provider, delivery) or _unknown_signer(case)


def _missing_secret(case: _Case, refused: MissingSecretError) -> Finding:
    if not case.had_secret:
        sentence = f"{refused}: set it where the app runs, and here, then have the delivery sent again."
        return Finding("missing-secret", sentence, True)
    sentence = (
        f"This command does not see the secret that the app had ({refused}): run it with the app's environment "
        "variables, to have the signature tried."
    )
    return Finding("unseen-secret", sentence, True)


def _unknown_signer(case: _Case) -> Finding:
    return Finding(
        "unknown-signer",
        "It was signed with a secret that this app does not know, or altered on the way in a way that cannot be "
        f"undone: compare {case.labels or 'the secret'} with the sender's page, and have the delivery sent again.",
    )


def _verifies(label: str) -> Finding:
    return Finding(
        "verifies",
        f"It verifies here and now, with {label}. If it was put right since, have the sender deliver it again; else "
        "the app that refused it has other environment variables or another clock than this command.",
        True,
    )


def _cut() -> Finding:
    return Finding(
        "cut-body",
        "Only the beginning of its body was kept, so no signature can be tried: copy the delivery from the sender's "
        "page and give it with --source, --headers and --body.",
        True,
    )


# --- the signature ---------------------------------------------------------------------------------------------------


def _signature(case: _Case) -> Finding | None:
    """What the signature is of, by trying; the first that matches."""
    tries = (_as_it_is, _mistaken_secret, _foreign_secret, _altered, _written_otherwise, _foreign_and_altered)
    return next((finding for attempt in tries if (finding := attempt(case)) is not None), None)


def _as_it_is(case: _Case) -> Finding | None:
    found = next((own for own in case.own if case.matches(own.secret.value, case.delivery)), None)
    # Not what is wrong with it: that is its time or its content.
    return None if found is None else Finding("verifies", f"Its signature matches {found.name}. ", True)


def _mistaken_secret(case: _Case) -> Finding | None:
    for own in case.own:
        for mistake in mistakes(own.secret.value, case.provider.name):
            if mistake.corrected and case.matches(mistake.corrected, case.delivery):
                sentence = f"{own.name} {mistake.what}: without that mistake the signature matches. Set it anew."
                return Finding("pasted-secret", sentence, True)
    return None


def _foreign_secret(case: _Case) -> Finding | None:
    found = next((other for other in case.foreign if case.matches(other.secret.value, case.delivery)), None)
    return None if found is None else Finding("other-secret", _other_secret(case, found), True)


def _altered(case: _Case) -> Finding | None:
    return _altered_with(case, case.own, "")


def _foreign_and_altered(case: _Case) -> Finding | None:
    return _altered_with(case, case.foreign, " Besides, it was signed with {name}.")


def _altered_with(case: _Case, candidates: Sequence[_Candidate], more: str) -> Finding | None:
    if not candidates:
        return None
    for change in changes(case.delivery.body):
        before = replace(case.delivery, body=change.before)
        found = next((one for one in candidates if case.matches(one.secret.value, before)), None)
        if found is not None:
            sentence = (
                f"The body was altered on the way: {change.what}. A proxy, a relay or a `before_request` does that; "
                f"have it pass the bytes on as they came.{more.format(name=found.name)}"
            )
            return Finding("altered-body", sentence, True)
    return None


def _written_otherwise(case: _Case) -> Finding | None:
    for header in (name for names in case.provider.required_headers for name in names):
        for form in forms(case.delivery.headers.get(header.lower(), "")):
            changed = replace(case.delivery, headers={**case.delivery.headers, header.lower(): form.value})
            if any(case.matches(own.secret.value, changed) for own in case.own):
                sentence = (
                    f"The signature in {header} is right, but written in {form.sent}, where this webhook expects "
                    f"{form.wanted}: set the provider's encoding and prefix to what the sender writes."
                )
                return Finding("signature-encoding", sentence, True)
    return None


def _other_secret(case: _Case, found: _Candidate) -> str:
    own = f"not with this webhook's {case.labels}" if case.own else "and this webhook has none"
    return f"It was signed with {found.name}, {own}: the sender's endpoint is another one, or the two are mixed up."


# --- the time and the content ----------------------------------------------------------------------------------------


def _time(case: _Case, signed: Finding | None) -> Iterator[Finding]:
    """Whether the signed time is too far from when it was received; as of that time it verifies, or would."""
    delivery = case.delivery
    at = signed_at(case.provider, delivery.headers, delivery.body)
    if at is None or _is_in_time(case.provider, delivery):
        return
    age = (delivery.now - at) / 1000
    where = f"{age:.0f} s before" if age > 0 else f"{-age:.0f} s after"
    causes = (
        "this machine's clock is wrong, a proxy or a queue held the delivery up, or somebody sent an old one again"
        if age > 0
        else "this machine's clock is slow, or the sender's is fast"
    )
    is_certain = signed is not None and signed.word != "cut-body"
    matched = signed.sentence if signed is not None and signed.word == "verifies" else ""
    yield Finding("clock", f"{matched}It was signed {where} it was received, which is too long: {causes}.", is_certain)


def _is_in_time(provider: Provider, delivery: Delivery) -> bool:
    try:
        provider.verify_signature(delivery.headers, delivery.body, now=delivery.now)
    except VerificationError as error:
        return error.reason not in ("too-old", "too-new")
    except MissingSecretError:
        return True
    return True


def _content(refused: ConvexHTTPError, signed: Finding | None) -> Iterator[Finding]:
    if not isinstance(refused, VerificationError) or refused.reason != "malformed":
        return
    if signed is not None and signed.word == "verifies":
        yield Finding(
            "malformed", f"{signed.sentence}What was signed is no event: {refused}. Is it the right provider?", True
        )
    elif signed is None:
        yield Finding("malformed", f"It is not what this provider sends: {refused}.")


# --- what only looks wrong -------------------------------------------------------------------------------------------


def _clues(case: _Case) -> Iterator[Finding]:
    for own in case.own:
        for mistake in mistakes(own.secret.value, case.provider.name):
            if mistake.is_visible:
                yield Finding("pasted-secret", f"{own.name} {mistake.what}. Set it anew.")
    yield from _length(case)
    if case.provider.name == "stripe":
        yield from _of_stripe(case)


def _length(case: _Case) -> Iterator[Finding]:
    if not case.is_whole:
        return
    announced, length = case.delivery.headers.get("content-length", ""), len(case.delivery.body)
    if _LENGTH.fullmatch(announced) and int(announced) != length:
        sentence = f"Content-Length says {int(announced)} bytes and {length} came"
        yield Finding("altered-body", f"{sentence}: something has changed the body on the way.")
    elif not length:
        yield Finding("altered-body", "The body is empty: something has read it before, or the sender sent none.")


def _of_stripe(case: _Case) -> Iterator[Finding]:
    try:
        event = msgspec.json.decode(case.delivery.body)
    except (ValueError, RecursionError):
        return
    if not isinstance(event, dict):
        return
    mode = event.get("livemode")
    if isinstance(mode, bool):
        yield Finding(
            "test-mode-secret",
            f"The event is of {'live' if mode else 'test'} mode (livemode: {'true' if mode else 'false'}). Test and "
            "live endpoints each have a secret of their own, and `stripe listen` prints another one: is "
            f"{case.labels or 'the secret'} that of the endpoint which sent this?",
        )
    if event.get("account") is not None:
        yield Finding(
            "connect-secret",
            "The event is of a connected account: an endpoint for those has a secret of its own; give the provider "
            "both in a list.",
        )
