"""Signing secrets: a plain string, or the name of an environment variable that is read when it is needed.

Rules: a plain string is always the secret itself and never a variable's name; `from_env()` is always a name
and never a secret. A secret's value is in no message and in no repr; what names it is its label.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from flask_convex_http.errors import MissingSecretError, RegistrationError

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class EnvironmentSecret:
    """A secret kept in an environment variable.

    Args:
        name: The variable's name. The value is not kept here.

    Raises:
        RegistrationError: The name cannot be that of a variable.
    """

    name: str

    def __post_init__(self) -> None:
        # Someone may hand over the secret itself, so the message must not repeat what it was given.
        if not _is_variable_name(self.name):
            raise RegistrationError(
                "from_env() takes the name of an environment variable, such as "
                'from_env("STRIPE_WEBHOOK_SECRET"); give a secret itself as a plain string'
            )


Secret: TypeAlias = str | EnvironmentSecret
Secrets: TypeAlias = Secret | Sequence[Secret]


@dataclass(frozen=True, slots=True)
class LabelledSecret:
    """A secret's value beside the label that may be logged."""

    label: str
    value: str = field(repr=False)


def from_env(name: str) -> EnvironmentSecret:
    """Name the environment variable that holds a secret; it is read at each verification.

    Args:
        name: The variable's name, for example `STRIPE_WEBHOOK_SECRET`.

    Returns:
        The secret to give to a provider, alone or in a list.

    Raises:
        RegistrationError: The name cannot be that of a variable.
    """
    return EnvironmentSecret(name)


def checked_secrets(secrets: Secrets) -> tuple[Secret, ...]:
    """Check what a provider was given as its secret, without reading the environment.

    Args:
        secrets: One secret or a sequence of them.

    Returns:
        The same as a tuple, in the order given.

    Raises:
        RegistrationError: No secret, an empty one, or something that is not a secret.
    """
    several = _as_tuple(secrets)
    if not several:
        raise RegistrationError("The list of secrets is empty: give at least one secret")
    for position, secret in enumerate(several, start=1):
        _check_one(secret, position)
    return several


def resolve(secrets: Secrets) -> list[LabelledSecret]:
    """Read the secrets that are available now.

    Args:
        secrets: One secret or a sequence of them. Unset and empty variables are skipped while one is left.

    Returns:
        The secrets in the order given. A variable's label is its name, a plain string's is `secret N`
        by position.

    Raises:
        MissingSecretError: None is available; the message names the variables.
        RegistrationError: Something given is not a secret.
    """
    return available(checked_secrets(secrets))


def available(secrets: Sequence[Secret]) -> list[LabelledSecret]:
    """The same for secrets that were checked before; each delivery asks."""
    found = [
        LabelledSecret(_label(secret, position), value)
        for position, secret in enumerate(secrets, start=1)
        if (value := _value(secret)).strip()
    ]
    if found:
        return found
    # Plain strings are never blank here, so all of them are variables.
    names = [secret.name for secret in secrets if isinstance(secret, EnvironmentSecret)]
    if len(names) == 1:
        raise MissingSecretError(f"Environment variable {names[0]} is not set")
    raise MissingSecretError(f"Environment variables {', '.join(names)} are not set")


def _as_tuple(secrets: Secrets) -> tuple[Secret, ...]:
    if isinstance(secrets, str | EnvironmentSecret):
        return (secrets,)
    if isinstance(secrets, Sequence) and not isinstance(secrets, bytes | bytearray | memoryview):
        return tuple(secrets)
    raise _not_a_secret(secrets, "secret")


def _check_one(secret: object, position: int) -> None:
    if isinstance(secret, EnvironmentSecret):
        return
    if not isinstance(secret, str):
        raise _not_a_secret(secret, f"secret {position}")
    if not secret.strip():
        raise RegistrationError(f"secret {position} is empty: give the signing secret or from_env(...)")


def _not_a_secret(value: object, place: str) -> RegistrationError:
    return RegistrationError(
        f"{place} must be a string or from_env(...), or a list of these, not {type(value).__name__}"
    )


def _label(secret: Secret, position: int) -> str:
    return secret.name if isinstance(secret, EnvironmentSecret) else f"secret {position}"


def _value(secret: Secret) -> str:
    return os.environ.get(secret.name, "") if isinstance(secret, EnvironmentSecret) else secret


def _is_variable_name(name: object) -> bool:
    if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
        return False
    return not name.startswith("whsec_")
