"""Deliveries to real servers, Flask's own and gunicorn with two workers, on one database: copies of each at once, to
both, and what came of them.
"""

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
from tests.inbox.processes.senders import AT_ONCE, SENDERS, together
from tests.inbox.processes.servers import Deployment, Servers, serving
from tests.inbox.processes.shop import DECLINED, FLAKY, Effect, FollowUp, count
from tests.processes.servers import Answer
from tests.sqlite.crews import PATIENCE, wait_until

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

COPIES = 16
#: Seconds after which Slack takes a delivery for failed.
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
    """All that was scheduled."""
    return servers.deployment.rows(ScheduledFunction)


def new_event(**change: object) -> tuple[str, dict[str, object]]:
    """An event that nothing was heard of, of a customer of its own."""
    name = uuid4().hex
    return f"evt_{name}", {"customer": f"cus_{name}", "number": 0, **change}


def plain(answer: Answer) -> tuple[int, bytes]:
    """What a sender sees of an answer."""
    return answer.status, answer.body


# --- one after another -----------------------------------------------------------------------------------------------


@either
@every
def test_signed_by_the_vendors_library(kind: str, sender: str, servers: Servers) -> None:
    """What a vendor's library signs has its effect, and a copy that comes later none, under both servers."""
    event_id, change = new_event()
    server = getattr(servers, kind)
    for _ in range(3):
        answer = server.deliver(SENDERS[sender](event_id, change))
        assert plain(answer) == (200, b"" if sender == "slack" else b"OK")  # Slack would show it to people
    assert len(servers.deployment.effects(event_id)) == 1
    assert len(servers.deployment.runs(event_id)) == 1


def test_copies_to_different_workers(servers: Servers) -> None:
    """A delivery that has reached all three processes has run in one of them only."""
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
def test_copies_at_the_same_instant(sender: str, servers: Servers, each_engine: str) -> None:
    """Sixteen copies at once, half to each server: one has its effects, the others wait for it, however long it takes,
    and all are answered what it answers. Where one transaction writes at a time, none of the others runs."""
    event_id, change = new_event(ticket=True, takes=0.3)
    delivery = SENDERS[sender](event_id, change)
    answers = together(COPIES, lambda copy: servers.of(copy).deliver(delivery))
    assert {answer.status for answer in answers} == {201}
    assert {answer.body for answer in answers} == {answers[0].headers["x-ticket"].encode()}
    assert len({answer.headers["x-ticket"] for answer in answers}) == 1
    [effect] = servers.deployment.effects(event_id)
    runs = servers.deployment.runs(event_id)
    assert runs == [effect.process] or (effect.process in runs and each_engine == "postgres")


def test_second_copy_waits_while_the_first_one_runs(servers: Servers) -> None:
    """A copy that comes while the handler runs in another process is not answered before that one has ended."""
    event_id, change = new_event(ticket=True, takes=0.6)
    delivery = SENDERS["svix"](event_id, change)
    answers: list[Answer] = []
    first = threading.Thread(target=lambda: answers.append(servers.flask.deliver(delivery)))
    first.start()
    wait_until(lambda: len(servers.deployment.runs(event_id)) == 1)
    start = time.monotonic()
    second = servers.gunicorn.deliver(delivery)
    assert time.monotonic() - start > 0.3
    first.join(PATIENCE)
    assert plain(second) == plain(answers[0])
    assert len(servers.deployment.runs(event_id)) == 1


@pytest.mark.parametrize("fails", [1, 3])
def test_copies_of_what_fails_first(fails: int, servers: Servers, each_engine: str) -> None:
    """Of sixteen copies at once as many are told of a failure as failed, but for those that hear of one that was
    quicker; the next one runs, and the rest are answered as it was."""
    event_id, change = new_event(ticket=True, fails=fails)
    delivery = SENDERS["stripe"](event_id, change)
    answers = together(COPIES, lambda copy: servers.of(copy).deliver(delivery))
    failed = [answer.status for answer in answers if answer.status != 201]
    told = Counter([FLAKY, DECLINED, FLAKY][:fails])
    assert Counter(failed) == told or (Counter(failed) < told and each_engine == "postgres")
    assert len({answer.body for answer in answers if answer.status == 201}) == 1
    assert len(servers.deployment.effects(event_id)) == 1
    runs = len(servers.deployment.runs(event_id))
    assert runs == fails + 1 or (runs > fails + 1 and each_engine == "postgres")  # which undoes what has run beside


# --- by a worker -----------------------------------------------------------------------------------------------------


@either
def test_handler_that_a_worker_runs(kind: str, servers: Servers) -> None:
    """Copies at once of what is only recorded are all answered 202; a worker runs it until it succeeds, and what
    that schedules, once."""
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
    """Deliveries of one customer that come in through all processes have their effects in the order in which they came,
    though some fail first."""
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
    """Each kind of server has a worker that takes its part of what is only recorded."""
    others = set(servers.gunicorn.workers)

    def one_more() -> bool:
        event_id, change = new_event()
        assert getattr(servers, kind).deliver(SENDERS["queued"](event_id, change)).status == 202
        wait_until(lambda: servers.deployment.effects(event_id) != [])
        [effect] = servers.deployment.effects(event_id)
        return (effect.process in others) == (kind == "gunicorn")

    wait_until(one_more)


# --- when nobody can write -------------------------------------------------------------------------------------------


@contextmanager
def busy(deployment: Deployment) -> Iterator[None]:
    """Somebody else is in the middle of a write that each handler has to wait for; it comes to nothing."""
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


def test_busy_writer(servers: Servers) -> None:
    """While another process writes for longer than half of the time that Slack waits, a delivery and its copy are told
    in time to come back, and leave nothing; when they come back, one runs."""
    assert servers.flask.deliver(SENDERS["slack"](*new_event())).status == 200  # so that there is a count to wait for
    event_id, change = new_event()
    delivery = SENDERS["slack"](event_id, change)
    with busy(servers.deployment):
        start = time.monotonic()
        answers = together(4, lambda copy: servers.of(copy).deliver(delivery))
        assert 1.0 < time.monotonic() - start < SLACK_TIMEOUT
    assert [(answer.status, int(answer.headers["retry-after"]) > 0) for answer in answers] == [(503, True)] * 4
    assert servers.deployment.delivery(event_id) is None
    assert servers.deployment.effects(event_id) == []
    assert [servers.of(copy).deliver(delivery).status for copy in range(2)] == [200, 200]
    assert len(servers.deployment.runs(event_id)) == len(servers.deployment.effects(event_id)) == 1


def test_known_delivery_needs_no_writer(servers: Servers) -> None:
    """A copy of what is done is answered at once while another process writes."""
    event_id, change = new_event(ticket=True)
    delivery = SENDERS["slack"](event_id, change)
    first = servers.flask.deliver(delivery)
    with busy(servers.deployment):
        start = time.monotonic()
        again = servers.gunicorn.deliver(delivery)
        assert time.monotonic() - start < 1.0
    assert plain(again) == plain(first)
