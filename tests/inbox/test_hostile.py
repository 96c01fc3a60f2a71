"""Hostile deliveries, signed and unsigned, and everything that is stored or logged of them."""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from flask_convex_http import (
    DeadLetterError,
    GitHub,
    HmacSignature,
    MutationCtx,
    QueryCtx,
    WebhookEvent,
    internal_query,
)
from flask_convex_http.schema.system_tables import WebhookDelivery, WebhookRequest
from flask_convex_http.webhooks import Provider, Shopify, Slack, StandardWebhooks
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, write_marker
from tests.inbox.receiving import Boom, Effect, numbered, payload, receiving, stripe
from tests.inbox.test_failures import failing
from tests.webhooks.credentials import CREDENTIALS
from tests.webhooks.senders import (
    BODY,
    OTHER_SECRET,
    SECRET,
    sign_github,
    sign_hmac,
    sign_shopify,
    sign_slack,
    sign_standard,
    sign_stripe,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

TEXTS = {
    "NUL": "a\x00b",
    "long": "x" * 10_000,
    "emoji": "\U0001f600" * 300,
    "line break": "a\r\nSet-Cookie: b",
    "SQL": "'; DROP TABLE effects; --",
    "ours": "_webhooks_0123456789abcdef0123456789abcdef",
    "digest": "sha256:" + hashlib.sha256(b"x" * 10_000).hexdigest(),
    "spaces": "   ",
    "markup": "<script>{{7*7}}%s%n\x1b[31m",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_id_and_any_type(text: str, tmp_path: Path) -> None:
    """A delivery with any id and any type has its effects once, and the inbox stores both."""
    with receiving(tmp_path, provider=numbered()) as receiver:
        body = json.dumps({"id": text, "type": text}).encode()
        assert [receiver.send(body).status_code for _ in range(3)] == [200] * 3
        assert (receiver.effects, receiver.states, receiver.delivery.type) == ([text], ["done"], text)
        assert len(receiver.delivery.event_id) <= 255


def test_long_ids_that_differ_at_their_ends(tmp_path: Path) -> None:
    """Two very long ids that differ only at their ends are two deliveries."""
    names = ["x" * 10_000 + end for end in ("a", "b")]
    with receiving(tmp_path, provider=numbered()) as receiver:
        assert [receiver.send(payload(name)).status_code for name in names * 2] == [200] * 4
        assert receiver.effects == names


@pytest.mark.parametrize("provider", [stripe, numbered], ids=["stripe", "hmac"])
@pytest.mark.parametrize(
    "event",
    [
        rb'{"id": "\ud800", "type": "x"}',
        rb'{"id": "evt", "type": "\udfff\ud800"}',
        rb'{"id": "evt", "type": "x", "data": {"object": {"\ud800": 1}}}',
        b'{"id": "\xff", "type": "x"}',
        b'{"id": "\xed\xa0\x80", "type": "x"}',
        b'{"id": null, "type": "x"}',
        b'{"id": {}, "type": []}',
        b'{"id": 1e400, "type": "x"}',
        b'{"id": ' + b"9" * 5000 + b', "type": "x"}',
        b'{"id": "a", "id": "b", "type": "x"}',
        b'{"id": "evt", "type": "x", "data": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"[" * 100_000,
        b"",
        b"null",
        b"\x00",
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else None,
)
def test_signed_nonsense(event: bytes, provider: Callable[[], Provider], tmp_path: Path) -> None:
    """Signed nonsense is run once or rejected before any write, and never a server error."""
    sign = sign_stripe if provider is stripe else sign_hmac
    with receiving(tmp_path, provider=provider(), mode="enqueue", order_by="data.object") as receiver:
        statuses = {receiver.send(event, sign).status_code for _ in range(2)}
        assert statuses in ({202}, {400})
        receiver.work()
        assert receiver.states == (["done"] if statuses == {202} else [])


@pytest.mark.parametrize("value", ["", " ", "\x00", "\xff", "x" * 9000, "a b", "d-1, d-2"], ids=repr)
def test_headers_that_are_not_signed(value: str, tmp_path: Path) -> None:
    """With any unsigned id and type, GitHub's body is at most one delivery."""
    with receiving(tmp_path, provider=GitHub(secret=SECRET)) as receiver:
        headers = {"X_GitHub_Delivery": value, "X_GitHub_Event": value}
        statuses = {receiver.send(BODY, sign_github, **headers).status_code for _ in range(2)}
        assert statuses in ({200}, {400})
        assert len(receiver.effects) == len(receiver.deliveries) == (statuses == {200})


SLACK_ASKS = b'{"type": "url_verification", "challenge": "3eZbrw1aB"}'


def test_a_handshake_is_recorded_nowhere(tmp_path: Path) -> None:
    """Slack's handshake gets its response each time and is not recorded."""
    with receiving(tmp_path, failing(), Slack(secret=SECRET)) as receiver:
        answers = [receiver.send(SLACK_ASKS, sign_slack) for _ in range(2)]
        assert [(answer.status_code, answer.text) for answer in answers] == [(200, "3eZbrw1aB")] * 2
        assert (receiver.deliveries, receiver.bodies) == ([], [])
        assert receiver.send(SLACK_ASKS, sign_slack, secret=OTHER_SECRET).status_code == 400


@pytest.mark.parametrize("challenge", [b"null", b"{}", b'""', b'"\\ud800"', b"5"])
def test_a_handshake_that_is_none(challenge: bytes, tmp_path: Path) -> None:
    """A handshake without a challenge is not a server error."""
    body = b'{"type": "url_verification", "challenge": ' + challenge + b"}"
    with receiving(tmp_path, provider=Slack(secret=SECRET)) as receiver:
        assert receiver.send(body, sign_slack).status_code < 500


def test_slack_checks_the_certificate(tmp_path: Path) -> None:
    """Slack's check of the certificate is 200 without a signature, runs nothing and leaves no trace."""
    with receiving(tmp_path, failing(), Slack(secret=SECRET)) as receiver:
        responses = [
            receiver.send(b"ssl_check=1&token=t", lambda *arguments: {}),
            receiver.send(b"token=t&ssl_check=1", sign_slack, secret=OTHER_SECRET),
            receiver.send(b"ssl_check=1&token=t", sign_slack),
        ]
        assert [(response.status_code, response.data) for response in responses] == [(200, b"")] * 3
        assert (receiver.deliveries, receiver.backend.rejections.recent()) == ([], [])
        assert receiver.send(b"ssl_check=0&token=t", lambda *arguments: {}).status_code == 400


COMMAND = b"command=%2Flamp&text=on&trigger_id=1.2.3"
SUGGESTION = b"payload=%7B%22type%22%3A%22block_suggestion%22%2C%22value%22%3A%22a%22%7D"


@pytest.mark.parametrize("body", [COMMAND, SUGGESTION], ids=["command", "interaction"])
def test_requests_that_need_a_fresh_response(body: bytes, tmp_path: Path) -> None:
    """Each slash command and interaction runs its handler, also if it equals one before; an event runs once."""
    count: list[WebhookEvent] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> dict[str, int]:
        count.append(event)
        return {"run": len(count)}

    event = b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}}'
    with receiving(tmp_path, handler, Slack(secret=SECRET)) as receiver:
        assert [receiver.send(body, sign_slack).json for _ in range(3)] == [{"run": run} for run in (1, 2, 3)]
        assert [receiver.send(event, sign_slack).json for _ in range(3)] == [{"run": 4}] * 3
        assert receiver.states == ["done"] * 4
        assert len({event.id for event in count[:3]}) == 1


# --- rejections -------------------------------------------------------------------------------------------------------


def test_what_is_refused_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    """Any number of rejected deliveries writes nothing to the database."""
    with receiving(tmp_path, is_kept=True) as receiver:
        receiver.deliver()
        before = write_marker(tmp_path)
        assert receiver.send(b"x", lambda *arguments: {}).status_code == 400
        for number in range(50):
            assert receiver.send(payload(f"evt_{number}"), sign_stripe, secret=OTHER_SECRET).status_code == 400
        assert write_marker(tmp_path) == before
        reasons = {rejection.reason for rejection in receiver.backend.rejections.recent()}
        assert reasons == {"no-match", "missing-header"}


def test_a_duplicate_writes_nothing(tmp_path: Path) -> None:
    """A duplicate of a done delivery writes nothing."""
    with receiving(tmp_path, is_kept=True) as receiver:
        receiver.deliver()
        before = write_marker(tmp_path)
        assert [receiver.deliver().status_code for _ in range(10)] == [200] * 10
        assert write_marker(tmp_path) == before


# --- storage and logs -------------------------------------------------------------------------------------------------

SENDERS: dict[str, tuple[Callable[..., Provider], Any]] = {
    "stripe": (lambda: stripe(), sign_stripe),
    "github": (lambda: GitHub(secret=SECRET), sign_github),
    "shopify": (lambda: Shopify(secret=SECRET), sign_shopify),
    "slack": (lambda: Slack(secret=SECRET), sign_slack),
    "standard": (lambda: StandardWebhooks(secret=SECRET), sign_standard),
}


@pytest.mark.parametrize("name", SENDERS)
def test_no_secret_and_no_payload_in_logs(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No secret and no payload is in a log, a response or the text of a row, for any outcome."""
    build, sign = SENDERS[name]
    caplog.set_level(logging.DEBUG)
    body = b'{"id": "evt_1", "type": "order.paid", "data": {"name": "Jenny Rosen"}}'
    handler = failing(Boom("no"), None)
    with receiving(tmp_path, handler, build()) as receiver:
        answers = [receiver.send(body, sign), receiver.send(body, sign), receiver.send(body, sign)]
        answers += [receiver.send(body, sign, secret=OTHER_SECRET), receiver.send(b"{" + body, sign)]
        assert [answer.status_code for answer in answers[:4]] == [500, 200, 200, 401 if name == "shopify" else 400]
        said = caplog.text + "".join(answer.text for answer in answers) + repr(receiver.deliveries)
    assert caplog.records
    assert "Jenny" not in said and SECRET not in said and SECRET.removeprefix("whsec_") not in said


def test_the_log_of_what_is_dead_lettered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The worker's log of a dead delivery has its id and error, and no other text of the sender."""
    with receiving(tmp_path, failing(DeadLetterError("no lamp")), mode="enqueue") as receiver:
        receiver.deliver(name="Jenny Rosen")
        receiver.work()
    assert "delivery evt_1 is dead: no lamp" in caplog.text
    assert "Jenny" not in caplog.text and SECRET not in caplog.text


@pytest.mark.parametrize("mode", ["transaction", "enqueue"])
def test_credentials_are_not_kept(mode: Literal["transaction", "enqueue"], tmp_path: Path) -> None:
    """No header that holds a credential is stored with a delivery, nor with a rejected one."""
    hush = {name.replace("-", "_"): "hush" for name in CREDENTIALS}
    with receiving(tmp_path, mode=mode, is_kept=True) as receiver:
        assert receiver.send(payload(), sign_stripe, User_Agent="Stripe/1", **hush).status_code < 300
        [request] = receiver.rows(WebhookRequest)
        assert set(request.headers) == {"content-length", "content-type", "host", "stripe-signature", "user-agent"}
        assert receiver.send(payload(), sign_stripe, secret=OTHER_SECRET, **hush).status_code == 400
        [rejection] = receiver.backend.rejections.recent()
        kept = {name.lower() for name, value in rejection.headers.items() if value != "(not kept)"}
        assert kept == set(request.headers)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]


def test_a_required_credential_header_is_kept_only_with_a_verified_delivery(tmp_path: Path) -> None:
    """A signature in Authorization is stored, to be verified again, but it is not kept with a rejected delivery."""
    provider = HmacSignature(secret=SECRET, header="Authorization", other_headers=["X-Tenant"])

    def sign(secret: str, body: bytes, at: int) -> dict[str, str]:
        return {"Authorization": hmac.new(secret.encode(), body, "sha256").hexdigest(), "X-Tenant": "acme"}

    with receiving(tmp_path, provider=provider) as receiver:
        assert receiver.send(BODY, sign).status_code == 200
        [request] = receiver.rows(WebhookRequest)
        assert {"authorization", "x-tenant"} <= set(request.headers)
        assert receiver.send(BODY, sign, secret=OTHER_SECRET).status_code == 400
        [rejection] = receiver.backend.rejections.recent()
        assert rejection.headers["X-Tenant"] == "acme" and "Authorization" not in rejection.headers


HALF = {
    "in a text": rb'{"id": "evt_1", "type": "x", "data": {"object": {"name": "cut \ud83d"}}}',
    "in upper case": rb'{"id": "evt_1", "type": "x", "data": {"object": {"name": "\uD83D cut"}}}',
    "the second half": rb'{"id": "evt_1", "type": "x", "data": {"object": {"name": "\ude00"}}}',
    "in a key": rb'{"id": "evt_1", "type": "x", "data": {"object": {"\ud83d": "cut"}}}',
    "in the id and the type": rb'{"id": "evt_\ud83d", "type": "x\udfff", "data": {"object": {}}}',
    "after an escaped backslash": rb'{"id": "evt_1", "type": "x", "data": {"object": {"name": "\\\ud83d"}}}',
    "beside whole pairs": rb'{"id": "evt_1", "type": "x", "data": {"object": {"name": "\ud83d\ude00\ud83d\\ude00"}}}',
}


@pytest.mark.parametrize("name", [*SENDERS, "hmac"])
@pytest.mark.parametrize("half", HALF)
def test_half_a_surrogate_pair(half: str, name: str, tmp_path: Path) -> None:
    """A text cut within a pair of surrogates reaches the handler with U+FFFD, is stored, and keeps its raw body."""
    build, sign = SENDERS.get(name, (numbered, sign_hmac))
    body, seen = HALF[half], list[Any]()

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        seen.append(event)
        ctx.db.insert(Effect(event=json.dumps(event.payload, ensure_ascii=False)))

    with receiving(tmp_path, handler, build()) as receiver:
        assert [receiver.send(body, sign).status_code for _ in range(2)] == [200, 200]
        assert (receiver.states, receiver.bodies) == (["done"], [body])
        [event] = seen
        assert event.payload == json.loads(receiver.effects[0])
        assert event.payload == _replaced(json.loads(body))
        assert event.body == body


def test_half_a_surrogate_pair_in_headers_and_forms(tmp_path: Path) -> None:
    """A header that is not text is stored escaped, and the JSON in a form may be cut within a pair as well."""
    with receiving(tmp_path, provider=GitHub(secret=SECRET)) as receiver:
        assert receiver.send(BODY, sign_github, User_Agent="cut \ud83d").status_code == 200
        [request] = receiver.rows(WebhookRequest)
        assert request.headers["user-agent"] == r"cut \ud83d"
        form = b"payload=%7B%22title%22%3A%22cut%20%5Cud83d%22%7D"
        assert receiver.send(form, sign_github, X_GitHub_Delivery="form").status_code == 200
        assert receiver.states == ["done", "done"]


def _replaced(value: Any) -> Any:
    """Return a JSON value with U+FFFD for each lone surrogate."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads("".join("\ufffd" if 0xD800 <= ord(character) <= 0xDFFF else character for character in text))


# --- access by functions ----------------------------------------------------------------------------------------------


@internal_query
def states(ctx: QueryCtx) -> list[str]:
    """Return the application's view of its inbox."""
    return [f"{delivery.event_id} {delivery.state}" for delivery in ctx.db.system.query(WebhookDelivery)]


def test_applications_may_look(tmp_path: Path) -> None:
    """Functions can read the inbox, and a handler sees its state before the delivery."""
    seen: list[int] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        seen.append(len(ctx.db.system.query(WebhookDelivery).collect()))
        if event.id == "evt_2":
            raise Boom

    with receiving(tmp_path, handler, functions=[states]) as receiver:
        for name in ("evt_1", "evt_2"):
            receiver.deliver(name)
        assert receiver.backend.ctx().run_query(states) == ["evt_1 done", "evt_2 failed"]
        assert seen == [0, 1]
        assert receiver.deliver("evt_3").status_code == 200


def test_applications_may_not_write(tmp_path: Path) -> None:
    """No handler can change the inbox's rows."""
    kept: list[Any] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        for delivery in ctx.db.system.query(WebhookDelivery):
            kept.append(delivery)
            ctx.db.delete(delivery.id)

    with receiving(tmp_path, handler) as receiver:
        assert [receiver.deliver(name).status_code for name in ("evt_1", "evt_2")] == [200, 500]
        assert (len(kept), receiver.states) == (1, ["done", "failed"])


def test_only_the_newest_attempts_are_kept(tmp_path: Path) -> None:
    """A row keeps a bounded number of attempts."""
    with receiving(tmp_path, failing(*[Boom(str(number)) for number in range(103)])) as receiver:
        assert {receiver.deliver().status_code for _ in range(103)} == {500}
        attempts = receiver.delivery.attempts
        assert (len(attempts), str(attempts[0].error)[-3:], str(attempts[-1].error)[-3:]) == (100, ": 3", "102")
