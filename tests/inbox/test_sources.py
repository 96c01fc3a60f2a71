"""The name of a webhook in the inbox, and errors at registration."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_convex_http import (
    ConvexHTTP,
    HttpRouter,
    MutationCtx,
    RegistrationError,
    Retry,
    Schema,
    WebhookEvent,
    rate_limit,
)
from flask_convex_http.webhooks import GitHub, Provider
from flask_convex_http.webhooks.events import Content, Delivery
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.inbox.receiving import Effect, Handler, Receiver, receiving, record, stripe
from tests.web.apps import backend_of, deployed
from tests.webhooks.senders import SECRET

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAYS = timedelta(days=1)


def router(name: str = "http", *, handler: Handler = record, path: str = "/hook", **options: Any) -> HttpRouter:
    """Return a router with a webhook."""
    http = HttpRouter(name, __name__)
    http.webhook(path, stripe(), **options)(handler)
    return http


def sources(app: Flask) -> list[str]:
    """Return the sources of the app's webhooks."""
    return [webhook.source for webhook in backend_of(app).webhooks]


def below_prefixes(app: Flask, http: HttpRouter) -> None:
    """Register a router two blueprints deep, each with a prefix."""
    inner, outer = Blueprint("inner", __name__, url_prefix="/in"), Blueprint("outer", __name__, url_prefix="/out")
    inner.register_blueprint(http, url_prefix="/own")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)


# --- names of sources -------------------------------------------------------------------------------------------------


def test_a_source_is_the_path(tmp_path: Path) -> None:
    """A webhook without source= is named by its whole path, so that two routers do not collide."""
    http, api = router(path="/hook"), HttpRouter("api", __name__, url_prefix="/api")
    api.webhook("/hook", stripe())(record)
    with deployed(tmp_path, http, api, schema=Schema(Effect)) as app:
        receiver = Receiver(app)
        assert sources(app) == ["/api/hook", "/hook"]
        assert [receiver.deliver(path=path).status_code for path in ("/hook", "/api/hook", "/hook")] == [200] * 3
        assert [delivery.source for delivery in receiver.deliveries] == ["/hook", "/api/hook"]
        assert receiver.effects == ["evt_1", "evt_1"]


def test_a_source_below_blueprints(tmp_path: Path) -> None:
    """The prefixes of all blueprints around it belong to the path."""
    with deployed(tmp_path, schema=Schema(Effect)) as app:
        below_prefixes(app, router())
        receiver = Receiver(app)
        assert sources(app) == ["/out/in/own/hook"]
        assert receiver.deliver(path="/out/in/own/hook").status_code == 200
        assert receiver.delivery.source == "/out/in/own/hook"


@pytest.mark.parametrize("path", ["/hook", "/hook/", "/hook/x-1/ö"])
def test_paths(path: str, tmp_path: Path) -> None:
    """A path is its source exactly as written, with or without a slash at its end."""
    with deployed(tmp_path, router(path=path), schema=Schema(Effect)) as app:
        assert sources(app) == [path]
        assert Receiver(app).deliver(path=path).status_code == 200


def test_a_source_outlives_its_path(tmp_path: Path) -> None:
    """A webhook with source= is the same below another path: duplicates there are recognised."""
    for path in ("/old", "/new"):
        http = router(path=path, source="stripe")
        with deployed(tmp_path, http, schema=Schema(Effect), is_kept=True) as app:
            receiver = Receiver(app)
            assert receiver.deliver(path=path).status_code == 200
            assert (receiver.effects, receiver.delivery.source) == (["evt_1"], "stripe")


def test_two_webhooks_with_one_source_are_refused(tmp_path: Path) -> None:
    """Two webhooks with one source are refused, since one would treat the other's deliveries as duplicates."""
    http = router(path="/a", source="stripe")
    http.webhook("/b", stripe(), source="stripe")(record)
    with pytest.raises(RegistrationError, match=r"/a and /b have one source, 'stripe'.*give each its own"):
        Flask(__name__, instance_path=str(tmp_path)).register_blueprint(http)


def test_a_path_that_is_the_source_of_another_is_refused(tmp_path: Path) -> None:
    """A path that equals the source= of another webhook is refused."""
    http = router(path="/a")
    http.webhook("/b", stripe(), source="/a")(record)
    with pytest.raises(RegistrationError, match="/a and /b have one source, '/a'"):
        Flask(__name__, instance_path=str(tmp_path)).register_blueprint(http)


def test_two_senders_at_one_path_are_refused(tmp_path: Path) -> None:
    """Two senders at one path are refused."""
    app, other = Flask(__name__, instance_path=str(tmp_path)), HttpRouter("other", __name__)
    other.webhook("/a", GitHub(secret=SECRET), source="shop")(record)
    app.register_blueprint(router(path="/a", source="shop"))
    with pytest.raises(RegistrationError, match=r"have one source, 'shop'.*give each its own"):
        app.register_blueprint(other)


def test_one_handler_for_several_webhooks(tmp_path: Path) -> None:
    """One function may handle several webhooks; each has its own inbox."""
    http = router(path="/a")
    http.webhook("/b", stripe())(record)
    with deployed(tmp_path, http, schema=Schema(Effect)) as app:
        receiver = Receiver(app)
        assert [receiver.deliver(path=path).status_code for path in ("/a", "/b", "/a", "/b")] == [200] * 4
        assert receiver.effects == ["evt_1", "evt_1"]


# --- apps ------------------------------------------------------------------------------------------------------------


def test_one_router_in_two_apps(tmp_path: Path) -> None:
    """Two apps with the same router have separate inboxes."""
    http = router()
    schema = Schema(Effect)
    with deployed(tmp_path / "a", http, schema=schema) as a, deployed(tmp_path / "b", schema=schema) as b:
        b.register_blueprint(http, url_prefix="/b")
        assert (sources(a), sources(b)) == (["/hook"], ["/b/hook"])
        assert [Receiver(a).deliver().status_code, Receiver(b).deliver(path="/b/hook").status_code] == [200, 200]
        assert [len(Receiver(app).deliveries) for app in (a, b)] == [1, 1]


def test_a_router_twice_in_an_app(tmp_path: Path) -> None:
    """A router registered below two prefixes has two webhooks, each with its own inbox."""
    http = router()
    with deployed(tmp_path, http, schema=Schema(Effect)) as app:
        app.register_blueprint(http, name="again", url_prefix="/again")
        receiver = Receiver(app)
        assert sources(app) == ["/again/hook", "/hook"]
        assert [receiver.deliver(path=path).status_code for path in ("/hook", "/again/hook")] == [200, 200]
        assert receiver.effects == ["evt_1", "evt_1"]


@pytest.mark.parametrize("router_first", [True, False])
def test_the_router_may_come_first(router_first: bool, tmp_path: Path) -> None:
    """Routers may be registered before or after the extension is set up."""
    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(CONVEX_DATABASE_URL="sqlite:///:memory:", CONVEX_WORKER="off")
    convex, http = ConvexHTTP(schema=Schema(Effect)), router()
    if router_first:
        app.register_blueprint(http)
    convex.init_app(app)
    if not router_first:
        app.register_blueprint(http)
    try:
        with app.app_context():
            convex.migrate()
        assert Receiver(app).deliver().status_code == 200
        assert Receiver(app).effects == ["evt_1"]
    finally:
        backend_of(app).close()


def test_finding_webhooks(tmp_path: Path) -> None:
    """A webhook is found by its source, its path or its provider."""
    http = router(path="/a", source="shop")
    http.webhook("/b", stripe())(record)
    http.webhook("/c", GitHub(secret=SECRET))(record)
    with deployed(tmp_path, http, schema=Schema(Effect)) as app:
        webhooks = backend_of(app).webhooks
        found = {name: [webhook.path for webhook in webhooks.find(name)] for name in ("shop", "/a", "/b", "github")}
        assert found == {"shop": ["/a"], "/a": ["/a"], "/b": ["/b"], "github": ["/c"]}
        assert {webhook.path for webhook in webhooks.find("stripe")} == {"/a", "/b"}
        assert (webhooks.find("nobody"), webhooks.get("/a"), len(webhooks)) == ([], None, 3)
        shop = webhooks.get("shop")
        assert shop is not None and (shop.handler_name("order.paid"), shop.mode) == ("record", "transaction")


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": ""}, "source='' must be 1 to 200 printable characters"),
        ({"source": "x" * 201}, "must be 1 to 200 printable characters"),
        ({"source": "a\nb"}, "must be 1 to 200 printable characters"),
        ({"source": 5}, "source=5 must be 1 to 200"),
        ({"mode": "queue"}, "mode='queue' must be"),
        ({"mode": None}, "mode=None must be"),
        ({"mode": "enqueue", "retry": 3}, "retry=3 must be a Retry"),
        ({"retry": Retry()}, 'retry= needs mode="enqueue"'),
        ({"order_by": "data.id"}, 'order_by= needs mode="enqueue"'),
        ({"mode": "enqueue", "order_by": ""}, "order_by='' must be a path"),
        ({"mode": "enqueue", "order_by": "data..id"}, "must be a path"),
        ({"mode": "enqueue", "order_by": 5}, "order_by=5 must be a path"),
        ({"keep_ids": 5}, "keep_ids=5 must be a timedelta"),
        ({"keep_ids": -DAYS}, "must be a timedelta of 0 or more"),
        ({"keep_bodies": "5d"}, "keep_bodies='5d' must be a timedelta"),
        ({"keep_bodies": -DAYS}, "must be a timedelta of 0 or more"),
        ({"keep_ids": DAYS}, "keep_ids=1 day, 0:00:00 is too short: stripe may send a delivery again for"),
        ({"keep_ids": timedelta(0)}, "is too short"),
        ({"keep_ids": 100 * DAYS, "keep_bodies": 101 * DAYS}, "keep_bodies=101 days, 0:00:00 is longer than keep_ids"),
        ({"mode": "enqueue", "keep_bodies": timedelta(0)}, "the body must be kept until its handler has run"),
    ],
    ids=str,
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    """An option that cannot work is refused at the webhook's definition, with the fix in the message."""
    with pytest.raises(RegistrationError) as refused:
        router(**options)
    assert message in str(refused.value)


def test_a_provider_without_a_profile_is_refused() -> None:
    """A user's own provider without a profile is refused, with the fix in the message."""
    with pytest.raises(RegistrationError, match=r"Unprofiled has no profile.*profile = Profile\("):
        HttpRouter("http", __name__).webhook("/hook", Unprofiled(secret=SECRET))(record)


def test_an_enqueued_rate_limit_is_refused() -> None:
    """A rate limit on an enqueued webhook is refused, since a worker has no request to limit."""
    with pytest.raises(RegistrationError, match='mode="enqueue", which runs it without one; drop one'):
        router(handler=rate_limit(rate=1, period=DAYS)(_fresh()), mode="enqueue")


def test_a_path_with_a_variable_is_refused() -> None:
    """A path with a variable is refused, since the handler of a webhook gets no part of the path."""
    with pytest.raises(RegistrationError, match="tenant"):
        router(path="/hook/<tenant>")


def test_a_prefix_with_a_variable_is_refused(tmp_path: Path) -> None:
    """A variable in a prefix around it is refused as well."""
    with pytest.raises(RegistrationError, match="tenant"):
        Flask(__name__, instance_path=str(tmp_path)).register_blueprint(router(), url_prefix="/<tenant>")


def test_a_handler_without_a_name(tmp_path: Path) -> None:
    """A callable object is a valid handler."""
    with receiving(tmp_path, partial(_record_for, "shop")) as receiver:
        assert receiver.deliver().status_code == 200
        assert receiver.effects == ["evt_1 of shop"]


@pytest.mark.parametrize("options", [{"keep_bodies": timedelta(0)}, {"keep_ids": 400 * DAYS}, {"mode": "enqueue"}])
def test_options_that_work(options: dict[str, Any], tmp_path: Path) -> None:
    """Bodies need not be kept, and ids may be kept for any time."""
    with receiving(tmp_path, **options) as receiver:
        assert receiver.deliver().status_code in (200, 202)
        assert len(receiver.bodies) == ("keep_bodies" not in options)


class Unprofiled(Provider):
    """A provider without a profile."""

    name = "unprofiled"

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Reject every delivery."""
        return False

    def read(self, delivery: Delivery) -> Content:
        """Return no event."""
        raise AssertionError("read")


def _record_for(shop: str, ctx: MutationCtx, event: WebhookEvent) -> None:
    ctx.db.insert(Effect(event=f"{event.id} of {shop}"))


def _fresh() -> Handler:
    """Return a handler that no other test decorates."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None: ...

    return handler
