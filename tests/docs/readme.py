"""The README as tests read it: fenced blocks by section, tables, and the commands it shows.

What is checked lives in the tests beside this; here the text is only taken apart.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"# (\w+\.py)\n")
_CONVEX = re.compile(r"flask (?:--app \S+ )?convex .+")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and what is in it."""

    language: str
    code: str


def sections() -> dict[str, str]:
    """The text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", README, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str = README) -> list[Block]:
    """The fenced blocks of a text."""
    return [Block(language, code) for language, code in _FENCE.findall(text)]


def prose() -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", README)


def spans(text: str) -> list[str]:
    """What stands between backticks."""
    return _SPAN.findall(text)


def files(section: str) -> dict[str, str]:
    """The Python files of a section: `# name.py` starts one, the blocks after it go on with it."""
    found: dict[str, str] = {}
    name = ""
    for block in blocks(sections()[section]):
        if block.language != "python":
            continue
        start = _FILE.match(block.code)
        name = start[1] if start else name
        assert name, f"The first Python block of {section!r} must say which file it is: # name.py"
        found[name] = found.get(name, "") + block.code + "\n\n"
    return found


def rows(section: str) -> list[list[str]]:
    """The cells of all tables of a section, without their headings."""
    lines = [line for line in sections()[section].splitlines() if line.startswith("|")]
    headings = {number - 1 for number, line in enumerate(lines) if re.fullmatch(r"[|\s-]+", line)}
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for number, row in enumerate(cells) if number not in headings and number - 1 not in headings]


def convex_commands() -> list[str]:
    """Every `flask convex ...` command that is shown, in blocks and in the text."""
    shell = [line for block in blocks() if block.language == "sh" for line in block.code.splitlines()]
    return [text for text in (*shell, *spans(prose())) if _CONVEX.fullmatch(text)]
