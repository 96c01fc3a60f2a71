"""What is wrong with a delivery that lacks a header its provider signs in, or the signature in it: renamed, taken
away, or somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.diagnosis.findings import Finding
from flask_convex_http.webhooks.events import Delivery

#: Whose signature a header is.
_SIGNERS = {
    "stripe-signature": ("stripe", "Stripe"),
    "svix-signature": ("svix", "Svix"),
    "webhook-signature": ("standard", "Standard Webhooks"),
    "x-hub-signature-256": ("github", "GitHub"),
    "x-slack-signature": ("slack", "Slack"),
    "x-shopify-hmac-sha256": ("shopify", "Shopify"),
}
#: What a signature begins with in the header of a provider that writes several, or may in another version.
_VERSIONS = {
    "stripe": ("Stripe-Signature", ("v1=",)),
    "svix": ("svix-signature", ("v1,", "v1a,")),
    "standard": ("webhook-signature", ("v1,", "v1a,")),
    "github": ("X-Hub-Signature-256", ("sha256=",)),
    "slack": ("X-Slack-Signature", ("v0=",)),
}
#: Headers that are not kept with a refused delivery.
_NOT_KEPT = ("authorization", "cookie", "proxy-authorization")
_PROXY_HEADERS = ("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")


def missing_headers(
    provider: Provider, delivery: Delivery, others: Iterable[tuple[str, Provider]]
) -> Iterator[Finding]:
    """Say what headers a delivery lacks, and what may have become of them.

    Args:
        provider: Who should have sent it.
        delivery: What was received.
        others: The other webhooks of the application, by what people call them.
    """
    missing = [names for names in provider.required_headers if not _has(delivery, names)]
    if not missing:
        return
    yield from _addressed_to_others(delivery, others)
    for names in missing:
        yield _about(names, delivery)
    yield from _of_github(provider, delivery)
    yield from _signed_by_others(provider, delivery)
    if len(missing) < len(provider.required_headers):
        return
    yield Finding(
        "unsigned",
        f"Not one of the headers that {provider.name} signs in is there: the request came from somebody else, or a "
        f"proxy lets only headers through that it knows{_through_a_proxy(delivery)}.",
    )


def unversioned(provider: Provider, delivery: Delivery) -> Finding | None:
    """Say that a signature's header is there, and in it no signature of the kind that the provider makes.

    Args:
        provider: Who should have sent it.
        delivery: What was received.
    """
    name, prefixes = _VERSIONS.get(provider.name, ("", ()))
    value = delivery.headers.get(name.lower(), "")
    if not value or any(prefix in value for prefix in prefixes):
        return None
    sentence = f"{name} has no {prefixes[0]} signature in it: it was cut on the way, or {provider.name} has not made it"
    return Finding("unsigned", f"{sentence}.", True)


def _has(delivery: Delivery, names: Iterable[str]) -> bool:
    return any(delivery.headers.get(name.lower(), "").strip() for name in names)


def _about(names: tuple[str, ...], delivery: Delivery) -> Finding:
    name = names[0]
    if any(other.lower() in _NOT_KEPT for other in names):
        sentence = f"{name} is not kept with a refused delivery: give this one with --headers and --body."
        return Finding("missing-header", sentence)
    if any(other.lower() in delivery.headers for other in names):
        return Finding(
            "missing-header", f"The header {name} is there and empty: something on the way has cleared it.", True
        )
    renamed = next((found for found in delivery.headers if _is_renamed(found, names)), None)
    if renamed is not None:
        sentence = f"The header {name} is missing and there is {renamed!r}: have the proxy pass {name} on as it is."
        return Finding("renamed-header", sentence, True)
    sentence = f"The header {name} is missing: the sender does not sign, or a proxy took it away"
    return Finding("missing-header", f"{sentence}{_through_a_proxy(delivery)}.", True)


def _is_renamed(found: str, names: Iterable[str]) -> bool:
    """Whether a header is one of these under another name: `x-original-stripe-signature`, `stripe_signature`."""
    return any(found.replace("_", "-").endswith(name.lower()) for name in names) and len(found) < 100


def _through_a_proxy(delivery: Delivery) -> str:
    found = next((name for name in _PROXY_HEADERS if name in delivery.headers), None)
    return "" if found is None else f" (it came through one: there is {found})"


def _addressed_to_others(delivery: Delivery, others: Iterable[tuple[str, Provider]]) -> Iterator[Finding]:
    for name, other in others:
        try:
            other.verify_signature(delivery.headers, delivery.body, now=delivery.now)
        except ConvexHTTPError:
            continue
        yield Finding("other-provider", f"It is a genuine delivery to {name}: give its sender that URL.", True)


def _signed_by_others(provider: Provider, delivery: Delivery) -> Iterator[Finding]:
    for header, (name, title) in _SIGNERS.items():
        if name != provider.name and _has(delivery, (header,)) and not _is_own(provider, header):
            sentence = f"It has {title}'s {header}, and this webhook expects {provider.name}"
            yield Finding("other-provider", f"{sentence}: correct the URL at the sender, or the provider in the code.")


def _is_own(provider: Provider, header: str) -> bool:
    return any(header == name.lower() for names in provider.required_headers for name in names)


def _of_github(provider: Provider, delivery: Delivery) -> Iterator[Finding]:
    if provider.name != "github":
        return
    if _has(delivery, ("X-Hub-Signature",)):
        yield Finding(
            "sha1-only",
            "There is only X-Hub-Signature, which is SHA-1: GitHub sends X-Hub-Signature-256 beside it, and an old "
            "GitHub Enterprise Server or a relay does not; update it, or have it pass all headers on.",
            True,
        )
    elif _has(delivery, ("X-GitHub-Event",)):
        sentence = "GitHub signs only if the webhook has a secret: set one on the webhook's page, the same as here."
        yield Finding("unsigned", sentence, True)
