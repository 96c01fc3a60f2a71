"""Signing secrets: a plain string, or an environment variable that is read at each verification.

A plain string is always the secret itself, and `from_env()` always takes a name. White space around a secret is not
part of it. Messages and reprs never contain a
secret's value, only its label.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from flask_convex_http.errors import MissingSecretError, RegistrationError
from flask_convex_http.webhooks.tenant_secrets import TenantSecrets

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class EnvironmentSecret:
    """A secret in an environment variable.

    Args:
        name: The variable's name. The value is not stored.

    Raises:
        RegistrationError: The name is not a valid name of a variable, or looks like a secret (`whsec_...`).
    """

    name: str

    def __post_init__(self) -> None:
        # The argument may be the secret itself, so the message must not repeat it.
        if not _is_variable_name(self.name):
            raise RegistrationError(
                "from_env() takes the name of an environment variable, such as "
                'from_env("STRIPE_WEBHOOK_SECRET"); give a secret itself as a plain string'
            )


Secret: TypeAlias = str | EnvironmentSecret | TenantSecrets
Secrets: TypeAlias = Secret | Sequence[Secret]


@dataclass(frozen=True, slots=True)
class LabelledSecret:
    """A secret's value, and the label that stands for it in messages."""

    label: str
    value: str = field(repr=False)


def from_env(name: str) -> EnvironmentSecret:
    """Return a secret that is read from an environment variable at each verification.

    Args:
        name: The variable's name, for example `STRIPE_WEBHOOK_SECRET`.

    Returns:
        A value for the argument `secret` of a provider, alone or in a list.

    Raises:
        RegistrationError: The name is not a valid name of a variable, or looks like a secret (`whsec_...`).
    """
    return EnvironmentSecret(name)


def checked_secrets(secrets: Secrets) -> tuple[Secret, ...]:
    """Check the secrets of a provider without reading the environment.

    Args:
        secrets: One secret or a sequence of them.

    Returns:
        The secrets as a tuple, in the given order.

    Raises:
        RegistrationError: The list is empty, or an item is blank or of another type.
    """
    several = _as_tuple(secrets)
    if not several:
        raise RegistrationError("The list of secrets is empty: give at least one secret")
    if isinstance(secrets, TenantSecrets):
        return several
    for position, secret in enumerate(several, start=1):
        _check_one(secret, position)
    return several


def resolve(secrets: Secrets) -> list[LabelledSecret]:
    """Return the secrets that are available now.

    Args:
        secrets: One secret or a sequence of them. Unset and empty variables are skipped.

    Returns:
        The secrets in the given order. The label of a variable is its name. The label of a plain string is `secret N`,
        where N is its position, counted from 1.

    Raises:
        MissingSecretError: No secret is available. The message has the names of the variables.
        RegistrationError: The list is empty, or an item is blank or of another type.
    """
    return available(checked_secrets(secrets))


def available(secrets: Sequence[Secret]) -> list[LabelledSecret]:
    """Return those of some checked secrets that are available now, without white space around them.

    Raises:
        MissingSecretError: No secret is available. The message has the names of the variables.
    """
    return set_secrets(secrets, current_values(secrets))


def current_values(secrets: Sequence[Secret]) -> tuple[str, ...]:
    """Return the values of checked secrets as they are set now. That of an unset variable is an empty text."""
    return tuple([_value(secret) for secret in secrets])


def set_secrets(secrets: Sequence[Secret], values: Sequence[str]) -> list[LabelledSecret]:
    """Return those of some checked secrets that have a value, without white space around them.

    Args:
        secrets: The secrets.
        values: Their values, as `current_values` returns them.

    Raises:
        MissingSecretError: No secret has a value. The message has the names of the variables.
    """
    found = [
        LabelledSecret(_label(secret, position), value)
        for position, (secret, given) in enumerate(zip(secrets, values, strict=True), start=1)
        if (value := given.strip())  # a mounted file or a paste often ends in a line break
    ]
    if found:
        return found
    if any(isinstance(secret, TenantSecrets) for secret in secrets):
        raise MissingSecretError("The secret is that of a tenant, and no tenant is known here")
    # Plain strings are never blank here, so all of them are variables.
    names = [secret.name for secret in secrets if isinstance(secret, EnvironmentSecret)]
    if len(names) == 1:
        raise MissingSecretError(f"Environment variable {names[0]} is not set")
    raise MissingSecretError(f"Environment variables {', '.join(names)} are not set")


def known_at(secrets: Sequence[Secret], *, start: bool) -> list[LabelledSecret]:
    """Return those of some checked secrets that are known: the plain strings, and at the start also the set variables.

    Args:
        secrets: The secrets.
        start: Whether the application starts. Before that, a variable may not be set yet.
    """
    found: list[LabelledSecret] = []
    for position, secret in enumerate(secrets, start=1):
        is_known = isinstance(secret, str) or (start and isinstance(secret, EnvironmentSecret))
        value = _value(secret).strip() if is_known else ""
        if value:
            found.append(LabelledSecret(_label(secret, position), value))
    return found


def _as_tuple(secrets: Secrets) -> tuple[Secret, ...]:
    if isinstance(secrets, str | EnvironmentSecret | TenantSecrets):
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
    if isinstance(secret, TenantSecrets):
        return ""
    return os.environ.get(secret.name, "") if isinstance(secret, EnvironmentSecret) else secret


def _is_variable_name(name: object) -> bool:
    if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
        return False
    return not name.startswith("whsec_")
