"""Secrets: valid arguments, when a variable is read, and that no value is shown."""

from typing import Any

import pytest

from flask_convex_http.errors import MissingSecretError, RegistrationError
from flask_convex_http.webhooks import EnvironmentSecret, GitHub, LabelledSecret, Secret, from_env, resolve

VARIABLE = "SECRETS_TEST_VARIABLE"


def test_variable_is_read_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current value of a variable is returned, with the variable's name as its label."""
    secret = from_env(VARIABLE)
    for value in ("one", "two"):
        monkeypatch.setenv(VARIABLE, value)
        assert resolve(secret) == [LabelledSecret(VARIABLE, value)]


def test_plain_strings_are_labelled_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """The label of a plain string is its position in the list."""
    monkeypatch.setenv(VARIABLE, "one")
    labels = [secret.label for secret in resolve(["a", from_env(VARIABLE), "b"])]
    assert labels == ["secret 1", VARIABLE, "secret 3"]


def test_plain_string_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain string that equals a variable's name is the secret itself."""
    monkeypatch.setenv(VARIABLE, "value")
    assert resolve(VARIABLE) == [LabelledSecret("secret 1", VARIABLE)]


@pytest.mark.parametrize("value", ["", "  \n"])
def test_empty_variables_are_skipped(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Unset and empty variables are skipped as long as another secret is available."""
    monkeypatch.setenv(VARIABLE, value)
    monkeypatch.delenv("SECRETS_TEST_UNSET", raising=False)
    secrets: list[Secret] = [from_env(VARIABLE), from_env("SECRETS_TEST_UNSET"), "plain"]
    assert resolve(secrets) == [LabelledSecret("secret 3", "plain")]
    with pytest.raises(MissingSecretError, match=f"^Environment variable {VARIABLE} is not set$"):
        resolve(from_env(VARIABLE))
    with pytest.raises(MissingSecretError, match=f"variables {VARIABLE}, SECRETS_TEST_UNSET are not set$"):
        resolve(secrets[:2])


def test_reprs_show_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """No repr contains a secret's value."""
    monkeypatch.setenv(VARIABLE, "hidden-value")
    secret = from_env(VARIABLE)
    assert "hidden-value" not in repr([secret, resolve(secret), GitHub(secret="hidden-value")])


@pytest.mark.parametrize("secret", [None, 1, b"bytes", ["a", None], [b"bytes"], [["a"]], {"a": 1}, object()])
def test_other_types_are_rejected(secret: Any) -> None:
    """A value that is neither a string nor from_env() raises RegistrationError."""
    with pytest.raises(RegistrationError, match="must be a string or from_env"):
        GitHub(secret=secret)


@pytest.mark.parametrize("secret", ["", " ", [], (), ["a", ""]])
def test_empty_secret_is_rejected(secret: Any) -> None:
    """An empty secret or list raises RegistrationError."""
    with pytest.raises(RegistrationError, match="is empty"):
        GitHub(secret=secret)


@pytest.mark.parametrize("name", ["", "A B", "1A", "A=B", "whsec_c2VjcmV0", "sk-live", None, 1, b"A"])
def test_from_env_takes_only_names(name: Any) -> None:
    """An invalid variable name raises RegistrationError without repeating it, because it may be the secret."""
    with pytest.raises(RegistrationError, match="name of an environment variable") as caught:
        from_env(name)
    assert "whsec_c2VjcmV0" not in str(caught.value)
    with pytest.raises(RegistrationError):
        EnvironmentSecret(name)
