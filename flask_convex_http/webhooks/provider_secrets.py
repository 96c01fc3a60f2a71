"""The secrets of a provider: their values, the keys that they stand for, and the mistakes that they show."""

from __future__ import annotations

import copy
from typing import ClassVar, Self, cast

from flask_convex_http.errors import MissingSecretError, RegistrationError
from flask_convex_http.webhooks.keys import Keys
from flask_convex_http.webhooks.secret_mistakes import SecretForm, visible_mistake
from flask_convex_http.webhooks.secrets import (
    EnvironmentSecret,
    LabelledSecret,
    Secret,
    Secrets,
    available,
    checked_secrets,
    current_values,
    known_at,
    set_secrets,
)
from flask_convex_http.webhooks.tenant_secrets import TenantSecrets


class ProviderSecrets:
    """The part of a provider that knows its secrets. Derive from `Provider` for a sender of your own.

    Args:
        secret: The signing secret, `from_env(...)`, or a list of these while a secret is rotated. None for a sender
            whose public keys are fetched.

    Raises:
        RegistrationError: The secret is invalid.
    """

    #: The name in `WebhookEvent.provider`.
    name: ClassVar[str]
    #: Whether the sender issues its secrets. Otherwise people choose them.
    issues_secrets: ClassVar[bool] = True
    #: The form of the secrets, as far as the sender documents it. None if any text may be one.
    secret_form: ClassVar[SecretForm | None] = None
    #: Whether deliveries are verified with secrets. False for a sender whose public keys are fetched.
    has_secrets: ClassVar[bool] = True
    _secrets: tuple[Secret, ...]
    #: Whether no secret is in a variable, which may change.
    _is_constant: bool
    #: The values of the secrets when they were last read, and their keys.
    _keys: tuple[tuple[str, ...], Keys] | None

    def __init__(self, secret: Secrets | None) -> None:
        is_keyless = secret is None and not self.has_secrets
        self._set_secrets(() if is_keyless else checked_secrets(cast(Secrets, secret)))

    def check_secrets(self, *, start: bool) -> None:
        """Check that each secret can be one of this sender.

        Args:
            start: Whether the application starts. Otherwise only plain strings are checked.

        Raises:
            RegistrationError: One has another form than the sender documents, so no delivery would verify.
        """
        for secret in known_at(self._secrets, start=start):
            problem = self.wrong_form(secret.value)
            if problem:
                raise RegistrationError(f"{secret.label} of {type(self).__name__}(...) {problem}")

    def available_secrets(self) -> list[LabelledSecret]:
        """Return the secrets that are set now, in the given order. A provider without secrets has none.

        Raises:
            MissingSecretError: No secret is set.
        """
        return available(self._secrets) if self._secrets else []

    @property
    def tenants(self) -> TenantSecrets | None:
        """The secrets of tenants, if the provider was created with `per_tenant(...)`."""
        first = self._secrets[0] if self._secrets else None
        return first if isinstance(first, TenantSecrets) else None

    def with_secrets(self, secrets: Secrets) -> Self:
        """Return a provider like this one with other secrets.

        Raises:
            RegistrationError: A secret is invalid.
        """
        other = copy.copy(self)
        other._set_secrets(checked_secrets(secrets))
        return other

    def _set_secrets(self, secrets: tuple[Secret, ...]) -> None:
        self._secrets = secrets
        self._is_constant = not any(isinstance(secret, EnvironmentSecret) for secret in secrets)
        self._keys = None

    def current_keys(self) -> Keys:
        """Return the keys of the secrets as they are set now, for a handshake that is signed with one.

        Raises:
            MissingSecretError: No secret is set. The message has the names of the variables.
        """
        known = self._keys
        if known is not None and self._is_constant:
            return known[1]
        values = current_values(self._secrets)
        if known is None or known[0] != values:
            secrets = set_secrets(self._secrets, values) if self._secrets else [LabelledSecret(self.name, "")]
            known = self._keys = values, Keys.of(secrets, self.key, self.mistake)
        return known[1]

    def key(self, secret: str) -> bytes:
        """Return the key that a secret stands for.

        Args:
            secret: The secret's value.

        Raises:
            ValueError: The secret is malformed.
            MissingSecretError: A package that this kind of secret needs is not installed.
        """
        return secret.encode()

    def mistake(self, secret: str) -> str:
        """Return the mistake that a secret shows by itself, as a clause that follows its name, or an empty text.

        It is asked only if no signature matches.
        """
        shown = visible_mistake(secret, is_issued=self.issues_secrets)
        return shown or (self.secret_form.problem(secret) if self.secret_form else "")

    def wrong_form(self, secret: str) -> str:
        """Return why a secret can verify nothing, as a clause that follows its name, or an empty text.

        An application with such a secret does not start, so only what is certain counts: a form that the sender does
        not use, or a text that `key` takes for no secret.
        """
        try:
            self.key(secret)
        except ValueError:
            return self.mistake(secret) or "is not a signing secret of this sender"
        except MissingSecretError:
            return ""
        problem = self.secret_form.problem(secret) if self.secret_form else ""
        shown = visible_mistake(secret, is_issued=self.issues_secrets) if problem else ""
        return f"{problem}: it {shown}" if shown else problem
