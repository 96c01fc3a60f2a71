"""Secrets of another form than their sender documents: the application does not start with one."""

from typing import Any

import pytest
from flask import Flask

import flask_convex_http
from flask_convex_http import HttpRouter, Provider, RegistrationError, from_env
from tests.webhooks.providers.catalogue import provider_senders
from tests.webhooks.senders import SENDERS

VARIABLE = "WEBHOOKS_TEST_FORM"
WRONG = [
    ("Stripe", "sk_test_4eC39HqLyjWDarjtT1zdp7dc", "an endpoint, which begins with whsec_: it is an API key"),
    ("Stripe", '"whsec_abc"', "it has quotes around it"),
    ("Svix", "not-base64!", "is not base64, alone or after whsec_"),
    ("Resend", "re_123456", "is an API key"),
    ("StandardWebhooks", "whpk_AAAA", "starts with whpk_ or whsk_ and is no such key"),
    ("Slack", "xoxb-1-2-abc", "is not the signing secret of the app"),
    ("Shopify", "shpat_0123456789abcdef", "is not the client secret of the app"),
    ("Polar", "polar_oat_abc", r"is not the secret of a webhook endpoint \(whsec_"),
    ("Paddle", "pdl_live_apikey_01gkpjp8", r"is not the secret key of a notification destination \(pdl_ntfset_"),
    ("Paystack", "pk_live_abc", r"is not the secret key \(sk_"),
    ("Linear", "lin_api_abc", r"is not the signing secret of the webhook \(lin_wh_"),
    ("Twilio", "AC" + "0" * 32, "is not the auth token of the account"),
    ("Telegram", "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "up to 256 letters, digits"),
    ("Twitch", "short", "10 to 100"),
    ("Adyen", "not hex", "hex"),
    ("Discord", "abc", "is no public key"),
    ("SendGrid", "SG.abc", "is no public key"),
    ("PayPal", "client secret", "such as 1JE4291016473214C"),
]


def router(provider: Provider) -> HttpRouter:
    """Return a router with one webhook."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider)(lambda ctx, event: None)
    return http


@pytest.mark.parametrize(("name", "secret", "form"), WRONG)
def test_wrong_form_is_refused_at_the_start(name: str, secret: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of another form is refused with its form: a plain one at registration, a variable at the start."""
    provider: Any = getattr(flask_convex_http, name)
    with pytest.raises(RegistrationError, match=rf"^secret 1 of {name}\(\.\.\.\) .*{form}") as caught:
        router(provider(secret=secret))
    assert secret not in str(caught.value)
    monkeypatch.delenv(VARIABLE, raising=False)
    http = router(provider(secret=from_env(VARIABLE)))
    Flask("unset").register_blueprint(http)
    monkeypatch.setenv(VARIABLE, f" {secret}\n")
    with pytest.raises(RegistrationError, match=rf"^{VARIABLE} of {name}\(\.\.\.\) .*{form}") as caught:
        Flask("set").register_blueprint(http)
    assert secret not in str(caught.value)


def test_each_secret_of_a_list_is_checked() -> None:
    """In a list the secret of another form is named, whatever the others are."""
    with pytest.raises(RegistrationError, match=r"^secret 2 of Stripe"):
        router(flask_convex_http.Stripe(secret=["whsec_abc", "abc"]))


def test_secrets_of_senders_have_their_form() -> None:
    """No secret that signs a delivery of the other tests is refused."""
    senders: list[Any] = [*SENDERS.values(), *provider_senders().values()]
    for sender in senders:
        for secret in (sender.secret, sender.other_secret):
            provider = sender.provider(secret)
            assert not provider.has_secrets or provider.wrong_form(secret) == "", provider.name
            provider.check_secrets(start=True)
