"""The dashboard in Chromium: log in, look around, log out."""

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from flask_convex_http.dashboard.access import Access
from tests.dashboard.browsing import Browsing, browsing, serving
from tests.dashboard.shop import add_customer, backend_of
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
    """The overview draws charts, has their numbers as tables, and follows what happens."""
    browser_page.app.test_client().get("/nowhere")
    page = browser_page.open("/")
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    chart = page.get_by_role("figure", name="Requests per minute")
    expect(chart.locator("canvas")).to_be_visible()
    browser_page.inspect("overview")
    backend_of(browser_page.app).ctx().run_mutation(add_customer, email="a@x.example", name="Ann")
    page.evaluate("htmx.trigger('#overview', 'refresh')")
    expect(page.get_by_role("link", name="1", exact=True)).to_be_visible()
    expect(chart.locator("canvas")).to_be_visible()
    chart.get_by_text("Numbers").click()
    expect(chart.get_by_role("cell", name="1", exact=True).first).to_be_visible()
    browser_page.inspect("overview-numbers")


def test_end_of_session(browser_page: Browsing) -> None:
    """A page that refreshes itself leads to the log-in when its session has ended."""
    Access(backend_of(browser_page.app)).end_all()
    browser_page.page.evaluate("htmx.trigger('#overview', 'refresh')")
    expect(browser_page.page.get_by_role("heading", name="Log in")).to_be_visible()


def test_without_javascript(browser: Browser, app: Flask) -> None:
    """Log-in, forms and dialogs work without JavaScript."""
    code = Access(backend_of(app)).create_link("full")
    with serving(app) as url:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{url}/_convex/tables/customers/new#{code}")
        page.get_by_label("Admin key or one-time code").fill(code)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("email").fill("a@shop.example")
        page.get_by_label("name").fill("Ann")
        page.get_by_role("button", name="Insert").click()
        expect(page.get_by_role("status")).to_contain_text("Inserted the document.")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_role("status")).to_contain_text("Deleted customers_")
        context.close()


def test_policy_is_enforced(browser: Browser, app: Flask, pytestconfig: pytest.Config) -> None:
    """A page that runs an inline script violates its policy, and the harness notices."""
    with pytest.raises(AssertionError, match="Content Security Policy"), browsing(browser, app, pytestconfig) as window:
        window.open("/login")
        with window.page.expect_console_message():
            window.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")


def test_tables(browser_page: Browsing) -> None:
    """A person inserts, finds, edits and deletes a document, and looks at each page."""
    page = browser_page.open("/tables")
    browser_page.inspect("tables")
    page.get_by_role("link", name="customers").click()
    browser_page.inspect("tables-empty", "customers")
    page.get_by_role("link", name="Insert a document").click()
    browser_page.inspect("tables-new", "New document of customers")
    page.get_by_label("email").fill("ann@shop.example")
    page.get_by_label("name").fill("<b>Ann</b>\nLee")
    page.get_by_role("button", name="Insert").click()
    expect(page.get_by_role("status")).to_contain_text("Inserted the document.")
    browser_page.inspect("tables-document")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("note").fill("A note")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Changed note.")
    page.get_by_role("link", name="customers", exact=True).click()
    page.wait_for_url("**/tables/customers")  # and its scripts
    page.get_by_label("Index", exact=True).press("b")  # by_email, the next one with that letter
    expect(page.get_by_label("Condition of email")).to_be_visible()
    page.get_by_label("Index", exact=True).press("End")
    expect(page.get_by_label("Condition of name")).to_be_visible()
    expect(page.get_by_label("Index", exact=True)).to_be_focused()
    page.get_by_label("Condition of name").select_option("from")
    page.get_by_label("Value of name").fill("<b>B")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No row matches.")).to_be_visible()
    page.get_by_role("link", name="Show all rows").click()
    expect(page.get_by_text("No row matches.")).to_be_hidden()
    browser_page.inspect("tables-rows", "customers")
    page.get_by_role("rowheader").first.get_by_role("link").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog", name="Delete this document?")).to_be_visible()
    browser_page.inspect("tables-delete")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Delete").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Deleted customers_")
