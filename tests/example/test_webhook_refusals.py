"""Webhooks of the example that are not what they say they are: refused, with nothing left behind."""

import pytest

from flask_convex_http.schema.system_tables import WebhookDelivery
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.application import Example, example
from tests.example.deliveries import (
    GENUINE,
    GITHUB_PUSH,
    GITHUB_SECRET,
    SECRETS,
    SIGNATURES,
    STRIPE_SECRET,
    Delivery,
    checkout_completed,
    clerk_user,
    from_clerk,
    from_github,
    from_stripe,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def refused(app: Example, delivery: Delivery) -> None:
    """Send a delivery that must be answered 400 and leave nothing."""
    answer = app.deliver(delivery)
    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert [value for value in SECRETS.values() if value in answer.text] == []
    assert app.is_unchanged()
    assert app.rows(WebhookDelivery) == []


@pytest.mark.parametrize("provider", GENUINE)
def test_tampered_delivery_is_refused(provider: str) -> None:
    """A changed body, a changed or missing signature, and that of another delivery are each 400."""
    delivery, name = GENUINE[provider](), SIGNATURES[provider]
    signature = delivery.headers[name]
    last = "0" if signature[-2] != "0" else "1"
    with example() as app:
        refused(app, delivery.with_body(delivery.body + b" "))
        refused(app, delivery.with_body(delivery.body.replace(b"a", b"b", 1)))
        refused(app, delivery.with_body(b""))
        refused(app, delivery.without_header(name))
        for value in ("", " ", "garbage", "sha256=", "v1,", "t=,v1=", signature[:-2] + last + signature[-1], "é" * 64):
            refused(app, delivery.with_header(name, value))


@pytest.mark.parametrize("provider", GENUINE)
def test_delivery_signed_with_another_secret_is_refused(provider: str) -> None:
    """A delivery signed with a secret that is not ours is 400."""
    other = {
        "stripe": from_stripe(checkout_completed(), secret=STRIPE_SECRET + "0"),
        "clerk": from_clerk(clerk_user("user.created"), secret="whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCE="),
        "github": from_github(GITHUB_PUSH, secret=GITHUB_SECRET + " "),
    }
    with example() as app:
        refused(app, other[provider])


@pytest.mark.parametrize("seconds_ago", [330, 86_400, 10**9, -330], ids=["5 minutes", "a day", "decades", "future"])
@pytest.mark.parametrize("provider", ["stripe", "clerk"])
def test_delivery_of_another_time_is_refused(provider: str, seconds_ago: int) -> None:
    """A delivery that was signed more than five minutes from now is 400, as somebody may have kept it."""
    stale = {
        "stripe": lambda: from_stripe(checkout_completed(), seconds_ago=seconds_ago),
        "clerk": lambda: from_clerk(clerk_user("user.created"), seconds_ago=seconds_ago),
    }
    with example() as app:
        refused(app, stale[provider]())


@pytest.mark.parametrize(
    ("provider", "name", "value"),
    [("clerk", "svix-id", "msg_other"), ("clerk", "svix-timestamp", "1"), ("clerk", "svix-timestamp", "now")],
)
def test_signed_header_cannot_be_changed(provider: str, name: str, value: str) -> None:
    """The id and the time of a delivery are signed: with others it is 400."""
    with example() as app:
        refused(app, GENUINE[provider]().with_header(name, value))


@pytest.mark.parametrize("variable", SECRETS)
def test_unset_secret_is_named(variable: str) -> None:
    """Without its secret a webhook is 503 and names the variable, whatever was sent; the others work on."""
    provider = variable.partition("_")[0].lower()
    with example({name: value for name, value in SECRETS.items() if name != variable}) as app:
        genuine = GENUINE[provider]()
        for delivery in (genuine, Delivery(genuine.path, b"", {}), genuine.with_header(SIGNATURES[provider], "x")):
            answer = app.deliver(delivery)
            assert (answer.status_code, answer.mimetype) == (503, "application/json")
            assert variable in answer.text
        assert app.is_unchanged()
        assert app.rows(WebhookDelivery) == []
        app.accept(*[build() for name, build in GENUINE.items() if name != provider])


@pytest.mark.parametrize("provider", GENUINE)
def test_webhook_takes_only_post(provider: str) -> None:
    """Asking for a webhook's path is 405, and pages of other origins get no leave to use it."""
    with example() as app:
        path = GENUINE[provider]().path
        for answer in (app.client.get(path), app.client.put(path)):
            assert (answer.status_code, answer.allow.as_set()) == (405, {"post"})
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = app.client.options(path, headers=preflight)
        assert answer.status_code == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
