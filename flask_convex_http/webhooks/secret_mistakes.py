"""Mistakes in a signing secret: pasted with something around it, written differently, or another credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PREFIX = "whsec_"
#: The text that may precede the prefix; Supabase prints `v1,whsec_...`.
_VERSION = "v1,"
_VARIABLE = re.compile(r"\A(?:export\s+)?[A-Z][A-Z0-9_]*=(?=.*[^=\s])", re.DOTALL)
_AROUND = r"(?:[\s'\"`\u2018\u2019\u201c\u201d]|\\[nr])+"
_QUOTES = frozenset("'\"`\u2018\u2019\u201c\u201d")
_ENDS = re.compile(rf"\A{_AROUND}|{_AROUND}\Z")
#: Characters that are not seen and that str.strip() leaves: zero-width ones, and the mark that begins some files.
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
#: What stands in an example or a template in place of a secret.
_PLACEHOLDER = re.compile(r"\$\{\w+\}|\$[A-Z_]+|\{\{.*\}\}|<.*>|(?:whsec_)?(?:\.{3}|\u2026|\*+|x{3,}|X{3,})")
_UNWRITTEN = re.compile(r"[^A-Za-z0-9+/=_-]")
#: How API keys and access tokens of Stripe, Svix, Resend, Clerk, GitHub, Slack and Shopify start.
_CREDENTIALS = (
    *("sk_", "pk_", "rk_", "re_"),
    *("ghp_", "gho_", "ghs_", "github_pat_"),
    *("xoxb-", "xoxp-", "xapp-"),
    *("shpat_", "shpca_", "shpua_"),
)


@dataclass(frozen=True, slots=True)
class SecretForm:
    """The form of a sender's secrets, as far as the sender documents it.

    Attributes:
        pattern: A pattern that matches the whole of every secret.
        description: What a secret looks like, as a clause that follows "is not".
    """

    pattern: re.Pattern[str]
    description: str

    @classmethod
    def of(cls, pattern: str, description: str) -> SecretForm:
        """Return a form for the text of a pattern, whose classes are those of ASCII."""
        return cls(re.compile(pattern, re.ASCII | re.DOTALL), description)

    def problem(self, secret: str) -> str:
        """Return that a secret has another form, as a clause that follows its name, or an empty text."""
        return "" if self.pattern.fullmatch(secret) else f"is not {self.description}"


def visible_mistake(secret: str, *, is_issued: bool = True) -> str:
    """Return the mistake that a secret shows by itself, as a clause that follows its name, or an empty string.

    Args:
        secret: The secret as it is set.
        is_issued: Whether the sender issues its secrets. A secret that a person chooses may look like an API key.
    """
    bare = bare_secret(secret)
    if is_issued and bare.startswith(_CREDENTIALS):
        return "is an API key or an access token, not a signing secret"
    if _PLACEHOLDER.fullmatch(bare):
        return "is a placeholder, in place of which the secret belongs"
    if bare != secret:
        return _around(secret)
    if _INVISIBLE.search(secret):
        return "has a character that is not seen, such as a byte order mark; copy it again"
    before, found, rest = secret.partition(_PREFIX)
    if _PREFIX in rest:
        return f"has {_PREFIX} twice; give several secrets as a list, secret=[...]"
    if found and (before not in ("", _VERSION) or _UNWRITTEN.search(rest)):
        return f"has other text beside {_PREFIX}...; keep only {_PREFIX} and the letters and digits after it"
    return ""


def corrections(secret: str) -> Iterator[tuple[str, str]]:
    """Yield other ways to write a secret, of which a signature can confirm one.

    Args:
        secret: The secret as it is set.

    Yields:
        The mistake, as a clause that follows the secret's name, and the secret without it.
    """
    bare = bare_secret(secret)
    if bare != secret:
        yield _around(secret), bare
    key = bare.removeprefix(_PREFIX)
    if key == bare:
        yield f"lacks the prefix {_PREFIX}", _PREFIX + bare
    elif key:
        yield f"has a prefix {_PREFIX} that does not belong to it", key
    prefix = bare.removesuffix(key)
    unpadded = key.rstrip("=")
    padded = unpadded + "=" * (-len(unpadded) % 4)
    for written in (unpadded, padded):
        yield "is base64 with other padding", prefix + written
    yield "is base64 with - and _ instead of + and /", prefix + key.replace("-", "+").replace("_", "/")


def _around(secret: str) -> str:
    """Return the text around a secret, as a clause that follows its name."""
    if _VARIABLE.match(secret.strip()):
        return "has a variable's name before it"
    if set(secret.strip()[:1] + secret.strip()[-1:]) & _QUOTES:
        return "has quotes around it"
    return "has a written line break (\\n) beside it" if secret == secret.strip() else "has white space around it"


def bare_secret(secret: str) -> str:
    """Return a secret without white space, quotes, escaped line breaks and a variable's name around it."""
    return _ENDS.sub("", _VARIABLE.sub("", _ENDS.sub("", secret))) or secret
