"""What can be wrong with a refused delivery, as a word for programs and a sentence for people."""

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
    "connect-secret",
    "missing-header",
    "renamed-header",
    "other-provider",
    "unsigned",
    "sha1-only",
    "clock",
    "altered-body",
    "cut-body",
    "too-large",
    "signature-encoding",
    "malformed",
    "unknown-webhook",
    "unknown-signer",
]


class Finding(msgspec.Struct, frozen=True):
    """One thing that is, or may be, wrong with a delivery.

    Attributes:
        word: What it is, for programs.
        sentence: What it is and what to do, for people. It holds no secret, no signature and nothing of a body.
        is_certain: Whether it was tried and found so; otherwise it only looks like it.
    """

    word: Word
    sentence: str
    is_certain: bool = False
