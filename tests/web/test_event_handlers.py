"""Handlers of a webhook by the type of the event: the choice, the sender's object, and mistakes at registration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http import (
    GitHub,
    HttpRouter,
    Id,
    MutationCtx,
    RegistrationError,
    Stripe,
    Svix,
    WebhookEvent,
    require_api_key,
)
from flask_convex_http.testing import deliver, run_scheduled
from flask_convex_http.web.webhooks.event_handlers import EventHandler, EventHandlers
from flask_convex_http.webhooks import Provider
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.profiles import Profile
from tests.web.apps import deployed
from tests.webhooks.senders import SECRET


class Session(msgspec.Struct):
    """The fields of a checkout session that the tests use."""

    id: str
    amount_total: int | None = None


def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Do nothing."""


def other(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Do nothing."""


def stripe() -> Stripe:
    """Return Stripe, with the tests' secret."""
    return Stripe(secret=SECRET)


def test_each_type_has_its_handler(tmp_path: Path) -> None:
    """An event runs the handler of its type, the one of the longest pattern, or the one for other types."""
    http, ran = HttpRouter("http", __name__), list[str]()
    hook = http.webhook("/hook", stripe())

    @hook.on("customer.*")
    def customer(ctx: MutationCtx, event: WebhookEvent) -> None:
        ran.append("customer.*")

    @hook.on("customer.subscription.*", "invoice.paid")
    def subscription(ctx: MutationCtx, event: WebhookEvent) -> None:
        ran.append("customer.subscription.*")

    @hook.on("customer.subscription.deleted")
    def deleted(ctx: MutationCtx, event: WebhookEvent) -> None:
        ran.append("customer.subscription.deleted")

    @hook.otherwise
    def rest(ctx: MutationCtx, event: WebhookEvent) -> None:
        ran.append("otherwise")

    expected = {
        "customer.created": "customer.*",
        "customer.subscription.updated": "customer.subscription.*",
        "customer.subscription.deleted": "customer.subscription.deleted",
        "invoice.paid": "customer.subscription.*",
        "invoice.paid.late": "otherwise",
        "customer": "otherwise",
    }
    with deployed(tmp_path, http) as app:
        for event_type in expected:
            assert deliver(app.test_client(), "stripe", event_type, data={}).status_code == 200
    assert ran == list(expected.values())


def test_handlers_get_the_object(tmp_path: Path) -> None:
    """The third parameter is the sender's object, converted to its annotation, or as it is without one."""
    http, seen = HttpRouter("http", __name__), list[Any]()
    stripe_hook = http.webhook("/stripe", stripe())

    @stripe_hook.on("checkout.session.completed")
    def paid(ctx: MutationCtx, event: WebhookEvent, session: Session) -> None:
        seen.append(session)

    @stripe_hook.on("invoice.paid")
    def invoice(ctx: MutationCtx, event: WebhookEvent, invoice) -> None:  # type: ignore[no-untyped-def]
        seen.append(invoice["id"])

    @http.webhook("/clerk", Svix(secret=SECRET)).on("user.*")
    def user(ctx: MutationCtx, event: WebhookEvent, user: dict[str, Any]) -> None:
        seen.append(user["id"])

    @http.webhook("/github", GitHub(secret="a secret of the tests")).on("push")
    def push(ctx: MutationCtx, event: WebhookEvent, payload: dict[str, Any]) -> None:
        seen.append(payload["ref"])

    with deployed(tmp_path, http) as app:
        client = app.test_client()
        deliver(client, "stripe", "checkout.session.completed", data={"id": "cs_1", "amount_total": 5})
        deliver(client, "stripe", "invoice.paid", data={"id": "in_1"})
        deliver(client, "clerk", "user.created", data={"id": "user_1"})
        deliver(client, "github", "push", data={"ref": "refs/heads/main"})
    assert seen == [Session(id="cs_1", amount_total=5), "in_1", "user_1", "refs/heads/main"]


def test_object_of_a_thin_event_is_the_related_one() -> None:
    """The object of an event of Stripe without data.object is its related object."""
    provider = stripe()
    body = b'{"id": "evt_1", "type": "v1.billing.meter.error", "related_object": {"id": "mtr_1"}}'
    event = provider.event({}, body, received_at=0)
    assert provider.object_of(event) == {"id": "mtr_1"}


@pytest.mark.parametrize("mode", ["transaction", "enqueue"])
def test_object_that_does_not_match_is_a_failed_delivery(mode: Any, tmp_path: Path) -> None:
    """An object that does not match fails the delivery: the inbox names the field, the response no class."""
    http, ran = HttpRouter("http", __name__), list[str]()

    @http.webhook("/hook", stripe(), mode=mode).on("checkout.*")
    def paid(ctx: MutationCtx, event: WebhookEvent, session: Session) -> None:
        ran.append(session.id)

    with deployed(tmp_path, http, TESTING=True, PROPAGATE_EXCEPTIONS=False) as app:
        response = deliver(app.test_client(), "stripe", "checkout.done", data={"id": "cs_1", "amount_total": "five"})
        run_scheduled(app)
        listed = app.test_cli_runner().invoke(args=["convex", "webhooks", "list", "--json"]).stdout
    assert response.status_code == (500 if mode == "transaction" else 202)
    assert "Session" not in response.text and "paid" not in response.text
    [delivery] = msgspec.json.decode(listed)
    assert delivery["error"] == (
        "flask_convex_http.errors.WebhookFailedError: An event of type 'checkout.done' does not match the third "
        "parameter of paid: Expected `int | null`, got `str` - at `$.data.object.amount_total`"
    )
    assert ran == []


def test_own_provider_has_an_object(tmp_path: Path) -> None:
    """A provider of the application says which part of an event is its object."""

    class Own(Provider):
        name = "own"
        object_field = "thing"
        profile = Profile(signed=("body",), id_from="body.id", id_is_signed=True, timeout=stripe().profile.timeout)

        def matches(self, delivery: Delivery, key: bytes) -> bool:
            return delivery.headers.get("x-key", "").encode() == key

        def read(self, delivery: Delivery) -> Content:
            payload = msgspec.json.decode(delivery.body)
            return Content(id=payload["id"], type="made", data=payload, payload=payload)

        def object_of(self, event: WebhookEvent) -> Any:
            return event.payload["thing"]

    http, seen = HttpRouter("http", __name__), list[Any]()

    @http.webhook("/hook", Own(secret="k")).otherwise
    def made(ctx: MutationCtx, event: WebhookEvent, thing: int) -> None:
        seen.append(thing)

    with deployed(tmp_path, http, PROPAGATE_EXCEPTIONS=False) as app:
        sent = [
            app.test_client().post("/hook", json={"id": str(number), "thing": thing}, headers={"X-Key": "k"})
            for number, thing in enumerate([7, "seven"])
        ]
    assert [response.status_code for response in sent] == [200, 500]
    assert seen == [7]


def test_annotation_may_name_a_class_that_is_defined_later(tmp_path: Path) -> None:
    """The annotation of the third parameter may name a class below the handler in the module."""
    http = HttpRouter("http", __name__)
    hook = http.webhook("/hook", stripe())
    hook.on("later")(_takes_later)
    globals()["Later"] = Session
    try:
        with deployed(tmp_path, http):
            [found] = [route.webhook for route in http.routes if route.webhook is not None]
    finally:
        del globals()["Later"]
    assert [(event.pattern, event.object_type, event.description) for event in found.events] == [
        ("later", Session, "Take an object of a class that is defined later.")
    ]


def test_annotation_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    """A router whose handler has an annotation that nothing defines cannot be registered."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", stripe()).on("later")(_takes_later)
    with (
        pytest.raises(RegistrationError, match="'Later' is not defined; the annotation of the third parameter"),
        deployed(tmp_path, http),
    ):
        pass


def _takes_later(ctx: MutationCtx, event: WebhookEvent, later: "Later") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take an object of a class that is defined later."""


def _takes_id(ctx: MutationCtx, event: WebhookEvent, item: "Id[Missing]") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take the id of a table that the schema lacks."""


def _takes_four(ctx: MutationCtx, event: WebhookEvent, one: int, two: int) -> None:
    """Take one parameter too many."""


def _takes_one(ctx: MutationCtx) -> None:
    """Take no event."""


async def _is_async(ctx: MutationCtx, event: WebhookEvent, session: Session) -> None:
    """Be asynchronous."""


def _takes_complex(ctx: MutationCtx, event: WebhookEvent, number: complex) -> None:
    """Take a type that cannot be validated."""


@require_api_key
def _guarded(ctx: Any, event: Any) -> None:
    """Require an API key, which no sender has."""


@pytest.mark.parametrize("wrong", [_takes_four, _takes_one, _is_async, _takes_complex, _guarded, "x", None])
def test_wrong_handler_of_a_type_is_rejected(wrong: Any) -> None:
    """A callable that cannot take a ctx, an event and an object raises RegistrationError."""
    hook = HttpRouter("http", __name__).webhook("/hook", stripe())
    for decorate in (hook.on("a"), hook.otherwise):
        with pytest.raises(RegistrationError):
            decorate(wrong)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("", "takes the types"), (5, "takes the types"), ("a*b", r"write \.on\('a\*'\)"), ("**", "not at the end")],
)
def test_wrong_pattern_is_rejected(pattern: Any, message: str) -> None:
    """A pattern is a text with at most one *, at its end."""
    with pytest.raises(RegistrationError, match=message):
        HttpRouter("http", __name__).webhook("/hook", stripe()).on("fine", pattern)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (lambda hook: hook.on("a.b"), lambda hook: hook.on("c", "a.b"), r"handler and other are both on\('a.b'\)"),
        (lambda hook: hook.on("a.*"), lambda hook: hook.on("a.*"), r"both on\('a\.\*'\)"),
        (lambda hook: hook.otherwise, lambda hook: hook.otherwise, "one .otherwise"),
        (lambda hook: hook.on("*"), lambda hook: hook.otherwise, "one .otherwise"),
        (lambda hook: hook, lambda hook: hook.on("a"), "has handler for every event"),
        (lambda hook: hook, lambda hook: hook.otherwise, "has handler for every event"),
        (lambda hook: hook.on("a"), lambda hook: hook, "has other for every event"),
        (lambda hook: hook, lambda hook: hook, "registered already, for 'handler'"),
    ],
)
def test_two_handlers_for_one_event_are_rejected(
    first: Callable[[Any], Any], second: Callable[[Any], Any], message: str
) -> None:
    """Two equal patterns are an error, and so is one function for every event beside others."""
    hook = HttpRouter("http", __name__).webhook("/hook", stripe())
    first(hook)(handler)
    with pytest.raises(RegistrationError, match=message):
        second(hook)(other)


def test_webhook_without_a_handler_is_rejected(tmp_path: Path) -> None:
    """A router with a webhook that has no handler cannot be registered, and the error says what to write."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", stripe())
    with (
        pytest.raises(RegistrationError, match=r'The webhook /hook has no handler: .* @hook\.on\("invoice\.paid"\)'),
        deployed(tmp_path, http),
    ):
        pass


def test_handler_after_registration_is_rejected(tmp_path: Path) -> None:
    """A handler cannot be added to a router that was registered on an app."""
    http = HttpRouter("http", __name__)
    hook = http.webhook("/hook", stripe())
    hook.on("a")(handler)
    with deployed(tmp_path, http), pytest.raises(RegistrationError, match="import its module before register_bl"):
        hook.on("b")(other)


def test_id_of_a_missing_table_is_rejected(tmp_path: Path) -> None:
    """An annotation with the id of a table that the schema lacks cannot be registered."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", stripe()).on("a")(_takes_id)
    with pytest.raises(RegistrationError, match="Missing"), deployed(tmp_path, http):
        pass


def test_endpoints_come_from_the_path() -> None:
    """The endpoint of a webhook with handlers of types is made of its path, or given."""
    http = HttpRouter("http", __name__)
    for rule, endpoint in (("/hooks/a-b", None), ("/hooks/a_b", None), ("/", None), ("/x", "mine")):
        http.webhook(rule, stripe(), endpoint=endpoint).on("a")(handler)
    assert [route.endpoint for route in http.routes] == ["hooks_a_b", "hooks_a_b_2", "webhook", "mine"]
    with pytest.raises(RegistrationError, match="The endpoint 'mine'"):
        http.webhook("/y", stripe(), endpoint="mine").on("a")(handler)


_WORDS = st.lists(st.sampled_from(["a", "ab", "b", "."]), max_size=4).map("".join)


@given(st.sets(st.tuples(_WORDS, st.booleans()), max_size=6), _WORDS)
def test_choice_is_that_of_the_longest_pattern(patterns: set[tuple[str, bool]], event_type: str) -> None:
    """The type itself wins, then the longest beginning, in any order of registration."""
    written = [text + "*" if is_prefix else text for text, is_prefix in patterns if text or is_prefix]
    table = EventHandlers(stripe())
    for pattern in written:
        table.add(EventHandler(pattern, handler))
    matching = [p for p in written if p == event_type or (p.endswith("*") and event_type.startswith(p[:-1]))]
    expected = max(matching, key=lambda p: (p == event_type, len(p)), default=None)
    found = table.find(event_type)
    assert (found and found.pattern) == expected
