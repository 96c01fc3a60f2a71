"""Descriptions from docstrings."""

from __future__ import annotations

import inspect
import re

#: The sections of a docstring that are for the programmer.
_SECTION = re.compile(r"^(?:Args|Arguments|Attributes|Examples?|Notes?|Raises|Returns|Yields):\s*$", re.MULTILINE)

#: Characters that source code or UTF-8 cannot hold, or that end a line in some languages only.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def described(doc: str | None) -> str:
    """Return a docstring without its sections, such as `Args:`."""
    text = _CONTROLS.sub(" ", inspect.cleandoc(doc or ""))
    found = _SECTION.search(text)
    return (text[: found.start()] if found else text).strip()


def summary_and_description(doc: str | None) -> dict[str, str]:
    """Return the keys `summary`, the first paragraph of a docstring, and `description`, the rest."""
    first, _, rest = described(doc).partition("\n\n")
    texts = {"summary": " ".join(first.split()).removesuffix("."), "description": rest.strip()}
    return {key: text for key, text in texts.items() if text}
