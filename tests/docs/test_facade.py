"""The reference of the Python API has every public name, once."""

import re
import types

import flask_convex_http
import flask_convex_http.testing
from tests.child_processes import ROOT
from tests.docs.markdown import DOCS, pages

_DIRECTIVE = re.compile(
    r"^\.\. auto(?:class|decorator|exception|function):: flask_convex_http\.((?:testing\.)?\w+)", flags=re.MULTILINE
)
API = DOCS / "reference" / "api"


def exported(module: types.ModuleType) -> set[str]:
    """Return the public names of a module, without the modules below it."""
    found = [(name, getattr(module, name)) for name in dir(module)]
    return {name for name, value in found if not name.startswith("_") and not isinstance(value, types.ModuleType)}


def defined(module: types.ModuleType) -> set[str]:
    """Return the public names that a package or a module in it defines, without aliases."""
    found = vars(module).items()
    own = {name: value for name, value in found if getattr(value, "__module__", "").startswith(module.__name__)}
    return {name for name in exported(module) & own.keys() if getattr(own[name], "__name__", name) == name}


def documented() -> list[str]:
    """Return the names that the reference has a directive for."""
    return [name for path in sorted(API.glob("*.md")) for name in _DIRECTIVE.findall(path.read_text(encoding="utf-8"))]


def test_every_public_name_is_in_the_reference_once() -> None:
    """The names in the reference are those that the package and its helpers for tests export, each once."""
    helpers = {f"testing.{name}" for name in defined(flask_convex_http.testing)}
    assert sorted(documented()) == sorted(exported(flask_convex_http) | helpers)


def test_every_public_name_is_used_in_a_page() -> None:
    """Each public name also stands in a page that is no reference."""
    text = "\n".join(page.text for page in pages() if API not in page.path.parents)
    words = set(re.findall(r"\w+", text))
    assert {name.removeprefix("testing.") for name in documented()} <= words


def test_the_package_docstring_names_the_folders() -> None:
    """The package's docstring names the folders that a request passes, and they exist."""
    folders = re.findall(r"`([a-z/]+)/`", flask_convex_http.__doc__ or "")
    assert {"web", "runtime", "engines"} <= set(folders)
    assert all((ROOT / "flask_convex_http" / folder).is_dir() for folder in folders)
