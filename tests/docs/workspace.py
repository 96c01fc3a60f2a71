"""A folder in which a page is followed: its files, its shell, and the final checks of its Python."""

import re
import shutil
import sys
from pathlib import Path

from tests.docs.languages import DIRECTIVES, PARSERS
from tests.docs.markdown import Block
from tests.docs.services import Services
from tests.docs.shell import Shell, commands

_FILE = re.compile(r"(?:#|//|;|--|<!--) (?P<name>[\w./-]*\w)(?: \((?P<mark>new version|continued)\))?(?: -->)?\n")


class Workspace:
    """A folder that a page fills and works in."""

    def __init__(self, folder: Path, services: Services | None = None) -> None:
        """Start with an empty folder."""
        folder.mkdir()
        self.folder = folder
        self._shell = Shell(folder, services or Services())
        self._file: Path | None = None
        self._known: set[Path] = set()

    def follow(self, blocks: list[Block]) -> None:
        """Run the blocks in order, then check the Python files.

        Raises:
            AssertionError: A block does not work as documented.
        """
        try:
            for block in blocks:
                self._do(block)
        finally:
            self._shell.close()
        self._check_python()

    def _do(self, block: Block) -> None:
        """Run one block, and add its line to the error if it fails."""
        try:
            self._run(block)
        except AssertionError as error:
            raise AssertionError(f"line {block.line} ({block.language}): {error}") from error

    def _run(self, block: Block) -> None:
        """Run, write or parse a block, depending on its language."""
        if block.language in ("sh", "console"):
            for command in commands(block.language, block.code):
                self._shell.run(command)
        elif block.language == "python":
            self.write(block.code)
        elif block.language == "text":
            self._shell.wait_for(block.code)
        elif block.language != "none" and not block.language.startswith("{"):
            self._parse(block)
        else:
            assert block.language == "none" or block.language in DIRECTIVES, "nothing checks this directive"

    def write(self, code: str) -> None:
        """Append Python to the file that it names, or to the one before."""
        named = _FILE.match(code)
        if named:
            self._file = self.folder / named["name"]
        assert self._file, "The first Python block names its file: # shop.py"
        if named:
            expected = ("new version", "continued") if self._file in self._known else (None, "new version")
            assert named["mark"] in expected, f"Write (continued) or (new version) after a known name: {named['name']}"
            if named["mark"] == "new version":
                self._known.discard(self._file)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Python compares seconds and sizes: it would run the old code of a file that is replaced at once.
        shutil.rmtree(self._file.parent / "__pycache__", ignore_errors=True)
        with self._file.open("a" if self._file in self._known else "w", encoding="utf-8") as file:
            file.write(code + "\n\n")
        self._known.add(self._file)

    def _parse(self, block: Block) -> None:
        """Parse a block of a language that is not run, and write it if it names a file."""
        assert block.language in PARSERS, f"nothing checks the language {block.language!r}"
        try:
            PARSERS[block.language](block.code)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        named = _FILE.match(block.code)
        if named and re.search(r"[./]|^[A-Z]\w+$", named["name"]):
            path = self.folder / named["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")

    def _check_python(self) -> None:
        """Import each module and run the tests."""
        files = sorted(path.relative_to(self.folder) for path in self._known)
        modules = [path for path in files if not path.name.startswith("test_")]
        tests = [str(path) for path in files if path.name.startswith("test_")]
        if modules:
            names = (".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules)
            self._python("-c", f"import {', '.join(names)}")
        if tests:
            self._python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", *tests)

    def _python(self, *arguments: str) -> None:
        """Run Python in the folder, with the shell's variables and warnings as errors."""
        self._shell.python(sys.executable, "-W", "error", *arguments)
