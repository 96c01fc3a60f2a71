"""Markdown pages as tests read them: code blocks, headings, tables and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.child_processes import ROOT

DOCS = ROOT / "docs"
NEW_FOLDER = "<!-- new folder -->"

_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: The word after the fence; for a directive its name in braces.
        code: The text between the fences.
        line: The number of the first fence's line in the page.
    """

    language: str
    code: str
    line: int


@dataclass(frozen=True)
class Page:
    """One Markdown file of the documentation."""

    path: Path

    @property
    def name(self) -> str:
        """The path below the repository's root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        """The page's Markdown."""
        return self.path.read_text(encoding="utf-8")

    def tokens(self) -> list[Token]:
        """Parse the page."""
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def folders(self) -> list[list[Block]]:
        """Return the code blocks of each folder that the page works in, in order."""
        found: list[list[Block]] = [[]]
        for token in self.tokens():
            if token.type == "html_block" and token.content.strip() == NEW_FOLDER:
                found.append([])
            elif token.type in ("fence", "code_block"):
                found[-1].append(_block(token))
        return [blocks for blocks in found if blocks]

    def blocks(self) -> Iterator[Block]:
        """Iterate over all code blocks."""
        for blocks in self.folders():
            yield from blocks

    def prose(self) -> str:
        """Return the text without its code blocks."""
        lines = self.text.splitlines()
        for token in self.tokens():
            if token.type in ("fence", "code_block") and token.map:
                lines[token.map[0] : token.map[1]] = [""] * (token.map[1] - token.map[0])
        return "\n".join(lines)

    def sections(self) -> dict[str, str]:
        """Return the text below each heading of the second level."""
        parts = re.split(r"^## (.+)$", self.text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    def rows(self) -> list[list[str]]:
        """Return the cells of all tables, without their headings."""
        return table_rows(self.text)


def _block(token: Token) -> Block:
    """Return the block of a fence; an indented one has no language."""
    language = token.info.split()[0] if token.info.strip() else ""
    return Block(language, token.content, token.map[0] + 1 if token.map else 0)


def page(name: str) -> Page:
    """Return a page of `docs/` by its path without suffix, such as `reference/settings`."""
    return Page(DOCS / f"{name}.md")


README = Page(ROOT / "README.md")


@cache
def pages() -> list[Page]:
    """Return the README and every page of `docs/`."""
    found = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
    return [README, *(Page(path) for path in found)]


def spans(text: str) -> list[str]:
    """Return the texts between backticks."""
    return _SPAN.findall(text)


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of all tables of a text, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rulers = {number for number, line in enumerate(lines) if re.fullmatch(r"[|\s:-]+", line)}
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for number, row in enumerate(cells) if not {number, number + 1} & rulers]
