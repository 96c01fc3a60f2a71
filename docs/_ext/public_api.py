"""The Python API under the names that applications write.

Applications import everything from `flask_convex_http` and `flask_convex_http.testing`, and reach the rest through
objects they are given: `ctx.db`, `ctx.storage`, `convex.backend`. This extension

* makes a module `ctx` (and `convex`) whose classes autodoc can document, found through the public annotations,
* links types in signatures to their public names,
* leaves out the signatures of classes that applications do not instantiate, and
* reads docstrings as plain text with code between backticks, which is not quite reStructuredText.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

import msgspec
from docutils.nodes import Element, reference  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

import flask_convex_http

PACKAGE = "flask_convex_http"
#: Public classes whose instances come from the package.
GIVEN = {
    *("QueryCtx", "MutationCtx", "ActionCtx", "Document", "StoredFile", "ScheduledFunction", "WebhookDelivery"),
    *("DirectUpload", "Page", "WebhookEvent", "IssuedCredential", "CredentialInfo"),
}


# --- the parts of a ctx ----------------------------------------------------------------------------------------------


def named(annotation: Any) -> Any:
    """Return the class of the package that an annotation names; it may be imported for type checkers only."""
    name = re.match(r"\w+", annotation)
    assert name, annotation
    modules = [module for path, module in sorted(sys.modules.items()) if path.startswith(PACKAGE)]
    return next(vars(module)[name[0]] for module in modules if isinstance(vars(module).get(name[0]), type))


def returned(function: Any) -> Any:
    """Return the class that a function or property is annotated to return."""
    return named(getattr(function, "fget", function).__annotations__["return"])


def parts() -> dict[str, Any]:
    """Return the classes behind a ctx and an extension, by the name that applications reach them under."""
    mutation, action = flask_convex_http.MutationCtx, flask_convex_http.ActionCtx
    database = named(mutation.__annotations__["db"])
    return {
        "ctx.db": database,
        "ctx.db.system": returned(database.system),
        "ctx.db.Query": returned(database.query),
        "ctx.storage": returned(action.storage),
        "ctx.scheduler": returned(mutation.scheduler),
        "ctx.api_keys": returned(mutation.api_keys),
        "ctx.tokens": returned(mutation.tokens),
        "ctx.auth": named(flask_convex_http.QueryCtx.__init__.__annotations__["auth"]),
        "convex.backend": returned(flask_convex_http.ConvexHTTP.backend),
    }


def install_parts() -> None:
    """Make modules of the parts: `ctx.db.system` is a class in the class `db` of the module `ctx`."""
    for path, part in parts().items():
        module, *within, name = path.split(".")
        holder: Any = sys.modules.setdefault(module, types.ModuleType(module))
        for outer in within:
            holder = getattr(holder, outer)
        qualified = ".".join([*within, name])
        slots = {} if isinstance(part, type(msgspec.Struct)) else {"__slots__": ()}  # a struct adds them itself
        made = type(name, (part,), {"__module__": module, "__qualname__": qualified, "__doc__": "", **slots})
        setattr(holder, name, made)


# --- signatures ------------------------------------------------------------------------------------------------------


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show ids as they are annotated, and no constructor where applications do not call it."""
    is_part = what == "class" and name.partition(".")[0] in ("ctx", "convex")
    if is_part or name.removeprefix(f"{PACKAGE}.") in GIVEN:
        return "", None
    return _ids(signature), _ids(returns)


def _ids(text: str | None) -> str | None:
    """Replace `Annotated[str, Id[Item]]`, which an annotation is at run time, by `Id[Item]`."""
    return text and re.sub(r"~?(?:typing\.)?Annotated\[str, (Id\[\w+\])\]", r"\1", text)


def without_overloads(analyze: Callable[[ModuleAnalyzer], None]) -> Callable[[ModuleAnalyzer], None]:
    """Show the signature that a page gives instead of the overloads, which are for type checkers."""

    def analyzed(self: ModuleAnalyzer) -> None:
        analyze(self)
        self.overloads = {}

    return analyzed


def resolve(app: Sphinx, env: BuildEnvironment, node: Element, content: Element) -> Element | reference | None:
    """Link a type of a signature to its public name, or show it without a link.

    Signatures name the modules inside the package, and types of other projects, whose inventories are not here.
    """
    if node.get("refdomain") != "py" or node["reftype"] not in ("class", "obj", "exc", "data"):
        return None
    name = str(node["reftarget"]).rpartition(".")[2]
    public = env.domains.python_domain.objects.get(f"{PACKAGE}.{name}")
    if public is None:
        return content
    return make_refnode(app.builder, node["refdoc"], public.docname, public.node_id, content)


# --- docstrings ------------------------------------------------------------------------------------------------------


def escape(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape what reStructuredText would take for markup."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line.replace("\\", r"\\"))
        parts[::2] = [re.sub(r"(?<=\S)\*|\*(?=\S)|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = "".join(parts)
    if what in ("attribute", "property", "data"):
        lines[:0] = ["..", ""]  # a comment, or napoleon takes the words before a colon for a type


def shorten_types(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Name types of attributes without the modules inside the package."""
    for number, line in enumerate(lines):
        lines[number] = re.sub(rf"{PACKAGE}\.[a-z_.]+\.(?=[A-Z])", "", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    install_parts()
    ModuleAnalyzer.analyze = without_overloads(ModuleAnalyzer.analyze)  # type: ignore[assignment, method-assign]
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", shorten_types, priority=900)  # after it
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
