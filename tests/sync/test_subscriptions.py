"""Which queries run, and for whom their results are."""

import contextlib
import itertools
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.sync.read_sets import ReadRange, ReadSet
from flask_convex_http.sync.submissions import Call, Outcome, Ran, Submission
from flask_convex_http.sync.subscriptions import Subscriptions
from tests.lengths import SAMPLED, examples

LIST, WHOAMI = Call("items:list", b"[{}]"), Call("users:whoami", b"[{}]")
_RANGE = ReadRange("items", (), ())


class Identity(msgspec.Struct, frozen=True):
    """An identity.

    Attributes:
        key: Its name.
        may_share: Whether it may have the results of others.
    """

    key: str
    may_share: bool = True


class Functions:
    """Functions that ask for the identity, or do not, and that count their runs."""

    def __init__(self) -> None:
        self.runs: list[tuple[Call, str]] = []
        self.asking = {WHOAMI}
        self.revision = 0

    def __call__(self, call: Call, identity: Any, journal: str | None) -> Ran:
        """Run a function."""
        self.runs.append((call, identity.key))
        asks = call in self.asking
        value = f'"{identity.key if asks else self.revision}"'.encode()
        return Ran(Outcome(value=value, digest=value), ReadSet(ranges=frozenset([_RANGE])), asks)


def subscribe(subscriptions: Subscriptions, run: Functions, client: str, identity: Identity, *calls: Call) -> None:
    """Subscribe a client to queries and run them."""
    subscriptions.apply(Submission(client, identity, dict(enumerate(calls))))
    subscriptions.run_stale(run)


def change(subscriptions: Subscriptions, run: Functions) -> None:
    """Run the queries that a changed row concerns."""
    subscriptions.mark_stale(subscriptions.index.concerned("items", "x", None, ["x", 0.0]))
    subscriptions.run_stale(run)


def news(subscriptions: Subscriptions) -> dict[tuple[Any, int], bytes | None]:
    """Return the news for clients."""
    return {(client, query_id): outcome.value for client, query_id, outcome in subscriptions.take_news()}


ANNA, BERT = Identity("anna"), Identity("bert")


def test_a_query_runs_once_for_all_clients() -> None:
    """A query that does not ask for the identity runs once for clients of several identities."""
    subscriptions, run = Subscriptions(), Functions()
    for client, identity in (("a", ANNA), ("b", BERT), ("c", ANNA)):
        subscribe(subscriptions, run, client, identity, LIST)
    assert run.runs == [(LIST, "anna")]
    assert news(subscriptions) == {("a", 0): b'"0"', ("b", 0): b'"0"', ("c", 0): b'"0"'}
    run.revision = 1
    change(subscriptions, run)
    assert len(run.runs) == 2
    assert set(news(subscriptions).values()) == {b'"1"'}


def test_clients_that_come_together_share_a_run() -> None:
    """Two identities that subscribe in one round share the run of a query that does not ask."""
    subscriptions, run = Subscriptions(), Functions()
    subscriptions.apply(Submission("a", ANNA, {0: LIST}))
    subscriptions.apply(Submission("b", BERT, {0: LIST}))
    subscriptions.run_stale(run)
    assert len(run.runs) == 1
    assert len(news(subscriptions)) == 2


def test_a_query_that_asks_runs_for_each_identity() -> None:
    """A query that asks for the identity runs once for each, and no client gets the result of another identity."""
    subscriptions, run = Subscriptions(), Functions()
    for client, identity in (("a", ANNA), ("b", BERT), ("c", ANNA)):
        subscribe(subscriptions, run, client, identity, WHOAMI)
    assert run.runs == [(WHOAMI, "anna"), (WHOAMI, "bert")]
    assert news(subscriptions) == {("a", 0): b'"anna"', ("b", 0): b'"bert"', ("c", 0): b'"anna"'}


def test_a_query_that_begins_to_ask_is_split() -> None:
    """A shared query that asks for the identity from a run on has a result for each identity."""
    subscriptions, run = Subscriptions(), Functions()
    for client, identity in (("a", ANNA), ("b", BERT), ("c", BERT)):
        subscribe(subscriptions, run, client, identity, LIST)
    news(subscriptions)
    run.asking.add(LIST)
    change(subscriptions, run)
    assert news(subscriptions) == {("a", 0): b'"anna"', ("b", 0): b'"bert"', ("c", 0): b'"bert"'}
    change(subscriptions, run)
    assert sorted(run.runs[-2:]) == [(LIST, "anna"), (LIST, "bert")]


def test_a_split_query_whose_first_client_has_left_goes_on() -> None:
    """A shared query may be split after the client whose identity it ran with is gone."""
    subscriptions, run = Subscriptions(), Functions()
    subscribe(subscriptions, run, "a", ANNA, LIST)
    subscribe(subscriptions, run, "b", BERT, LIST)
    subscriptions.apply(Submission("a", is_end=True))
    news(subscriptions)
    run.asking.add(LIST)
    change(subscriptions, run)
    assert news(subscriptions) == {("b", 0): b'"bert"'}
    subscriptions.apply(Submission("b", is_end=True))
    assert not subscriptions
    assert not subscriptions.index.watches("items", "x")


def test_a_new_identity_has_new_results() -> None:
    """A client that changes its identity gets the results of the queries that ask for it."""
    subscriptions, run = Subscriptions(), Functions()
    subscribe(subscriptions, run, "a", ANNA, LIST, WHOAMI)
    news(subscriptions)
    subscriptions.apply(Submission("a", BERT))
    subscriptions.run_stale(run)
    assert news(subscriptions)["a", 1] == b'"bert"'
    assert run.runs == [(LIST, "anna"), (WHOAMI, "anna"), (WHOAMI, "bert")]


def test_a_new_identity_has_the_results_of_its_other_client() -> None:
    """A client that changes to the identity of another client gets the results that this one has."""
    subscriptions, run = Subscriptions(), Functions()
    subscribe(subscriptions, run, "a", ANNA, WHOAMI)
    subscribe(subscriptions, run, "b", BERT, WHOAMI)
    news(subscriptions)
    subscriptions.apply(Submission("a", BERT))
    subscriptions.run_stale(run)
    assert news(subscriptions) == {("a", 0): b'"bert"'}
    assert len(run.runs) == 2


def test_an_administrator_shares_nothing() -> None:
    """An identity that may call internal functions neither gives its results to others nor gets theirs."""
    subscriptions, run = Subscriptions(), Functions()
    subscribe(subscriptions, run, "a", Identity("admin", may_share=False), LIST)
    subscribe(subscriptions, run, "b", BERT, LIST)
    subscribe(subscriptions, run, "c", Identity("admin 2", may_share=False), LIST)
    assert [key for _, key in run.runs] == ["admin", "bert", "admin 2"]


def test_a_failure_of_the_database_keeps_what_must_run() -> None:
    """A run that raises leaves its query, and those after it, for the next round."""
    subscriptions, run = Subscriptions(), Functions()
    subscriptions.apply(Submission("a", ANNA, {0: LIST, 1: WHOAMI}))

    def fail(*_: Any) -> Ran:
        raise OSError

    try:
        subscriptions.run_stale(fail)
    except OSError:
        assert subscriptions.has_stale
    subscriptions.run_stale(run)
    assert len(news(subscriptions)) == 2


def test_a_client_that_has_left_leaves_nothing() -> None:
    """When the last client of a query leaves, nothing of it stays."""
    subscriptions, run = Subscriptions(), Functions()
    subscribe(subscriptions, run, "a", ANNA, LIST, WHOAMI)
    subscriptions.apply(Submission("a", ANNA, removed=(0,)))
    subscriptions.apply(Submission("a", is_end=True))
    assert not subscriptions
    assert not subscriptions.index.watches("items", "x")
    assert subscriptions.take_news() == []


_CLIENTS = st.sampled_from("ab")
_STEPS = st.one_of(
    st.tuples(st.just("add"), _CLIENTS, st.sampled_from([WHOAMI, LIST])),
    st.tuples(st.just("remove"), _CLIENTS, st.integers(0, 5)),
    st.tuples(st.just("identify"), _CLIENTS, st.sampled_from([BERT, ANNA, Identity("admin", may_share=False)])),
    st.tuples(st.just("end"), _CLIENTS, st.none()),
    st.tuples(st.just("change"), st.none(), st.none()),
    st.tuples(st.just("toggle"), st.none(), st.sampled_from([WHOAMI, LIST])),
    st.tuples(st.just("fail"), st.none(), st.none()),
    st.tuples(st.just("round"), st.none(), st.none()),
)


#: Two clients with different identities, each with both queries.
_START = [
    ("identify", "b", BERT),
    *(("add", client, call) for client in "ab" for call in (LIST, WHOAMI)),
    ("round", None, None),
]


class Model:
    """The results that each client should have, computed without sharing."""

    def __init__(self) -> None:
        self.subscriptions = Subscriptions()
        self.run = Functions()
        self.identities: dict[str, Identity] = {}
        self.queries: dict[tuple[str, int], Call] = {}
        self.known: dict[tuple[str, int], bytes | None] = {}
        self._next = 0

    def step(self, kind: str, client: Any, value: Any) -> None:
        """Do one step."""
        identity = self.identities.setdefault(client, ANNA) if client else ANNA
        if kind == "add":
            self._next += 1
            self.queries[client, self._next] = value
            self.subscriptions.apply(Submission(client, identity, {self._next: value}))
        elif kind == "remove":
            own = [query_id for owner, query_id in self.queries if owner == client]
            if own:
                query_id = own[value % len(own)]
                self._forget((client, query_id))
                self.subscriptions.apply(Submission(client, identity, removed=(query_id,)))
        elif kind == "identify":
            self.identities[client] = value
            self.subscriptions.apply(Submission(client, value))
        elif kind == "end":
            for key in [key for key in self.queries if key[0] == client]:
                self._forget(key)
            del self.identities[client]
            self.subscriptions.apply(Submission(client, is_end=True))
        elif kind in ("change", "toggle"):
            self.run.asking ^= {value} if kind == "toggle" else set()
            self.run.revision += 1
            self.subscriptions.mark_stale(self.subscriptions.index.concerned("items", "x", None, ["x", 0.0]))
        elif kind == "fail":
            with contextlib.suppress(OSError):
                self.subscriptions.run_stale(self._fail_second())
        else:
            self.check()

    def check(self) -> None:
        """Run a round, and check the results of all clients."""
        self.subscriptions.run_stale(self.run)
        self.known |= news(self.subscriptions)
        assert self.known == {key: self._expected(*key) for key in self.queries}

    def _expected(self, client: str, query_id: int) -> bytes:
        asks = self.queries[client, query_id] in self.run.asking
        return f'"{self.identities[client].key if asks else self.run.revision}"'.encode()

    def _forget(self, key: tuple[str, int]) -> None:
        del self.queries[key]
        self.known.pop(key, None)

    def _fail_second(self) -> Any:
        runs = itertools.count()

        def run(*arguments: Any) -> Ran:
            if next(runs):
                raise OSError
            return self.run(*arguments)

        return run


@SAMPLED
@settings(max_examples=examples(2000, sample=100), deadline=None)
@given(st.lists(_STEPS, max_size=25))
def test_sharing_shows_in_no_result(steps: list[tuple[str, Any, Any]]) -> None:
    """After any steps, each client knows the result of its own identity, and nothing is left when all have left."""
    model = Model()
    for step in (*_START, *steps):
        model.step(*step)
    model.check()
    for client in list(model.identities):
        model.step("end", client, None)
    model.check()
    assert not model.subscriptions
    assert not model.subscriptions.index.watches("items", "x")
