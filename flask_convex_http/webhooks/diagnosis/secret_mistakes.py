"""How signing secrets are set wrongly: pasted with more than the secret, with less, or another thing altogether.

A mistake is told by its kind and never by the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_SIGNING_PREFIX = "whsec_"
_ASSIGNMENT = re.compile(r"(?:export )?[A-Z][A-Z0-9_]*=(.+)", re.DOTALL)
_ESCAPES = re.compile(r"(?:\\[nr])+\Z")
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"

#: What begins another credential of a provider: its beginnings, what it is, and where the signing secret is.
_OTHER_CREDENTIALS: dict[str, tuple[tuple[str, ...], str]] = {
    "stripe": (("sk_", "pk_", "rk_"), "an API key of Stripe; the endpoint's signing secret begins with whsec_"),
    "svix": (("sk_", "pk_", "re_"), "an API key; the endpoint's signing secret begins with whsec_"),
    "standard": (("sk_", "pk_"), "an API key; the endpoint's signing secret begins with whsec_"),
    "github": (("ghp_", "gho_", "ghs_", "github_pat_"), "a token of GitHub; the secret is what the webhook's page has"),
    "slack": (("xoxb-", "xoxp-", "xapp-"), "a token of Slack; the signing secret is under Basic Information"),
    "shopify": (("shpat_", "shpca_", "shpua_"), "an access token; webhooks are signed with the app's client secret"),
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One way a secret may be wrong.

    Attributes:
        what: What is wrong with it, as a clause behind its name.
        corrected: The secret without the mistake; empty if nobody can tell it.
        is_visible: Whether the secret looks wrong by itself; otherwise only a signature can tell.
    """

    what: str
    corrected: str = field(repr=False)
    is_visible: bool


def mistakes(secret: str, provider: str) -> Iterator[Mistake]:
    """The ways in which a secret may be wrong.

    Args:
        secret: The secret as it is set.
        provider: The name of the provider it is for.
    """
    cleaned = secret
    for mistake in _around(secret):
        cleaned = mistake.corrected
        yield mistake
    beginnings, what = _OTHER_CREDENTIALS.get(provider, ((), ""))
    if cleaned.startswith(beginnings):
        yield Mistake(f"is {what}", "", True)
    yield from _inside(cleaned)


def _around(secret: str) -> Iterator[Mistake]:
    """What was pasted along with it; each one's correction is made on top of those before."""
    bare = secret.strip()
    if bare != secret:
        yield Mistake("has spaces or a line break around it", bare, True)
    for what, undo in _UNDONE:
        undone = undo(bare)
        if undone and undone != bare:
            bare = undone
            yield Mistake(what, bare, True)


def _assigned(text: str) -> str:
    assignment = _ASSIGNMENT.fullmatch(text)
    return assignment[1].strip() if assignment and assignment[1].strip("= ") else text


def _unquoted(text: str) -> str:
    return text.strip(_QUOTES).strip()


def _unescaped(text: str) -> str:
    return _ESCAPES.sub("", text).strip()


_ESCAPED = (r"has a line break written as \n at its end", _unescaped)
#: What may be around a secret, from the outside inwards; a line break in quotes comes after these.
_UNDONE: tuple[tuple[str, Callable[[str], str]], ...] = (
    _ESCAPED,
    ("begins with a variable's name and =", _assigned),
    ("has quotes around it", _unquoted),
    _ESCAPED,
)


def _inside(secret: str) -> Iterator[Mistake]:
    without = secret.removeprefix(_SIGNING_PREFIX)
    if without == secret:
        yield Mistake(f"lacks the {_SIGNING_PREFIX} at its beginning", _SIGNING_PREFIX + secret, False)
    elif without:
        yield Mistake(f"begins with {_SIGNING_PREFIX}, which does not belong to it here", without, False)
    if secret.endswith("="):
        yield Mistake("has = at its end, which do not belong to it", secret.rstrip("="), False)
    yield Mistake("lacks the = at its end", secret + "=" * (-len(without) % 4 or 1), False)
    if "-" in without or "_" in without:
        standard = without.replace("-", "+").replace("_", "/")
        yield Mistake("has - and _ where base64 has + and /", secret.removesuffix(without) + standard, False)
