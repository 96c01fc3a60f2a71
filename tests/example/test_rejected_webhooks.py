"""Rejected webhooks of the example, which leave no data."""

import pytest

from flask_convex_http.schema.system_tables import WebhookDelivery
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.application import Example, example
from tests.example.deliveries import (
    GITHUB_PUSH,
    GITHUB_SECRET,
    SECRETS,
    SIGNATURES,
    STRIPE_SECRET,
    VALID_DELIVERIES,
    Delivery,
    checkout_completed,
    clerk_user,
    from_clerk,
    from_github,
    from_stripe,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def assert_rejected(app: Example, delivery: Delivery) -> None:
    """Send a delivery, and check that it is 400 and leaves nothing."""
    response = app.deliver(delivery)
    assert (response.status_code, response.mimetype) == (400, "application/json")
    assert [value for value in SECRETS.values() if value in response.text] == []
    assert app.is_unchanged()
    assert app.rows(WebhookDelivery) == []


@pytest.mark.parametrize("provider", VALID_DELIVERIES)
def test_tampered_delivery_is_rejected(provider: str) -> None:
    """A changed body, and a changed, missing or foreign signature, are 400."""
    delivery, name = VALID_DELIVERIES[provider](), SIGNATURES[provider]
    signature = delivery.headers[name]
    last = "0" if signature[-2] != "0" else "1"
    with example() as app:
        assert_rejected(app, delivery.with_body(delivery.body + b" "))
        assert_rejected(app, delivery.with_body(delivery.body.replace(b"a", b"b", 1)))
        assert_rejected(app, delivery.with_body(b""))
        assert_rejected(app, delivery.without_header(name))
        for value in ("", " ", "garbage", "sha256=", "v1,", "t=,v1=", signature[:-2] + last + signature[-1], "é" * 64):
            assert_rejected(app, delivery.with_header(name, value))


@pytest.mark.parametrize("provider", VALID_DELIVERIES)
def test_delivery_signed_with_another_secret_is_rejected(provider: str) -> None:
    """A delivery that is signed with another secret is 400."""
    other = {
        "stripe": from_stripe(checkout_completed(), secret=STRIPE_SECRET + "0"),
        "clerk": from_clerk(clerk_user("user.created"), secret="whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCE="),
        "github": from_github(GITHUB_PUSH, secret=GITHUB_SECRET + " "),
    }
    with example() as app:
        assert_rejected(app, other[provider])


@pytest.mark.parametrize("seconds_ago", [330, 86_400, 10**9, -330], ids=["5 minutes", "a day", "decades", "future"])
@pytest.mark.parametrize("provider", ["stripe", "clerk"])
def test_delivery_of_another_time_is_rejected(provider: str, seconds_ago: int) -> None:
    """A delivery that was signed more than five minutes before or after now is 400, against replays."""
    stale = {
        "stripe": lambda: from_stripe(checkout_completed(), seconds_ago=seconds_ago),
        "clerk": lambda: from_clerk(clerk_user("user.created"), seconds_ago=seconds_ago),
    }
    with example() as app:
        assert_rejected(app, stale[provider]())


@pytest.mark.parametrize(
    ("provider", "name", "value"),
    [("clerk", "svix-id", "msg_other"), ("clerk", "svix-timestamp", "1"), ("clerk", "svix-timestamp", "now")],
)
def test_signed_header_cannot_be_changed(provider: str, name: str, value: str) -> None:
    """The id and the time of a delivery are signed, so that a change of them is 400."""
    with example() as app:
        assert_rejected(app, VALID_DELIVERIES[provider]().with_header(name, value))


@pytest.mark.parametrize("variable", SECRETS)
def test_unset_secret_is_503(variable: str) -> None:
    """Without its secret a webhook is 503 and does not name the variable, while the others work."""
    provider = variable.partition("_")[0].lower()
    with example({name: value for name, value in SECRETS.items() if name != variable}) as app:
        valid = VALID_DELIVERIES[provider]()
        for delivery in (valid, Delivery(valid.path, b"", {}), valid.with_header(SIGNATURES[provider], "x")):
            response = app.deliver(delivery)
            assert (response.status_code, response.mimetype) == (503, "application/json")
            assert variable not in response.text
        assert app.is_unchanged()
        assert app.rows(WebhookDelivery) == []
        app.accept(*[build() for name, build in VALID_DELIVERIES.items() if name != provider])


@pytest.mark.parametrize("provider", VALID_DELIVERIES)
def test_webhook_accepts_only_post(provider: str) -> None:
    """A webhook accepts only POST, and no CORS policy applies to it."""
    with example() as app:
        path = VALID_DELIVERIES[provider]().path
        for response in (app.client.get(path), app.client.put(path)):
            assert (response.status_code, response.allow.as_set()) == (405, {"post"})
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        response = app.client.options(path, headers=preflight)
        assert response.status_code == 405
        assert "Access-Control-Allow-Origin" not in response.headers
