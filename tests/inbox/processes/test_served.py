"""Simultaneous duplicates of deliveries to real servers, Flask's own and gunicorn with two workers, on one database."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import pytest

from flask_convex_http import ConvexError, MutationCtx
from flask_convex_http.schema.system_tables import ScheduledFunction
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.deliveries import Delivery
from tests.inbox.processes.senders import AT_ONCE, SENDERS, together
from tests.inbox.processes.servers import Deployment, Servers, serving
from tests.inbox.processes.shop import DECLINED, FLAKY, Effect, FollowUp, count
from tests.processes.servers import Response, Server
from tests.sqlite.crews import PATIENCE, wait_until
from tests.timing import is_above, is_below

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

COPIES = 16
#: Seconds after which Slack treats a delivery as failed.
SLACK_TIMEOUT = 3.0

either = pytest.mark.parametrize("kind", ["flask", "gunicorn"])
every = pytest.mark.parametrize("sender", AT_ONCE)


@pytest.fixture(name="servers", scope="module")
def _servers(tmp_path_factory: pytest.TempPathFactory, each_engine: str) -> Iterator[Servers]:
    with serving(tmp_path_factory.mktemp("shop")) as servers:
        yield servers
        wait_until(lambda: all(job.completed_time is not None for job in jobs(servers)))
        assert {job.state for job in jobs(servers)} <= {"success"}


def jobs(servers: Servers) -> list[ScheduledFunction]:
    """Return all scheduled functions."""
    return servers.deployment.rows(ScheduledFunction)


def new_event(**change: object) -> tuple[str, dict[str, object]]:
    """Return a new event of a new customer."""
    name = uuid4().hex
    return f"evt_{name}", {"customer": f"cus_{name}", "number": 0, **change}


def plain(answer: Response) -> tuple[int, bytes]:
    """Return the parts of a response that a sender sees."""
    return answer.status, answer.body


def deliver_until_accepted(server: Server, delivery: Delivery) -> Response:
    """Return the response. A delivery that waits for half of Slack's timeout, on a busy machine, is sent again."""
    while (answer := server.deliver(delivery)).status == 503:
        time.sleep(int(answer.headers["retry-after"]))
    return answer


# --- one after another -----------------------------------------------------------------------------------------------


@either
@every
def test_signed_by_the_vendors_library(kind: str, sender: str, servers: Servers) -> None:
    """A delivery signed by a vendor's library has its effect once, and a later duplicate none."""
    event_id, change = new_event()
    server = getattr(servers, kind)
    for _ in range(3):
        answer = server.deliver(SENDERS[sender](event_id, change))
        assert plain(answer) == (200, b"" if sender == "slack" else b"OK")  # Slack would show it to people
    assert len(servers.deployment.effects(event_id)) == 1
    assert len(servers.deployment.runs(event_id)) == 1


def test_duplicates_to_different_workers(servers: Servers) -> None:
    """A delivery that reaches all three processes runs in one of them only."""
    event_id, change = new_event(ticket=True)
    before = len(servers.gunicorn.output)
    first = servers.flask.deliver(SENDERS["stripe"](event_id, change))

    def both_have_answered() -> bool:
        again = servers.gunicorn.deliver(SENDERS["stripe"](event_id, change))
        assert plain(again) == plain(first)
        said = servers.gunicorn.output[before:]
        return all(f"Served by <{process}>" in said for process in servers.gunicorn.workers)

    wait_until(both_have_answered)
    assert len(servers.deployment.runs(event_id)) == len(servers.deployment.effects(event_id)) == 1


# --- at once ---------------------------------------------------------------------------------------------------------


@every
def test_duplicates_at_the_same_instant(sender: str, servers: Servers, each_engine: str) -> None:
    """Of sixteen simultaneous duplicates one has effects, and all others wait for it and get its response.

    Half of them go to each server. With a single writer none of the others runs.
    """
    event_id, change = new_event(ticket=True, takes=0.3)
    delivery = SENDERS[sender](event_id, change)
    answers = together(COPIES, lambda copy: deliver_until_accepted(servers.of(copy), delivery))
    assert {answer.status for answer in answers} == {201}
    assert {answer.body for answer in answers} == {answers[0].headers["x-ticket"].encode()}
    assert len({answer.headers["x-ticket"] for answer in answers}) == 1
    [effect] = servers.deployment.effects(event_id)
    runs = servers.deployment.runs(event_id)
    assert runs == [effect.process] or (effect.process in runs and each_engine == "postgres")


def test_second_duplicate_waits_while_the_first_one_runs(servers: Servers) -> None:
    """A duplicate that arrives while the handler runs in another process gets no response before the handler ends."""

    def seconds_of_second() -> float:
        event_id, change = new_event(ticket=True, takes=0.6)
        delivery = SENDERS["svix"](event_id, change)
        answers: list[Response] = []
        first = threading.Thread(target=lambda: answers.append(servers.flask.deliver(delivery)))
        first.start()
        wait_until(lambda: len(servers.deployment.runs(event_id)) == 1)
        start = time.monotonic()
        second = servers.gunicorn.deliver(delivery)
        seconds = time.monotonic() - start
        first.join(PATIENCE)
        assert plain(second) == plain(answers[0])
        assert len(servers.deployment.runs(event_id)) == 1
        return seconds

    assert is_above(0.3, seconds_of_second)


@pytest.mark.parametrize("fails", [1, 3])
def test_duplicates_of_what_fails_first(fails: int, servers: Servers, each_engine: str) -> None:
    """Of sixteen duplicates of a failing event, only the failed runs get a failure.

    The next one succeeds, and the rest get its response. So does a failed run that ends after it.
    """
    event_id, change = new_event(ticket=True, fails=fails)
    delivery = SENDERS["stripe"](event_id, change)
    answers = together(COPIES, lambda copy: servers.of(copy).deliver(delivery))
    failed = [answer.status for answer in answers if answer.status != 201]
    assert Counter(failed) <= Counter([FLAKY, DECLINED, FLAKY][:fails])
    assert len({answer.body for answer in answers if answer.status == 201}) == 1
    assert len(servers.deployment.effects(event_id)) == 1
    runs = len(servers.deployment.runs(event_id))
    assert runs == fails + 1 or (runs > fails + 1 and each_engine == "postgres")  # which rolls back the concurrent runs


# --- by a worker -----------------------------------------------------------------------------------------------------


@either
def test_handler_that_a_worker_runs(kind: str, servers: Servers) -> None:
    """Duplicates of an enqueued delivery all get 202, and a worker runs it and its scheduled work once."""
    event_id, change = new_event(fails=2)
    delivery = SENDERS["queued"](event_id, change)
    server = getattr(servers, kind)
    answers = together(4, lambda copy: server.deliver(delivery))
    assert {plain(answer) for answer in answers} == {(202, b"Accepted")}
    wait_until(lambda: any(row.event == event_id for row in servers.deployment.rows(FollowUp)))
    recorded = servers.deployment.delivery(event_id)
    assert recorded is not None
    assert recorded.state == "done"
    assert [attempt.outcome for attempt in recorded.attempts] == ["failed", "failed", "success"]
    assert len(servers.deployment.effects(event_id)) == 1
    assert len([row for row in servers.deployment.rows(FollowUp) if row.event == event_id]) == 1


def test_order_across_processes(servers: Servers) -> None:
    """Deliveries of one customer through all processes have their effects in the order of arrival, despite failures."""
    customers = [f"cus_{uuid4().hex}" for _ in range(3)]
    for number in range(8):
        for place, customer in enumerate(customers, number):
            event_id, change = new_event(customer=customer, number=number, fails=place % 3)
            assert servers.of(place).deliver(SENDERS["queued"](event_id, change)).status == 202

    def ours() -> list[Effect]:
        return [effect for effect in servers.deployment.rows(Effect) if effect.customer in customers]

    wait_until(lambda: len(ours()) == 8 * len(customers))
    assert [effect for effect in ours() if effect.after != effect.number - 1] == []


@either
def test_both_kinds_of_server_run_what_waits(kind: str, servers: Servers) -> None:
    """Each kind of server has a worker that runs a part of the enqueued deliveries."""
    others = set(servers.gunicorn.workers)

    def one_more() -> bool:
        event_id, change = new_event()
        assert getattr(servers, kind).deliver(SENDERS["queued"](event_id, change)).status == 202
        wait_until(lambda: servers.deployment.effects(event_id) != [])
        [effect] = servers.deployment.effects(event_id)
        return (effect.process in others) == (kind == "gunicorn")

    wait_until(one_more)


# --- a busy writer ----------------------------------------------------------------------------------------------------


@contextmanager
def busy(deployment: Deployment) -> Iterator[None]:
    """Hold another write that each handler must wait for, and roll it back."""
    begun, leave = threading.Event(), threading.Event()

    def hold(ctx: MutationCtx) -> None:
        count(ctx, "effects")
        begun.set()
        assert leave.wait(PATIENCE)
        raise ConvexError

    def work() -> None:
        with suppress(ConvexError):
            backend.runtime.transact(hold, backend.caller())

    with deployment.backend() as backend:
        holder = threading.Thread(target=work)
        holder.start()
        try:
            assert begun.wait(PATIENCE)
            yield
        finally:
            leave.set()
            holder.join(PATIENCE)


def seconds_of_refusal(servers: Servers, delivery: Delivery) -> float:
    """Return the seconds until all of four duplicates get 503."""
    start = time.monotonic()
    answers = together(4, lambda copy: servers.of(copy).deliver(delivery))
    seconds = time.monotonic() - start
    assert [(answer.status, int(answer.headers["retry-after"]) > 0) for answer in answers] == [(503, True)] * 4
    assert seconds > 1.0
    return seconds


def test_busy_writer(servers: Servers) -> None:
    """While another process writes for long, a delivery and its duplicate get 503 in time, and a retry runs once.

    The write takes longer than half of Slack's timeout.
    """
    assert servers.flask.deliver(SENDERS["slack"](*new_event())).status == 200  # so that there is a count to wait for
    event_id, change = new_event()
    delivery = SENDERS["slack"](event_id, change)
    with busy(servers.deployment):
        assert is_below(SLACK_TIMEOUT, lambda: seconds_of_refusal(servers, delivery))
    assert servers.deployment.delivery(event_id) is None
    assert servers.deployment.effects(event_id) == []
    assert [servers.of(copy).deliver(delivery).status for copy in range(2)] == [200, 200]
    assert len(servers.deployment.runs(event_id)) == len(servers.deployment.effects(event_id)) == 1


def test_known_delivery_needs_no_writer(servers: Servers) -> None:
    """A duplicate of a done delivery gets its response while another process writes, for which it would get 503."""
    event_id, change = new_event(ticket=True)
    delivery = SENDERS["slack"](event_id, change)
    first = servers.flask.deliver(delivery)
    with busy(servers.deployment):
        assert plain(servers.gunicorn.deliver(delivery)) == plain(first)
