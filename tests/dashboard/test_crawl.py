"""Every page of the dashboard in Chromium, with hostile data in all of them; and the whole by keyboard."""

import contextlib
import io
import re
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from flask_convex_http import testing
from flask_convex_http.errors import ConvexError
from tests.dashboard.browsing import Browsing, browsing
from tests.dashboard.shop import add_customer, add_order, backend_of, fail
from tests.databases import EACH_ENGINE
from tests.lengths import LONG

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(900)]

HOSTILE = '"\'><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
#: Parts of addresses that tell pages of one kind apart.
_NAMES = re.compile(r"[a-z_]*_?[0-9a-f]{20,}|(?<=[=/])\d+|(?<=cursor=)[^&]+")
_MOST = 80


def fill(app: Flask) -> None:
    """Put hostile texts wherever the dashboard shows texts from outside."""
    backend = backend_of(app)
    ctx = backend.ctx()
    customer = ctx.run_mutation(add_customer, email=HOSTILE, name=HOSTILE)
    ctx.run_mutation(add_order, customer=customer, amount=3)
    with contextlib.suppress(ConvexError):
        ctx.run_mutation(fail, text=HOSTILE)
    ctx.scheduler.run_after(0, fail, text=HOSTILE)
    testing.run_scheduled(backend)
    ctx.scheduler.run_after(3600, add_order, customer=customer, amount=4)
    ctx.storage.store(io.BytesIO(HOSTILE.encode()), content_type="text/html", name=HOSTILE)
    backend.api_keys.create(name=HOSTILE, scopes=[HOSTILE])
    client = app.test_client()
    testing.deliver(client, "/hook", {"id": HOSTILE, "type": HOSTILE, "data": {"note": HOSTILE}})
    client.post("/hook", data=HOSTILE, headers={"X-Signature": HOSTILE})
    client.get(f"/{HOSTILE}")


def test_every_page_with_hostile_data(browser_page: Browsing) -> None:
    """Texts from outside stay text on each page that links lead to, and no page violates a rule of accessibility."""
    fill(browser_page.app)
    page = browser_page.page
    waiting, seen = ["/_convex/"], set[str]()
    while waiting and len(seen) < _MOST:
        path = waiting.pop(0)
        kind = _NAMES.sub("*", path)
        if kind in seen:
            continue
        seen.add(kind)
        response = page.goto(browser_page.url + path)
        assert response is not None and response.status < 500, path
        assert page.evaluate("window.hacked") is None, path
        found = browser_page.violations()
        assert not found, (path, found)
        links = page.eval_on_selector_all("main a[href]:not([download]), nav a[href]", "all => all.map(a => a.href)")
        parts = [urlsplit(link) for link in links if link.startswith(browser_page.url)]
        waiting += [part.path + (f"?{part.query}" if part.query else "") for part in parts if _is_page(part.path)]
    assert len(seen) > 15, seen


def _is_page(path: str) -> bool:
    return path.startswith("/_convex/") and "/export." not in path and not path.endswith("/content")


def test_by_keyboard(browser: Browser, app: Flask, pytestconfig: pytest.Config) -> None:
    """A person logs in, inserts, edits and deletes a document and logs out with the keyboard alone."""
    key, _ = backend_of(app).admin_keys.create()
    with browsing(browser, app, pytestconfig) as window:
        page = window.open("/")
        page.keyboard.type(key)  # the field has the focus
        page.keyboard.press("Enter")
        page.wait_for_url(f"{window.url}/_convex/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        reach(window, "Tables")
        reach(window, "customers")
        reach(window, "Insert a document")
        reach(window, "email str", press="")
        for text in ("a@shop.example", "Ann"):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        reach(window, "Insert")
        expect(page.get_by_role("status")).to_contain_text("Inserted the document.")
        reach(window, "Delete")
        expect(page.get_by_role("dialog", name="Delete this document?")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Delete")).to_be_focused()
        page.keyboard.press("Enter")
        reach(window, "Delete")
        expect(page.get_by_role("status")).to_contain_text("Deleted customers_")
        reach(window, "Log out")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def reach(window: Browsing, name: str, press: str = "Enter") -> None:
    """Press Tab until the element with a name has the focus, which must be visible, and then another key."""
    page = window.page
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => { const focused = document.activeElement, style = getComputedStyle(focused);
            const label = focused.labels?.[0] ?? focused;
            return [label.textContent.replace(/\\s+/g, " ").trim(), style.outlineStyle !== "none"]; }"""
        )
        if focused[0] == name:
            assert focused[1], f"{name} has the focus, and one cannot see it"
            if press:
                with page.expect_event("load") if press == "Enter" and name != "Delete" else contextlib.nullcontext():
                    page.keyboard.press(press)
            return
    raise AssertionError(f"Tab does not reach {name}")
