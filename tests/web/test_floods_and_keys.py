"""Forgeries of senders whose keys are fetched are rejected before Flask with the keys that are known."""

import json
from pathlib import Path

import pytest

from flask_convex_http import AwsSns, HttpRouter
from tests.web.apps import deployed
from tests.web.floods import flood, post
from tests.webhooks.providers.certificates import Server, certificate, serving
from tests.webhooks.providers.test_aws_sns import TOPIC, encoded, message


@pytest.mark.parametrize("status", ["400", "503"])
def test_a_key_is_fetched_inside_flask(tmp_path: Path, status: str) -> None:
    """A forgery with a known certificate is rejected before Flask, and one whose certificate must be fetched in it."""
    with serving({"/a.pem": certificate("sns"), "/b.pem": certificate("sns")}) as server:
        http = HttpRouter("http", __name__)
        http.webhook("/hook", AwsSns(topics=[TOPIC], certificate_urls=[server.url]))(lambda ctx, event: None)
        with deployed(tmp_path, http) as app:
            flood(app, tmp_path, body=_forged(server, "a.pem"), headers={})
            assert not post(app, {}, body=_forged(server, "a.pem")).is_seen
            other = _forged(server, "b.pem" if status == "400" else "absent.pem")
            reply = post(app, {}, body=other)
            assert (reply.status[:3], reply.is_seen) == (status, True)
            assert server.requests[:2] == ["/a.pem", f"/{json.loads(other)['SigningCertURL'].rpartition('/')[2]}"]
            assert post(app, {}, body=other).is_seen == (status == "503")
            assert post(app, {}, body=encoded(message(server))).status[:3] == "200"


def _forged(server: Server, name: str) -> bytes:
    return encoded(message(server, key="forger") | {"SigningCertURL": server.url + name})
