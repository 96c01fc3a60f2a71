"""All senders that have a file of contract tests in this folder."""

import importlib
from pathlib import Path

from tests.webhooks.providers.contract import ProviderContract
from tests.webhooks.senders import Sender


def provider_senders() -> dict[str, Sender]:
    """Return the senders by the names of their tests' classes."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.webhooks.providers.{file.stem}")
    return {case.__name__.removeprefix("Test").lower(): case.sender() for case in ProviderContract.__subclasses__()}
