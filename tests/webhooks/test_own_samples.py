"""Test deliveries of the signature families: signed URLs, secrets in a query string, and private keys."""

from pathlib import Path

import pytest

from flask_convex_http import Ed25519Signature, HmacSignature, HttpRouter, JwtSignature, Provider, SharedSecret
from flask_convex_http.testing import deliver
from tests.web.apps import deployed
from tests.webhooks.test_families import ed25519_keys

SECRET = "a secret of the tests"
PROVIDERS: dict[str, Provider] = {
    "url": HmacSignature(secret=SECRET, header="X-S", signed="{method}{url}{body}", id_field="id"),
    "query": SharedSecret(secret=SECRET, query="token", id_field="id"),
    "basic": SharedSecret(secret=SECRET, basic="user", id_field="id"),
    "key": Ed25519Signature(secret=ed25519_keys()[-1], header="X-S", id_field="id"),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_sample_is_signed_for_its_url(tmp_path: Path, name: str) -> None:
    """A sample event is signed for the URL it is sent to, and one that another secret signed is rejected."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", PROVIDERS[name])(lambda ctx, event: None)
    with deployed(tmp_path, http) as app:
        assert deliver(app.test_client(), "/hook", {"id": "1"}, duplicate=2).status_code == 200
        if name in ("url", "query"):
            assert deliver(app.test_client(), "/hook", {"id": "2"}, old_secret=True).status_code == 400


def test_sender_with_published_keys_cannot_be_imitated(tmp_path: Path) -> None:
    """A provider without a secret says that it cannot sign."""
    provider = JwtSignature(jwks="https://a.example/keys", audience="a", issuer="https://a.example")
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider)(lambda ctx, event: None)
    with deployed(tmp_path, http) as app, pytest.raises(NotImplementedError, match="cannot sign"):
        deliver(app.test_client(), "/hook", {"id": "1"})
