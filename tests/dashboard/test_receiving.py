"""Webhooks in a browser: a test delivery, its replay, and why another one was rejected."""

import pytest
from playwright.sync_api import expect

from tests.dashboard.browsing import Browsing
from tests.dashboard.shop import backend_of
from tests.databases import EACH_ENGINE
from tests.lengths import LONG

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(600)]


def test_replay_a_test_delivery(browser_page: Browsing) -> None:
    """An operator sends a test delivery, removes its effect, and replays it after a look at the changes."""
    page = browser_page.page
    page.get_by_role("link", name="Webhooks").click()
    browser_page.inspect("webhooks-empty", "Webhooks")
    page.get_by_role("link", name="Send a test delivery").click()
    browser_page.inspect("webhook-test", "Send a test delivery")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", name="Response")).to_be_visible()
    page.get_by_role("region", name="Response").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Payload")).to_be_visible()
    browser_page.inspect("delivery")
    page.get_by_role("link", name="Replay…").click()
    expect(page.get_by_role("alert")).to_contain_text("The handler would fail")
    browser_page.inspect("delivery-replay-failing")
    [customer] = backend_of(browser_page.app).run("shop:list_customers", {})
    backend_of(browser_page.app).run("shop:remove_customer", {"customer": customer.id})
    page.reload()
    expect(page.get_by_text(customer.email)).to_be_visible()
    browser_page.inspect("delivery-replay")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status")).to_contain_text("has run")
    assert len(backend_of(browser_page.app).run("shop:list_customers", {})) == 1
    page.get_by_role("link", name="Webhooks").first.click()
    browser_page.inspect("webhooks", "Webhooks")


def test_why_a_delivery_was_rejected(browser_page: Browsing) -> None:
    """An operator reads why a forged delivery was rejected."""
    browser_page.app.test_client().post("/hook", data=b'{"id": "1"}', headers={"X-Signature": "0" * 64})
    page = browser_page.open("/webhooks")
    page.get_by_role("link", name="no-match").click()
    expect(page.get_by_text("Webhook signature does not match")).to_be_visible()
    browser_page.inspect("rejection")
    page.get_by_role("link", name="Rejected").click()
    browser_page.inspect("rejections", "Rejected deliveries")
