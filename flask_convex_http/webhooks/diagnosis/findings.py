"""The result of a diagnosis: a word for programs and a sentence for people."""

from __future__ import annotations

from typing import Literal

import msgspec

Word = Literal[
    "verifies",
    "missing-secret",
    "unseen-secret",
    "pasted-secret",
    "other-secret",
    "test-mode-secret",
    "missing-header",
    "other-provider",
    "clock",
    "altered-body",
    "cut-body",
    "too-large",
    "malformed",
    "unknown-webhook",
    "unknown-signer",
]


class Finding(msgspec.Struct, frozen=True):
    """One thing that is or may be wrong with a delivery.

    Attributes:
        word: The kind of problem, for programs.
        sentence: The problem and its remedy, for people. It contains no secret, no signature and nothing of the body.
        is_certain: Whether the signature confirms it. Otherwise it is only likely.
    """

    word: Word
    sentence: str
    is_certain: bool = False
