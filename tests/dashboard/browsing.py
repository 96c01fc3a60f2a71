"""Chromium on the pages of a real server. Any violation of a page's policy fails the test.

`DASHBOARD_SHOTS=folder` keeps a picture of each page that `inspect` looks at.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import make_server

from flask_convex_http.dashboard.access import Access, Role
from tests.dashboard.shop import backend_of
from tests.environments import node_commands_of

#: Milliseconds that a step may take on a busy machine.
TIMEOUT = 60_000
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_DESKTOP, _PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}
#: A picture of each: the name, the color scheme and the size of the window.
_LOOKS = (("light", "light", _DESKTOP), ("dark", "dark", _DESKTOP), ("phone", "light", _PHONE))
_AXE = "axe-core@4.14.1"
_VIOLATIONS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(
    each => each.id + ": " + each.nodes.map(node => node.html + " " + node.failureSummary).join(" | "))"""
#: The line of the console for a response that a test expects, such as a 404.
_EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield Debian's Chromium. No other test may run an event loop in this thread until it is closed."""
    program = shutil.which("chromium")
    if program is None or shutil.which("npm") is None:
        assert not os.environ.get("CI"), "chromium or npm is not installed"
        pytest.skip("chromium or npm is not installed")
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS, timeout=TIMEOUT)
        yield browser
        browser.close()


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve an app in threads of this process, and yield its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Browsing:
    """A window of the browser on the dashboard of an app.

    Args:
        page: The window.
        app: The app.
        url: The URL of its server.
        axe: The script of axe-core.

    Attributes:
        page: The window.
        app: The app.
        url: The URL of its server.
        problems: The complaints of the browser. The list must be empty at the end of a test.
    """

    def __init__(self, page: Page, app: Flask, url: str, axe: str) -> None:
        self.page, self.app, self.url = page, app, url
        self.problems: list[str] = []
        self._axe = axe
        page.set_default_timeout(TIMEOUT)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._note_request)

    def log_in(self, role: Role = "full") -> None:
        """Open the link that `flask convex dashboard` prints."""
        code = Access(backend_of(self.app)).create_link(role)
        self.page.goto(f"{self.url}/_convex/login#{code}")
        self.page.wait_for_url(f"{self.url}/_convex/")

    def open(self, path: str) -> Page:
        """Open a page; `path` is below `/_convex`."""
        self.page.goto(f"{self.url}/_convex{path}")
        return self.page

    def inspect(self, name: str, heading: str = "") -> None:
        """Check the current page in light, in dark and on a phone: no violation of axe-core, no sideways scrolling.

        Args:
            name: The name of its pictures.
            heading: The heading to wait for, after a click on a link, which does not wait for the page.
        """
        if heading:
            expect(self.page.get_by_role("heading", name=heading, exact=True, level=1)).to_be_visible()
        for look, scheme, size in _LOOKS:
            self.page.set_viewport_size(size)  # type: ignore[arg-type]  # a TypedDict
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a Literal
            self._keep_picture(f"{name}-{look}")
            violations = self.violations()
            assert not violations, f"{look}: {violations}"
            width = self.page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{look}: the page is {width} pixels wide"
        self.page.set_viewport_size(_DESKTOP)  # type: ignore[arg-type]

    def violations(self) -> list[str]:
        """Return what axe-core finds on the current page."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self._axe)
        found: list[str] = self.page.evaluate(_VIOLATIONS)
        return found

    def _keep_picture(self, name: str) -> None:
        folder = os.environ.get("DASHBOARD_SHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def _note_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.match(message.text):
            self.problems.append(f"console: {message.text}")

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.problems.append(f"request to {request.url}")


@contextmanager
def browsing(browser: Browser, app: Flask, config: pytest.Config) -> Iterator[Browsing]:
    """Yield a window that is logged out, and fail if the browser has complained about anything."""
    axe = node_commands_of(config, _AXE).parent / "axe-core" / "axe.min.js"
    with serving(app) as url:
        context = browser.new_context(viewport=_DESKTOP)  # type: ignore[arg-type]
        opened = Browsing(context.new_page(), app, url, axe.read_text())
        yield opened
        context.close()
    assert not opened.problems, opened.problems
