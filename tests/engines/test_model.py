"""The database against a model in memory: concurrent transactions have the effects of some serial order.

The tables, the functions and the model are in `model`.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flask_convex_http import ConvexHTTPError, Id, Page
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.engines import model
from tests.engines.model import GATES, TIMEOUT, Account, Gate, Order, Outcome, Rows, Size, Step, after, by_size, rows
from tests.lengths import SAMPLED, examples
from tests.sqlite.crews import wait_until, waiting

#: Maximum number of queries that run at the same time.
SLOW_QUERIES = 3

NAMES = st.sampled_from("abcd")
BALANCES = st.integers(-3, 3)
SIZES = st.sampled_from([None, "large", "small"])
ORDERS = st.sampled_from(["asc", "desc"])
CHANGES = st.builds(
    Step,
    do=st.sampled_from(["open", "open", "open", "patch", "replace", "delete"]),
    name=NAMES,
    new_name=NAMES,
    balance=BALANCES,
    size=SIZES,
)
FAILURES = st.just(Step("fail"))
STEPS = st.recursive(
    CHANGES | FAILURES,
    lambda steps: st.builds(Step, do=st.just("part"), steps=st.lists(steps, max_size=3).map(tuple)),
    max_leaves=6,
)
TRANSACTIONS = st.lists(CHANGES | CHANGES | STEPS, min_size=1, max_size=3)

Result = Outcome | ConvexHTTPError


class Bank(RuleBasedStateMachine):
    """Concurrent transactions leave the accounts that some serial order leaves, and each query sees one state."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.backend = Backend(Settings(), model.SCHEMA, model.FUNCTIONS, folder=self.folder)
        self.backend.migrate()
        self.ctx = self.backend.ctx()
        self.ctx.run_mutation(model.create_vault)
        self.accounts: Rows = ()
        self.ids: set[Id[Account]] = set()
        self.slow_queries: list[tuple[Rows, Gate, Future[Rows]]] = []
        self.pool = ThreadPoolExecutor(8 + SLOW_QUERIES)
        self.over = threading.Event()
        self.watcher = self.pool.submit(self.watch)

    def teardown(self) -> None:
        self.over.set()
        for _, gate, _ in self.slow_queries:
            gate.opened.set()
        self.pool.shutdown()
        try:
            assert self.watcher.result() == {0}, "A query saw half of a transaction"
            for expected, _, query in self.slow_queries:
                assert query.result() == expected
            assert self.backend.engine.check() == []
        finally:
            GATES.clear()
            self.backend.close()
            shutil.rmtree(self.folder)

    # --- in the background -------------------------------------------------------------------------------------------

    def watch(self) -> set[int]:
        """Query the imbalance until the end, and return the values."""
        seen = {self.ctx.run_query(model.imbalance)}
        while not self.over.is_set():
            seen.add(self.ctx.run_query(model.imbalance))
            time.sleep(0.0005)
        return seen

    def gate(self) -> tuple[str, Gate]:
        """Return a new gate and its name."""
        gate = Gate()
        name = str(id(gate))
        GATES[name] = gate
        return name, gate

    # --- writing -----------------------------------------------------------------------------------------------------

    @rule(steps=TRANSACTIONS)
    def write(self, steps: list[Step]) -> None:
        """Run one transaction."""
        self.apply([steps], [self.perform(steps)])

    @rule(transactions=st.lists(TRANSACTIONS, min_size=2, max_size=6))
    def write_at_once(self, transactions: list[list[Step]]) -> None:
        """Run transactions concurrently, each in a thread."""
        self.apply(transactions, [future.result() for future in self.begin(transactions)])

    @rule(transactions=st.lists(TRANSACTIONS, min_size=2, max_size=6))
    def write_as_a_group(self, transactions: list[list[Step]]) -> None:
        """Run transactions that all wait for the writer, so that one group commit has them. A query does not wait."""
        name, gate = self.gate()
        holder = self.pool.submit(self.ctx.run_mutation, model.occupy, gate=name)
        assert gate.reached.wait(TIMEOUT)
        futures = self.begin(transactions)
        wait_until(partial(self.are_waiting, len(futures)))
        assert rows(self.ctx.run_query(model.everything)) == self.accounts
        gate.opened.set()
        holder.result()
        self.apply(transactions, [future.result() for future in futures])

    def begin(self, transactions: list[list[Step]]) -> list[Future[Result]]:
        return [self.pool.submit(self.perform, steps) for steps in transactions]

    def perform(self, steps: list[Step]) -> Result:
        try:
            return self.ctx.run_mutation(model.perform, steps=steps)
        except ConvexHTTPError as error:
            return error

    def are_waiting(self, count: int) -> bool:
        engine = self.backend.engine
        assert isinstance(engine, SQLiteEngine)
        return waiting(engine) >= count

    def apply(self, transactions: list[list[Step]], results: list[Result]) -> None:
        """Apply the transactions to the model in the order of their turns, and check the results."""
        done = [
            (result, steps) for steps, result in zip(transactions, results, strict=True) if isinstance(result, Outcome)
        ]
        states = [self.accounts]
        for outcome, steps in sorted(done, key=lambda each: each[0].turn):
            states.append(after(states[-1], steps))
            assert rows(outcome.accounts) == states[-1]
            self.ids.update(account.id for account in outcome.accounts)
        self.accounts = states[-1]
        for steps, result in zip(transactions, results, strict=True):
            if isinstance(result, ConvexHTTPError):
                assert any(raises(state, steps, result) for state in states), result

    # --- reading -----------------------------------------------------------------------------------------------------

    @invariant()
    def is_like_the_model(self) -> None:
        """Check that the database has the accounts of the model, in the order of their age."""
        assert rows(self.ctx.run_query(model.everything)) == self.accounts

    @precondition(lambda self: len(self.slow_queries) < SLOW_QUERIES)
    @rule()
    def begin_slow_query(self) -> None:
        """Begin a query that waits between its reads."""
        name, gate = self.gate()
        self.begin_query(gate, lambda: self.ctx.run_query(model.read_slowly, gate=name))

    @precondition(lambda self: len(self.slow_queries) < SLOW_QUERIES and self.ids)
    @rule(data=st.data())
    def begin_slow_get(self, data: st.DataObject) -> None:
        """Begin a query that gets a document first, which may have been deleted, and then waits."""
        document_id = data.draw(st.sampled_from(sorted(self.ids)))
        name, gate = self.gate()
        self.begin_query(gate, lambda: self.ctx.run_query(model.get_slowly, gate=name, id=document_id))

    def begin_query(self, gate: Gate, query: Callable[[], list[Account]]) -> None:
        future = self.pool.submit(lambda: rows(query()))
        assert gate.reached.wait(TIMEOUT)
        self.slow_queries.append((self.accounts, gate, future))

    @precondition(lambda self: self.slow_queries)
    @rule(data=st.data())
    def end_slow_query(self, data: st.DataObject) -> None:
        """End a query, which must have seen the accounts of its beginning."""
        expected, gate, query = self.slow_queries.pop(data.draw(st.integers(0, len(self.slow_queries) - 1)))
        gate.opened.set()
        assert query.result() == expected

    @rule(size=SIZES, low=BALANCES, high=BALANCES, order=ORDERS, count=st.integers(0, 4))
    def query_a_range(self, size: Size, low: int, high: int, order: Order, count: int) -> None:
        """Query a range of an index, in its order."""
        found = self.ctx.run_query(model.of_size, size=size, low=low, high=high, order=order, count=count)
        fitting = [row for row in by_size(self.accounts, order) if row.size == size and low <= row.balance <= high]
        assert list(rows(found)) == fitting[:count]

    @rule(order=ORDERS, num_items=st.integers(1, 3))
    def query_pages(self, order: Order, num_items: int) -> None:
        """Query all pages of a filtered index, one after another."""
        pages: list[Page[Account]] = []
        cursor = None
        while not pages or not pages[-1].is_done:
            page = self.ctx.run_query(model.page_of_odd, order=order, num_items=num_items, cursor=cursor)
            pages.append(page)
            cursor = page.continue_cursor
        found = [row for page in pages for row in rows(page.page)]
        assert found == [row for row in by_size(self.accounts, order) if row.balance % 2]
        assert all(len(page.page) == num_items for page in pages[:-1])

    @rule(name=NAMES)
    def query_one(self, name: str) -> None:
        """Query the account with a name, which may not exist."""
        found = self.ctx.run_query(model.named, name=name)
        assert rows([found] if found else []) == tuple(row for row in self.accounts if row.name == name)


def raises(state: Rows, steps: list[Step], error: ConvexHTTPError) -> bool:
    """Return whether the model raises the same error for these steps in this state."""
    try:
        after(state, steps)
    except ConvexHTTPError as expected:
        return type(expected) is type(error) and getattr(expected, "data", 0) == getattr(error, "data", 0)
    return False


TestBank = SAMPLED(Bank.TestCase)
TestBank.settings = settings(
    max_examples=examples(30),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],  # failures that depend on the timing of threads cannot be shrunk
)
