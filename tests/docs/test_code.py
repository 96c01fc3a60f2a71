"""mypy and ruff accept the Python of the pages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.child_processes import ROOT
from tests.docs.markdown import Block, pages
from tests.docs.workspace import Workspace
from tests.lengths import LONG

_ANNOTATED = re.compile(r"ctx: \w+Ctx")
_IMPORT = re.compile(r"^( *)import ([\w.]+)(?: as (\w+))?$", re.MULTILINE)
#: A block that uses what `flask convex codegen` writes, which mypy checks in the tests of clients.
_GENERATED = re.compile(r"^from shop_client import", re.MULTILINE)
_FROM = re.compile(r"^( *from )(\w+)((?:\.\w+)* import )", re.MULTILINE)


def write(blocks: list[Block], folder: Path, suffix: str) -> None:
    """Write the Python files of a page's folder, with the suffix at the end of each module's name.

    So the modules of all pages stand side by side, and one run of mypy checks them. It would take minutes otherwise.
    """
    workspace = Workspace(folder)
    for block in blocks:
        if block.language == "python":
            workspace.write(block.code)
    own = {path.stem if path.suffix == ".py" else path.name for path in folder.iterdir()}
    for path in sorted(folder.rglob("*.py")):
        code = _FROM.sub(lambda found: _from(found, own, suffix), path.read_text(encoding="utf-8"))
        path.write_text(_IMPORT.sub(lambda found: _import(found, own, suffix), code), encoding="utf-8")
    for path in sorted(folder.iterdir()):
        path.rename(folder.parent / f"{path.stem}{suffix}{path.suffix}")
    folder.rmdir()


def _import(found: re.Match[str], own: set[str], suffix: str) -> str:
    """Rename the module of an `import` statement if it is one of the page's."""
    indent, name, alias = found.groups()
    return f"{indent}import {name}{suffix} as {alias or name}" if name in own else found[0]


def _from(found: re.Match[str], own: set[str], suffix: str) -> str:
    """Rename the module of a `from ... import` statement if it is one of the page's."""
    start, name, rest = found.groups()
    return f"{start}{name}{suffix}{rest}" if name in own else found[0]


@pytest.fixture(scope="module", params=["strict", "plain"])
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return all Python of the pages whose functions annotate their ctx, or of the others."""
    folder = tmp_path_factory.mktemp(request.param)
    for page in pages():
        for number, blocks in enumerate(page.folders()):
            python = [block for block in blocks if block.language == "python" and not _GENERATED.search(block.code)]
            is_strict = any(_ANNOTATED.search(block.code) for block in python)
            if is_strict == (request.param == "strict"):
                name = re.sub(r"\W", "_", page.name.removesuffix(".md"))
                write(python, folder / "now", f"__{name}_{number}")
    return request.param, folder


def run(folder: Path, *arguments: str) -> None:
    """Run a checker in a folder, and fail with its output if it reports something."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


@LONG
@pytest.mark.timeout(300)
def test_mypy_accepts_the_pages(code: tuple[str, Path]) -> None:
    """mypy accepts all Python of the pages, strictly where functions annotate their ctx; tests may lack annotations."""
    mode, folder = code
    options = ["--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'docs'}", "--follow-imports=silent"]
    options.append("--disable-error-code=import-untyped")  # some pages use an extension of Flask without types
    strict = ["--strict", "--allow-untyped-defs", "--allow-incomplete-defs"] if mode == "strict" else []
    run(folder, "mypy", *options, *strict, "--explicit-package-bases", ".")


def test_no_name_is_unused(code: tuple[str, Path]) -> None:
    """ruff finds no unused import or variable in the pages."""
    run(code[1], "ruff", "check", "--isolated", "--no-cache", "--select", "F", ".")
