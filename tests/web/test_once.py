"""Responses of handlers that call `ctx.once`."""

from pathlib import Path

from flask import Request

from flask_convex_http import ActionCtx, HttpRouter
from tests.services import Service, insert_started_call
from tests.web.apps import backend_of, deployed


def router(service: Service) -> HttpRouter:
    http = HttpRouter("http", __name__)

    @http.post(path_prefix="/pay/")
    def pay(ctx: ActionCtx, request: Request, suffix: str) -> dict[str, str]:
        return {"charge": ctx.once(suffix, service)}

    return http


def test_repeated_request_returns_the_first_result(tmp_path: Path) -> None:
    """A repeated request returns the first result without a second call."""
    service = Service("ch_1")
    with deployed(tmp_path, router(service)) as app:
        responses = [app.test_client().post("/pay/order_17") for _ in range(2)]
    assert [(response.status_code, response.json) for response in responses] == [(200, {"charge": "ch_1"})] * 2
    assert len(service.tokens) == 1


def test_call_in_progress_is_409(tmp_path: Path) -> None:
    """While the call is in progress elsewhere the response is a 409 with Retry-After."""
    with deployed(tmp_path, router(Service())) as app:
        insert_started_call(backend_of(app), "order_17", "another process")
        response = app.test_client().post("/pay/order_17")
    assert response.status_code == 409
    assert int(response.headers["Retry-After"]) > 0


def test_invalid_key_is_400(tmp_path: Path) -> None:
    """An empty or a very long key is the client's error, a 400."""
    with deployed(tmp_path, router(Service())) as app:
        responses = [app.test_client().post(f"/pay/{suffix}") for suffix in ("", "x" * 1001)]
    assert [response.status_code for response in responses] == [400, 400]
