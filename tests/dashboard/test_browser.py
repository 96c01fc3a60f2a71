"""The dashboard in Chromium: log in, look around, log out."""

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from tests.dashboard.browsing import Browsing, browsing
from tests.databases import EACH_ENGINE
from tests.lengths import LONG

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(600)]


def test_log_in_and_out(browser: Browser, app: Flask, pytestconfig: pytest.Config) -> None:
    """A link logs in by itself and its code leaves the address; log-out ends the session."""
    with browsing(browser, app, pytestconfig) as window:
        window.open("/")
        expect(window.page.get_by_role("heading", name="Log in")).to_be_visible()
        window.inspect("login")
        window.page.get_by_label("Admin key or one-time code").fill("wrong")
        window.page.keyboard.press("Enter")
        expect(window.page.get_by_role("alert")).to_contain_text("not valid")
        window.log_in()
        assert "#" not in window.page.url
        window.page.get_by_role("button", name="Log out").click()
        expect(window.page.get_by_role("heading", name="Log in")).to_be_visible()


def test_overview(browser_page: Browsing) -> None:
    """The overview has no violation of accessibility rules in light, in dark and on a phone."""
    expect(browser_page.page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    browser_page.inspect("overview")


def test_policy_is_enforced(browser: Browser, app: Flask, pytestconfig: pytest.Config) -> None:
    """A page that runs an inline script violates its policy, and the harness notices."""
    with pytest.raises(AssertionError, match="Content Security Policy"), browsing(browser, app, pytestconfig) as window:
        window.open("/login")
        window.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")
        window.page.wait_for_timeout(100)
