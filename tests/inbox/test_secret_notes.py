"""Notes of the check on signing secrets: unset, malformed, short, and shared ones."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from flask_convex_http import GitHub, HmacSignature, Shopify, Stripe, Svix, from_env
from flask_convex_http.inbox.registry import Options, Webhook, Webhooks
from flask_convex_http.inbox.secret_notes import describe_secrets
from flask_convex_http.webhooks import Provider

LONG, OTHER = "a-secret-of-enough-bytes", "another-one-of-enough-bytes"
VARIABLE = "NOTED_WEBHOOK_SECRET"


def notes(**providers: Provider) -> list[str]:
    """Return the notes on webhooks with these sources."""
    webhooks, run = Webhooks(), Callable[..., Any]
    for source, provider in providers.items():
        webhooks.add(Webhook.of(f"/{source}", provider, "handler", run, Options(source=source)))  # type: ignore[arg-type]
    return describe_secrets(webhooks)


def test_good_secrets_have_no_note() -> None:
    """Long secrets, one for each webhook and two during a rotation, are not mentioned."""
    clerk = "whsec_" + base64.b64encode(b"sixteen bytes...").decode()
    assert (
        notes(
            github=GitHub(secret=[LONG, "retired" + LONG]),
            clerk=Svix(secret=clerk),
            stripe=Stripe(secret="whsec_" + OTHER),
        )
        == []
    )


@pytest.mark.parametrize(
    ("provider", "is_short"),
    [
        (GitHub(secret="fifteen bytes.."), True),
        (GitHub(secret="sixteen bytes..."), False),
        (Svix(secret="whsec_" + base64.b64encode(b"fifteen bytes..").decode()), True),
        (Svix(secret="whsec_" + base64.b64encode(b"sixteen bytes...").decode()), False),
        (Stripe(secret=["whsec_" + LONG, "whsec_test"]), True),
    ],
)
def test_short_secret_is_a_note(provider: Provider, is_short: bool) -> None:
    """A key of fewer than 16 bytes, decoded as its sender does, is a note that does not show it."""
    found = notes(hook=provider)
    assert len(found) == is_short
    for note in found:
        assert "of hook has fewer than 16 bytes" in note and "fifteen" not in note and "whsec" not in note


def test_shared_secret_is_a_note() -> None:
    """One secret on two routes is a note that names both, however the two write it."""
    (note,) = notes(
        orders=Shopify(secret=LONG),
        refunds=HmacSignature(secret=[OTHER, LONG + "\n"], header="X-Signature"),
        stripe=Stripe(secret="whsec_" + OTHER),
    )
    assert note.startswith("orders (secret 1) and refunds (secret 2) have one signing secret")
    assert LONG not in note


def test_unset_secret_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable is a note with its name, which only operators read."""
    monkeypatch.delenv(VARIABLE, raising=False)
    (note,) = notes(hook=GitHub(secret=from_env(VARIABLE)))
    assert note.startswith(f"Environment variable {VARIABLE} is not set here")


@pytest.mark.parametrize("secret", [f'"{LONG}"', "whsec_ not base64", "sk_test_0123456789abcdef"])
def test_mistaken_secret_is_a_note(secret: str) -> None:
    """A secret that shows a mistake is a note that names the mistake and not the secret."""
    (note,) = notes(hook=Svix(secret=secret))
    assert note.startswith("secret 1 of hook ") and "no delivery verifies" in note
    assert secret.strip('"') not in note
