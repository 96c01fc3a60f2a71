"""All senders that have a file of contract tests in this folder."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from flask_convex_http.testing.provider_suite import ProviderContract


def provider_senders() -> dict[str, ProviderContract]:
    """Return the contracts of the senders by the names of their classes."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.webhooks.providers.{file.stem}")
    return {type(case).__name__.removeprefix("Test").lower(): case for case in _cases(ProviderContract)}


def _cases(kind: type[ProviderContract]) -> Iterator[ProviderContract]:
    for case in kind.__subclasses__():
        if case.__module__.startswith("tests.webhooks.providers.test_"):
            yield case()
        yield from _cases(case)
