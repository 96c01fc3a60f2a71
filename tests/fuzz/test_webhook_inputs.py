"""The fuzzer's checks without the fuzzer: they pass on the package and fail on a faulty provider."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Provider, Slack
from tests.fuzz import webhook_inputs
from tests.fuzz.webhook_inputs import one_input, seeds
from tests.lengths import SAMPLED, examples
from tests.webhooks.senders import SENDERS

INDEX = {name: index for index, name in enumerate(sorted(webhook_inputs.SENDERS))}


@SAMPLED
@given(st.binary(max_size=200))
@settings(max_examples=examples(100), deadline=None)
def test_any_input_passes(data: bytes) -> None:
    """Any input is rejected with a typed error."""
    one_input(data)


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize(
    "data", [b"\x00{}", b"\x00", b"\xff1\xff1\xff1\xff1\xff1\xff1\xff1\xff1\xff{", b"\x07" + b"\xff" * 8]
)
def test_each_provider_is_reached(name: str, data: bytes) -> None:
    """Inputs for each provider pass, also those that do not change the genuine delivery."""
    one_input(bytes([INDEX[name]]) + data)


def test_seeds_pass() -> None:
    """The fuzzer's seeds pass."""
    for seed in seeds():
        one_input(seed)


def test_forgery_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that accepts a forgery is reported."""
    monkeypatch.setattr(Slack, "matches", lambda *_: True)
    monkeypatch.setattr(Slack, "timestamp", lambda *_: None)
    with pytest.raises(AssertionError, match="slack accepted a forgery"):
        one_input(bytes([INDEX["slack"], 3]) + b"v0=00\xff1\xff" + b'{"type": "a"}')


def test_untyped_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that raises an untyped error is reported."""

    def explode(*_: object, **__: object) -> None:
        raise ValueError("not typed")

    monkeypatch.setattr(Provider, "verify", explode)
    with pytest.raises(ValueError, match="not typed"):
        one_input(bytes([INDEX["slack"], 0]))


def test_other_body_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that does not verify the body is reported."""

    def verify(*_: object, **__: object) -> None:
        raise VerificationError("no-match", "refused")

    monkeypatch.setattr(Provider, "verify", verify)
    monkeypatch.setattr(Provider, "verify_signature", lambda *_, **__: "secret 1")
    with pytest.raises(AssertionError, match="github accepted another body"):
        one_input(bytes([INDEX["github"], 0]) + b"another body")
