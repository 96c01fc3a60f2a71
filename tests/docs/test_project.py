"""The changelog, the Makefile, the locks and the example's index page are up to date."""

import re
import shlex
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager

import pytest
from flask import Flask
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.child_processes import ROOT
from tests.docs import commands
from tests.docs.markdown import README, spans

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
INDEX = (ROOT / "example_app" / "templates" / "index.html").read_text(encoding="utf-8")


#: A lock of requirements/ and the extras of setup.cfg that it covers.
LOCKS = {
    "dev": (
        *(
            "dev",
            "webhooks",
            "stripe",
            "svix",
            "ed25519",
            "jwt",
            "serve",
            "granian",
            "postgres",
            "s3",
            "live",
            "metrics",
        ),
        "tracing",
    ),
    "run": ("webhooks", "stripe", "svix", "ed25519", "serve"),
}


def required(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """Yield what setup.cfg requires for the package and for these extras."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [setup["options"]["install_requires"], *(setup["options.extras_require"][extra] for extra in extras)]
    for line in "\n".join(lists).splitlines():
        if line and not line.startswith("flask_convex_http"):
            yield Requirement(line)


def version_of(pin: Requirement) -> str:
    """Return the version of `name==version`."""
    return str(pin.specifier).removeprefix("==")


@contextmanager
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """Yield the example app on a temporary database."""
    import example_app

    monkeypatch.setenv("FLASK_CONVEX_DATABASE_URL", "sqlite:///:memory:")
    app = example_app.create_app()
    with app.app_context():
        example_app.convex.migrate()
        try:
            yield app
        finally:
            example_app.convex.backend.close()


def test_the_changelog_starts_with_unreleased_changes() -> None:
    """The first section of the changelog is Unreleased, with each change as an entry of its own."""
    first = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1]
    assert first.startswith("Unreleased\n")
    headings = re.findall(r"^### .+$", first, flags=re.MULTILINE)
    assert set(headings) <= {"### Added", "### Changed", "### Removed", "### Fixed"}
    lines = [line for line in first.splitlines()[1:] if line and line not in headings]
    assert all(re.fullmatch(r"(- |  )\S.{0,123}", line) for line in lines)
    entries = re.findall(r"^- .+(?:\n  .+)*", first, flags=re.MULTILINE)
    assert len(entries) >= 10
    assert all(entry.endswith(".") for entry in entries)


def test_the_targets_of_make_exist() -> None:
    """Each `make` target that the README names is one of the Makefile's."""
    section = README.sections()["Two commands for the checkout"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):.*?## ", makefile, flags=re.MULTILINE))
    named = {word for span in spans(section) if (word := span.removeprefix("make ").strip()) in targets | {"install"}}
    assert {"run", "test", "serve", "check", "format", "cover", "bench", "docs"} <= named
    assert set(re.findall(r"^make (\w+)$", section, flags=re.MULTILINE)) == {"run", "test"}
    assert {"run", "test", *named} <= targets


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_fits_the_requirements(name: str) -> None:
    """Each requirement of setup.cfg has a locked version within its bounds; if not, `make lock` is due."""
    lock = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pins = [Requirement(line) for line in re.findall(r"^(\S+==[^\\]+) \\$", lock, flags=re.MULTILINE)]
    for requirement in required(LOCKS[name]):
        locked = [pin for pin in pins if pin.name == canonicalize_name(requirement.name)]
        assert locked, f"{requirement.name} is not locked"
        assert all(requirement.specifier.contains(version_of(pin)) for pin in locked), requirement


@pytest.mark.parametrize("name", [*LOCKS, "fuzz"])
def test_the_lock_names_no_machine(name: str) -> None:
    """A lock holds names, versions and hashes: no index, no address, no absolute path."""
    lock = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|(?<!\w)/\w", lock)


def test_the_index_page_has_no_broken_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """No link on the example's index page is broken; some need a credential."""
    with example(monkeypatch) as app:
        client = app.test_client()
        page = client.get("/").get_data(as_text=True)
        links = re.findall(r'href="(/[^"]*)"', page)
        assert links
        for link in links:
            assert client.get(link).status_code in (200, 302, 401), link


def test_the_index_page_names_endpoints_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `METHOD /path` on the index page exists, and each path of the app is on the page."""
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


def test_the_commands_on_the_index_page_can_be_parsed() -> None:
    """Each `flask convex ...` on the index page can be parsed."""
    shown = re.findall(r"<code>(?:\.venv/bin/)?(flask (?:--app \S+ )?convex [^<]+)</code>", INDEX)
    assert len(shown) >= 2
    for command in shown:
        commands.parse(command)


def test_installation_hints_name_what_can_be_installed() -> None:
    """A message that says to install a package names it as setup.cfg requires it, and not this unpublished package."""
    known = {str(requirement) for requirement in required(LOCKS["dev"])}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "flask_convex_http").rglob("*.py")]
    hints = [hint for source in sources for hint in re.findall(r"pip install (['\"].+['\"])['\"]", source)]
    assert len(hints) == sum(len(re.findall(r"pip install (?!-r)", source)) for source in sources) > 0
    requirements = {str(Requirement(name)) for hint in hints for name in shlex.split(hint)}
    assert requirements <= known
