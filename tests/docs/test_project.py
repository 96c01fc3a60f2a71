"""The changelog, the Makefile and the example's index page say what is there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask

from tests.docs import commands
from tests.docs.readme import ROOT, sections, spans

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
INDEX = (ROOT / "example_app" / "templates" / "index.html").read_text(encoding="utf-8")


@contextmanager
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The example app on a temporary database."""
    import example_app

    monkeypatch.setenv("FLASK_CONVEX_DATABASE_URL", "sqlite:///:memory:")
    app = example_app.create_app()
    with app.app_context():
        example_app.convex.migrate()
        try:
            yield app
        finally:
            example_app.convex.backend.close()


def test_the_changelog_starts_with_what_is_unreleased() -> None:
    """The first section of the changelog is Unreleased and lists what was added, a line each."""
    first = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1]
    assert first.startswith("Unreleased\n")
    added = first.partition("### Added\n")[2].strip().splitlines()
    assert len(added) >= 10
    assert all(re.fullmatch(r"- .{1,118}\.", line) for line in added)


def test_the_targets_of_make_exist() -> None:
    """Each `make` target that the README names is one of the Makefile's."""
    section = sections()["Two commands for the checkout"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):.*?## ", makefile, flags=re.MULTILINE))
    named = {word for span in spans(section) if (word := span.removeprefix("make ").strip()) in targets | {"install"}}
    assert {"run", "test", "serve", "check", "format", "cover", "bench"} <= named
    assert set(re.findall(r"^make (\w+)$", section, flags=re.MULTILINE)) == {"run", "test"}
    assert {"run", "test", *named} <= targets


def test_the_index_page_links_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link on the example's index page answers, with something or with a question for a credential."""
    with example(monkeypatch) as app:
        client = app.test_client()
        page = client.get("/").get_data(as_text=True)
        links = re.findall(r'href="(/[^"]*)"', page)
        assert links
        for link in links:
            assert client.get(link).status_code in (200, 302, 401), link


def test_the_index_page_names_endpoints_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `METHOD /path` on the index page has a rule, and each of the app's paths is on the page."""
    with example(monkeypatch) as app:
        adapter = app.url_map.bind("localhost")
        named = re.findall(r"<code>([A-Z]+) (/[^<?]*)", INDEX)
        assert named
        for method, path in named:
            assert adapter.test(path.replace("…", "x").replace("...", "x"), method), f"{method} {path}"
        for rule in app.url_map.iter_rules():
            start = rule.rule.partition("<")[0]
            own = rule.endpoint.partition(".")[0] in ("http", "webhooks")
            last = start.removeprefix("/webhooks") if start.startswith("/webhooks/") else start
            assert not own or last in INDEX, f"{rule.rule} is not on the index page"


def test_the_commands_on_the_index_page_are_understood() -> None:
    """Each `flask convex ...` on the index page parses."""
    shown = re.findall(r"<code>(flask (?:--app \S+ )?convex [^<]+)</code>", INDEX)
    assert shown
    for command in shown:
        commands.parse(command)
