"""Texts of exceptions and from outside, in a form that can be stored and logged."""

from __future__ import annotations

import traceback
import unicodedata

from flask_convex_http.errors import NoRetry

#: Characters of an exception's text that are stored and logged.
LONGEST_TEXT = 2000


def text_of(error: BaseException) -> str:
    """Return an exception as text that can be stored, of at most 2,000 characters, with control characters escaped."""
    try:
        if isinstance(error, NoRetry):  # the function chose the words
            return escape(str(error)[:LONGEST_TEXT])[:LONGEST_TEXT] or "The handler dead-lettered it"
        text = "".join(traceback.format_exception_only(error)).strip()
    except BaseException:  # str() of an exception, of its notes or of the line of a SyntaxError may raise
        text = type(error).__name__
    return escape(text[:LONGEST_TEXT])[:LONGEST_TEXT]


def escape(text: str) -> str:
    """Return text with its control characters escaped, except line breaks and tabs, and its lone surrogates.

    Such characters could command the terminal of a reader, or make a line look like another one.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    # Cc: control characters. Cf: marks that change the direction of text. Cs: surrogates. Zl and Zp: line breaks.
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode()


def plain(text: str) -> str:
    """Return text with its lone surrogates escaped, which no database stores."""
    return text.encode("utf-8", "backslashreplace").decode()
