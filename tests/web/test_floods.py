"""Forgeries of a flood are rejected before Flask, with the same response and the same events."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import HttpRouter, Notion, Slack, WebhookEvent
from flask_convex_http.inbox.rejections import Rejections
from flask_convex_http.webhooks import Provider
from tests.web.apps import backend_of, deployed
from tests.web.floods import FORGED, flood, hook_router, post, use_up
from tests.web.orders_webhook import BODY, SECRET, provider, sign
from tests.webhooks.providers.catalogue import provider_senders
from tests.webhooks.senders import SENDERS

_SIGNED = {"HTTP_X_SIGNATURE": sign(), "HTTP_X_REQUEST_ID": "of-the-test"}


Forged = tuple[dict[str, str], bytes]


def _senders() -> dict[str, tuple[Provider, Forged]]:
    """Return all senders, each with a delivery that another secret has signed."""
    found: dict[str, tuple[Provider, Forged]] = {}
    for name, sender in SENDERS.items():
        headers = sender.headers(secret=sender.other_secret, at=int(time.time()))
        found[name] = sender.provider(), (_as_environ(headers), sender.body)
    for name, contract in provider_senders().items():
        now = time.time() * 1000 if contract.now is None else contract.now
        request = contract.request(contract.other_secret, contract.body, now)
        found[name] = contract.provider(contract.secret), (_as_environ(request.headers), request.body)
    return found


def _as_environ(headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {name if name == "CONTENT_TYPE" else f"HTTP_{name}": value for name, value in named.items()}


def _variants(forged: Forged) -> Iterator[Forged]:
    """Yield a forgery, and malformed ones."""
    headers, body = forged
    yield forged
    for other in (b"", b"\xff\x00", b"ssl_check=1", b'{"id":', b"[" * 2000, body * 2):
        yield headers, other
    for name in headers:
        yield {other: value for other, value in headers.items() if other != name}, body
        for value in ("", " ", "\xff", "=,=", "t=1,v1=", headers[name][:-1], headers[name] * 9):
            yield headers | {name: value}, body


@contextmanager
def _receiving(folder: Path, senders: Mapping[str, tuple[Provider, Forged]], *, is_plain: bool) -> Iterator[Flask]:
    """Yield an app with all senders in a flood, whose forgeries Flask sees only if the app is not plain."""
    http = HttpRouter("http", __name__)
    for name, (given, _) in senders.items():
        http.webhook(f"/{name}", given, endpoint=name)(lambda ctx, event: None)
    with deployed(folder, http) as app:
        if not is_plain:
            app.before_request(lambda: None)
        backend_of(app).rejections = Rejections(folder / "rejected", timer=lambda: 0.0)
        for name, (_, (headers, body)) in senders.items():
            use_up(app, f"/{name}", body, headers)
        yield app


def test_the_response_is_the_same_as_that_of_flask(tmp_path: Path) -> None:
    """For each sender a forgery, malformed or not, gets the same response before Flask as from it."""
    senders = _senders()
    with (
        _receiving(tmp_path / "plain", senders, is_plain=True) as plain,
        _receiving(tmp_path / "other", senders, is_plain=False) as other,
    ):
        for name, (_, forged) in senders.items():
            assert not post(plain, forged[0], f"/{name}", forged[1]).is_seen, name
            for headers, body in _variants(forged):
                sent = {**headers, "HTTP_X_REQUEST_ID": "of-the-test"}
                reply, by_flask = (post(app, sent, f"/{name}", body) for app in (plain, other))
                assert by_flask.is_seen
                assert reply[:3] == by_flask[:3], (name, headers, body)
                assert reply.status < "5" or b"cannot be verified at the moment" in reply.body


def test_a_genuine_delivery_is_handled_during_a_flood(tmp_path: Path) -> None:
    """A delivery that verifies runs its handler once, with the body that was sent."""
    events: list[WebhookEvent] = []
    with deployed(tmp_path, hook_router(seen=events)) as app:
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
        assert [post(app, _SIGNED).status for _ in range(2)] == ["200 OK"] * 2
    assert [(event.id, event.body) for event in events] == [("evt_1", BODY)]


def test_rejections_before_flask_are_counted(tmp_path: Path) -> None:
    """The next rejection that is recorded has the number of those before it, rejected by Flask or before it."""
    seconds = 0.0
    with deployed(tmp_path, hook_router()) as app:
        rejections = flood(app, tmp_path)
        rejections._timer = lambda: seconds
        assert [post(app, FORGED).is_seen for _ in range(4)] == [False] * 4
        seconds += 1
        assert [post(app, FORGED).is_seen for _ in range(2)] == [True, False]
    assert rejections.recent()[0].others == 4


def test_a_forgery_before_flask_is_published(tmp_path: Path) -> None:
    """Telemetry gets the same events for a forgery, rejected by Flask or before it."""
    events: list[Any] = []
    with deployed(tmp_path, hook_router()) as app:
        backend_of(app).telemetry.subscribe(events.append)
        flood(app, tmp_path)
        *_, rejected, finished = events
        events.clear()
        assert not post(app, FORGED).is_seen
    assert events[0] == rejected
    assert [(each.method, each.route, each.status, repr(each.error)) for each in (events[1], finished)] == [
        ("POST", "/hook", 400, repr(finished.error))
    ] * 2


def test_other_places_are_routed_by_flask(tmp_path: Path) -> None:
    """A host that Flask has not seen with the webhook, another method, and another path go through Flask."""
    with deployed(tmp_path, hook_router()) as app:
        flood(app, tmp_path)
        places = {"HTTP_HOST": "other.example", "SCRIPT_NAME": "/app", "REQUEST_METHOD": "PUT", "PATH_INFO": "/hooks"}
        for name, value in places.items():
            assert post(app, FORGED | {name: value}).is_seen
        assert not post(app, FORGED | {"HTTP_HOST": "other.example"}).is_seen


def test_paths_with_a_variable_are_not_noted(tmp_path: Path) -> None:
    """A second rule of a webhook, which matches any path, does not let clients fill the memory with their paths."""
    with deployed(tmp_path, hook_router()) as app:
        [endpoint] = [rule.endpoint for rule in app.url_map.iter_rules() if rule.rule == "/hook"]
        app.add_url_rule("/hook/<path:any>", endpoint=endpoint, methods=["POST"])
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
        for name in ("a", "b"):
            assert post(app, FORGED, f"/hook/{name}").status == "400 BAD REQUEST"
            assert post(app, FORGED, f"/hook/{name}").is_seen


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_COOKIE": "session=x"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_UPGRADE": "websocket"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
        {"CONTENT_LENGTH": "3"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "1000"},
        {"wsgi.input": BytesIO(b"")},
    ],
    ids=lambda environ: " ".join(environ),
)
def test_unusual_requests_are_seen_by_flask(tmp_path: Path, environ: dict[str, Any]) -> None:
    """A cookie, an encoding, an upgrade, and a body that is not as long as announced are left to Flask."""
    with deployed(tmp_path, hook_router()) as app:
        flood(app, tmp_path)
        assert post(app, FORGED | environ).is_seen


def test_a_large_body_is_seen_by_flask(tmp_path: Path) -> None:
    """A body over the limit of the webhook gets its 413 from Flask."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider(), max_body_bytes=len(BODY))(lambda ctx, event: None)
    with deployed(tmp_path, http) as app:
        flood(app, tmp_path)
        reply = post(app, FORGED, body=BODY + b" ")
    assert (reply.status[:3], reply.is_seen) == ("413", True)


def test_a_limit_that_is_lowered_during_a_flood_holds(tmp_path: Path) -> None:
    """A body over a limit that the application lowers during a flood gets its 413 from Flask."""
    with deployed(tmp_path, hook_router()) as app:
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
        app.config["MAX_CONTENT_LENGTH"] = len(BODY) - 1
        reply = post(app, FORGED)
    assert (reply.status[:3], reply.is_seen) == ("413", True)


# --- requests that verify a URL --------------------------------------------------------------------------------------


def test_a_probe_is_greeted_during_a_flood(tmp_path: Path) -> None:
    """Slack's check of the certificate, which has no signature, gets its 200 during a flood."""
    forged = {"HTTP_X_SLACK_SIGNATURE": f"v0={'0' * 64}", "HTTP_X_SLACK_REQUEST_TIMESTAMP": str(int(time.time()))}
    with deployed(tmp_path, hook_router(Slack(secret=SECRET))) as app:
        flood(app, tmp_path, headers=forged)
        assert not post(app, forged).is_seen
        probe = post(app, {"CONTENT_TYPE": "application/x-www-form-urlencoded"}, body=b"ssl_check=1&token=x")
    assert (probe.status, probe.is_seen) == ("200 OK", True)


def test_a_token_is_passed_on_once_during_a_flood(tmp_path: Path) -> None:
    """Notion's request with the token of a new subscription, which has no signature, is passed on once."""
    tokens: list[str] = []
    forged = {"HTTP_X_NOTION_SIGNATURE": f"sha256={'0' * 64}"}
    token = "secret_" + "a" * 43
    with deployed(tmp_path, hook_router(Notion(secret=SECRET, on_verification_token=tokens.append))) as app:
        flood(app, tmp_path, headers=forged)
        assert not post(app, forged).is_seen
        assert post(app, {}, body=f'{{"verification_token": "{token}"}}'.encode()).status == "200 OK"
    assert tokens == [token]
