"""The constant part of a generated Python client: the modules of `python_base`, joined into one text."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).with_name("python_base")
#: The modules in the order of the text, with their headings.
_MODULES = {
    "values": "values and errors",
    "encoding": "encoding",
    "decoding": "decoding",
    "transport": "HTTP",
    "client": "the client",
}
#: The imports of the classes of an app, beside those of the constant part.
_IMPORTS_OF_APP = "from dataclasses import dataclass\nfrom typing import Any, ClassVar, Literal, NewType"
_LINE = 120


class ConstantPart(NamedTuple):
    """The constant part of a module.

    Attributes:
        imports: The lines that import from the standard library.
        body: All after the imports.
        names: The names that the part defines or imports, and those of the builtins that it uses.
    """

    imports: str
    body: str
    names: frozenset[str]


@functools.cache
def constant_part() -> ConstantPart:
    """Return the constant part."""
    texts = {name: (_FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES}
    imports = _joined_imports([_IMPORTS_OF_APP, *texts.values()])
    body = "".join(f"\n{heading(_MODULES[name])}\n\n{_after_imports(text)}\n" for name, text in texts.items())
    tree = ast.parse(imports + body)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return ConstantPart(imports, body, frozenset(_names_in(tree)) | (used & set(dir(builtins))))


def heading(text: str) -> str:
    """Return the comment that begins a section of the module."""
    return f"# --- {text} ".ljust(_LINE, "-")


def _joined_imports(texts: list[str]) -> str:
    """Return the imports of all texts, each once, without those from this package and from `__future__`."""
    plain: set[str] = set()
    by_module: dict[str, set[str]] = {}
    for node in (node for text in texts for node in ast.parse(text).body):
        if isinstance(node, ast.Import):
            plain.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not _is_own(node):
            by_module.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
    lines = [f"import {name}\n" for name in sorted(plain)]
    lines += [f"from {module} import {', '.join(sorted(names))}\n" for module, names in sorted(by_module.items())]
    return "".join(lines)


def _is_own(node: ast.ImportFrom) -> bool:
    return str(node.module).partition(".")[0] in (__name__.partition(".")[0], "__future__")


def _after_imports(text: str) -> str:
    imports = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return "".join(text.splitlines(keepends=True)[imports[-1].end_lineno :]).strip("\n")


def _names_in(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
