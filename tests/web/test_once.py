"""What clients are told where a handler makes a call once."""

from pathlib import Path

from flask import Request

from flask_convex_http import ActionCtx, HttpRouter
from tests.services import Service, begin
from tests.web.apps import backend_of, deployed


def router(service: Service) -> HttpRouter:
    http = HttpRouter("http", __name__)

    @http.post(path_prefix="/pay/")
    def pay(ctx: ActionCtx, request: Request, suffix: str) -> dict[str, str]:
        return {"charge": ctx.once(suffix, service)}

    return http


def test_same_answer(tmp_path: Path) -> None:
    """A request that is sent again gets the answer of the first one, and the call is not made again."""
    service = Service("ch_1")
    with deployed(tmp_path, router(service)) as app:
        answers = [app.test_client().post("/pay/order_17") for _ in range(2)]
    assert [(answer.status_code, answer.json) for answer in answers] == [(200, {"charge": "ch_1"})] * 2
    assert len(service.tokens) == 1


def test_call_in_progress(tmp_path: Path) -> None:
    """A client whose call is being made elsewhere is asked to come back."""
    with deployed(tmp_path, router(Service())) as app:
        begin(backend_of(app), "order_17", "another process")
        answer = app.test_client().post("/pay/order_17")
    assert answer.status_code == 409
    assert int(answer.headers["Retry-After"]) > 0


def test_wrong_key(tmp_path: Path) -> None:
    """What a client sends cannot make a key that fails in here: an empty or a very long one is the client's fault."""
    with deployed(tmp_path, router(Service())) as app:
        answers = [app.test_client().post(f"/pay/{suffix}") for suffix in ("", "x" * 1001)]
    assert [answer.status_code for answer in answers] == [400, 400]
