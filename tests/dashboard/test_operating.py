"""Functions, keys and the history in a browser, as an operator uses them."""

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboard.browsing import Browsing
from tests.dashboard.shop import backend_of
from tests.databases import EACH_ENGINE
from tests.lengths import LONG

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(600)]

#: An image of one red pixel.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
HOSTILE = "<img src=x onerror=alert(1)>"


def test_run_a_function_and_undo_it(browser_page: Browsing) -> None:
    """An operator runs a mutation after a look at its changes, finds its commit, and undoes it."""
    page = browser_page.page
    page.get_by_role("link", name="Functions").click()
    browser_page.inspect("functions", "Functions")
    page.get_by_role("link", name="add_customer", exact=True).click()
    page.get_by_label("email").fill("ada@shop.example")
    page.get_by_label("name str").fill(HOSTILE)
    page.get_by_role("button", name="Show what it would change").click()
    expect(page.get_by_text("Nothing was changed.")).to_be_visible()
    browser_page.inspect("function-tried")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    page.get_by_role("link", name="In the history").click()
    browser_page.inspect("history", "History")
    page.get_by_role("link", name=re.compile(r"^\d+$")).first.click()
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    browser_page.inspect("history-commit")
    page.get_by_role("link", name="Undo this commit").click()
    expect(page.get_by_text("Nothing was changed yet.")).to_be_visible()
    browser_page.inspect("history-undo")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("1 row changed")
    newest = backend_of(browser_page.app).history.log(limit=1)[0]
    assert newest.undoes is not None and newest.identity == "dashboard: a one-time link"


def test_a_wrong_argument(browser_page: Browsing) -> None:
    """A wrong argument is explained at its field, which keeps what was entered."""
    page = browser_page.open("/functions/shop:list_orders")
    page.get_by_label("limit").fill("many")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Enter a whole number.")).to_be_visible()
    expect(page.get_by_label("limit")).to_have_value("many")
    browser_page.inspect("function-wrong")


def test_life_of_a_key(browser_page: Browsing) -> None:
    """An operator creates a key, sees it once, and revokes it with the keyboard alone."""
    page = browser_page.open("/keys")
    browser_page.inspect("keys-empty")
    page.get_by_label("Name", exact=True).press_sequentially("ci")
    page.get_by_label("Scopes, optional").first.press_sequentially("read write")
    page.keyboard.press("Enter")
    key = page.get_by_role("textbox", name="API key", exact=True).input_value()
    assert backend_of(browser_page.app).api_keys.verify(key) is not None
    browser_page.inspect("keys-new")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.get_by_role("link", name="Back to the keys").press("Enter")
    browser_page.inspect("keys", "API keys")
    page.get_by_role("button", name="Revoke").first.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    browser_page.inspect("keys-revoke")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Revoke").first.press("Enter")
    dialog.get_by_role("button", name="Revoke").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Revoked cvx_")
    assert backend_of(browser_page.app).api_keys.verify(key) is None


def test_cancel_a_job(browser_page: Browsing) -> None:
    """An operator cancels a job after a question, and retries it."""
    backend_of(browser_page.app).ctx().scheduler.run_after(86_400, "shop:fail", text=HOSTILE)
    page = browser_page.open("/jobs")
    browser_page.inspect("jobs")
    page.get_by_role("link", name="shop:fail").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    browser_page.inspect("job-cancel")
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_role("status")).to_contain_text("is canceled")
    browser_page.inspect("job")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("as soon as a worker is free")


def test_upload_a_file(browser_page: Browsing, tmp_path: Path) -> None:
    """An operator uploads an image, sees it, and deletes it after a question."""
    picture = tmp_path / f"{HOSTILE.replace('/', '')}.png"
    picture.write_bytes(PNG)
    page = browser_page.open("/files")
    browser_page.inspect("files-empty")
    page.get_by_label("File").set_input_files(picture)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("status")).to_contain_text("Stored the file.")
    expect(page.get_by_role("img")).to_have_js_property("naturalWidth", 1)
    browser_page.inspect("file")
    page.get_by_role("link", name="Files").first.click()
    browser_page.inspect("files", "Files")
    page.get_by_role("link", name=picture.name).click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the file").click()
    expect(page.get_by_text("There are no stored files.")).to_be_visible()


def test_live_logs(browser_page: Browsing) -> None:
    """Records appear on the page while an operator looks at it."""
    page = browser_page.open("/logs")
    backend_of(browser_page.app).run("shop:greet", {"name": "Ada"})
    expect(page.get_by_text("action shop:greet succeeded")).to_be_visible()
    browser_page.inspect("logs")
