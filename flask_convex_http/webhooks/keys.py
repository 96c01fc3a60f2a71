"""The keys of a provider, derived from its secrets once for each set of values.

Variables are read for each delivery, so that a changed one holds at once. Decoding and checking their values again for
each forgery would cost as much as the check of its signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flask_convex_http.errors import MissingSecretError
from flask_convex_http.webhooks.secrets import LabelledSecret


@dataclass(frozen=True, slots=True)
class Problem:
    """A secret that cannot be right, as the texts of a `MissingSecretError`."""

    message: str
    client_message: str

    def error(self) -> MissingSecretError:
        """Return a new error, because one that is raised again would gather tracebacks."""
        return MissingSecretError(self.message, client_message=self.client_message)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of some secrets.

    Attributes:
        usable: The label and the key of each secret that has one, in the given order.
        problem: What is wrong with a secret, for a delivery that no key verifies.
    """

    usable: tuple[tuple[str, bytes], ...] = field(repr=False)
    problem: Problem | None

    @classmethod
    def of(cls, secrets: Sequence[LabelledSecret], key: Callable[[str], bytes], mistake: Callable[[str], str]) -> Keys:
        """Derive the keys of secrets.

        Args:
            secrets: The secrets that are set.
            key: Returns the key of a secret's value, or raises `ValueError` or `MissingSecretError`.
            mistake: Returns the mistake that a secret's value shows, or an empty text.
        """
        usable: list[tuple[str, bytes]] = []
        problems: list[Problem] = []
        for secret in secrets:
            try:
                usable.append((secret.label, key(secret.value)))
            except MissingSecretError as error:
                problems.append(Problem(str(error), error.client_message or ""))
            except Exception:  # a ValueError, or whatever else the provider of an application raises
                problems.append(_malformed(secret, mistake(secret.value)))
        # These come last: a secret without a key is certainly wrong, an odd one only probably.
        problems += [_malformed(secret, shown) for secret in secrets if (shown := mistake(secret.value))]
        return cls(tuple(usable), problems[0] if problems else None)


def _malformed(secret: LabelledSecret, mistake: str) -> Problem:
    why = f": it {mistake}" if mistake else ""
    return Problem(
        f"{secret.label} is not a valid signing secret{why}", client_message=f"The signing secret is not valid{why}"
    )
