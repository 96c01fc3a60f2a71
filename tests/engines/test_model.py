"""The database against a model in memory: whatever runs at the same time, it is as if one ran after the other.

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
from tests.engines.model import GATES, PATIENCE, Account, Gate, Order, Outcome, Rows, Size, Step, after, by_size, rows
from tests.sqlite.crews import wait_until, waiting

#: How many snapshots are open at once at most.
LOOKERS = 3

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

Answer = Outcome | ConvexHTTPError


class Bank(RuleBasedStateMachine):
    """Whatever is done at the same time, the accounts are what they would be had one been done after the other; a query
    sees one state of them all the while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.backend = Backend(Settings(), model.SCHEMA, model.FUNCTIONS, folder=self.folder)
        self.backend.migrate()
        self.ctx = self.backend.ctx()
        self.ctx.run_mutation(model.found)
        self.accounts: Rows = ()
        self.ids: set[Id[Account]] = set()
        self.lookers: list[tuple[Rows, Gate, Future[Rows]]] = []
        self.pool = ThreadPoolExecutor(8 + LOOKERS)
        self.over = threading.Event()
        self.watcher = self.pool.submit(self.watch)

    def teardown(self) -> None:
        self.over.set()
        for _, gate, _ in self.lookers:
            gate.opened.set()
        self.pool.shutdown()
        try:
            assert self.watcher.result() == {0}, "A query saw a transaction in its middle"
            for seen, _, looker in self.lookers:
                assert looker.result() == seen
            assert self.backend.engine.check() == []
        finally:
            GATES.clear()
            self.backend.close()
            shutil.rmtree(self.folder)

    # --- what goes on all the time -----------------------------------------------------------------------------------

    def watch(self) -> set[int]:
        """Query all the time; answers what was seen."""
        seen = {self.ctx.run_query(model.imbalance)}
        while not self.over.is_set():
            seen.add(self.ctx.run_query(model.imbalance))
            time.sleep(0.0005)
        return seen

    def gate(self) -> tuple[str, Gate]:
        """A new gate and its name."""
        gate = Gate()
        name = str(id(gate))
        GATES[name] = gate
        return name, gate

    # --- writing -----------------------------------------------------------------------------------------------------

    @rule(steps=TRANSACTIONS)
    def write(self, steps: list[Step]) -> None:
        """One transaction."""
        self.settle([steps], [self.perform(steps)])

    @rule(transactions=st.lists(TRANSACTIONS, min_size=2, max_size=6))
    def write_at_once(self, transactions: list[list[Step]]) -> None:
        """Several transactions by as many threads, at the same time."""
        self.settle(transactions, [future.result() for future in self.begin(transactions)])

    @rule(transactions=st.lists(TRANSACTIONS, min_size=2, max_size=6))
    def write_together(self, transactions: list[list[Step]]) -> None:
        """Several transactions that have all waited for the writer, and so are committed together; queries meanwhile do
        not wait."""
        name, gate = self.gate()
        holder = self.pool.submit(self.ctx.run_mutation, model.occupy, gate=name)
        assert gate.reached.wait(PATIENCE)
        futures = self.begin(transactions)
        wait_until(partial(self.are_waiting, len(futures)))
        assert rows(self.ctx.run_query(model.everything)) == self.accounts
        gate.opened.set()
        holder.result()
        self.settle(transactions, [future.result() for future in futures])

    def begin(self, transactions: list[list[Step]]) -> list[Future[Answer]]:
        return [self.pool.submit(self.perform, steps) for steps in transactions]

    def perform(self, steps: list[Step]) -> Answer:
        try:
            return self.ctx.run_mutation(model.perform, steps=steps)
        except ConvexHTTPError as error:
            return error

    def are_waiting(self, count: int) -> bool:
        engine = self.backend.engine
        assert isinstance(engine, SQLiteEngine)
        return waiting(engine) >= count

    def settle(self, transactions: list[list[Step]], answers: list[Answer]) -> None:
        """Do in memory what was done, in the order that it was done in; see that each was answered what it must be."""
        done = [
            (answer, steps) for steps, answer in zip(transactions, answers, strict=True) if isinstance(answer, Outcome)
        ]
        states = [self.accounts]
        for outcome, steps in sorted(done, key=lambda each: each[0].turn):
            states.append(after(states[-1], steps))
            assert rows(outcome.accounts) == states[-1]
            self.ids.update(account.id for account in outcome.accounts)
        self.accounts = states[-1]
        for steps, answer in zip(transactions, answers, strict=True):
            if isinstance(answer, ConvexHTTPError):
                assert any(is_refused(state, steps, answer) for state in states), answer

    # --- reading -----------------------------------------------------------------------------------------------------

    @invariant()
    def is_like_the_model(self) -> None:
        """All accounts are there, and no others, in the order of their age."""
        assert rows(self.ctx.run_query(model.everything)) == self.accounts

    @precondition(lambda self: len(self.lookers) < LOOKERS)
    @rule()
    def begin_to_look(self) -> None:
        """A query that will be in its middle for some time."""
        name, gate = self.gate()
        self.look(gate, lambda: self.ctx.run_query(model.look_slowly, gate=name))

    @precondition(lambda self: len(self.lookers) < LOOKERS and self.ids)
    @rule(data=st.data())
    def begin_to_get(self, data: st.DataObject) -> None:
        """The same with one that begins with a document, which may have been deleted."""
        document_id = data.draw(st.sampled_from(sorted(self.ids)))
        name, gate = self.gate()
        self.look(gate, lambda: self.ctx.run_query(model.get_slowly, gate=name, id=document_id))

    def look(self, gate: Gate, query: Callable[[], list[Account]]) -> None:
        looker = self.pool.submit(lambda: rows(query()))
        assert gate.reached.wait(PATIENCE)
        self.lookers.append((self.accounts, gate, looker))

    @precondition(lambda self: self.lookers)
    @rule(data=st.data())
    def end_looking(self, data: st.DataObject) -> None:
        """It has seen what was there when it began."""
        seen, gate, looker = self.lookers.pop(data.draw(st.integers(0, len(self.lookers) - 1)))
        gate.opened.set()
        assert looker.result() == seen

    @rule(size=SIZES, low=BALANCES, high=BALANCES, order=ORDERS, count=st.integers(0, 4))
    def look_at_a_range(self, size: Size, low: int, high: int, order: Order, count: int) -> None:
        """A range of an index, in its order."""
        found = self.ctx.run_query(model.of_size, size=size, low=low, high=high, order=order, count=count)
        fitting = [row for row in by_size(self.accounts, order) if row.size == size and low <= row.balance <= high]
        assert list(rows(found)) == fitting[:count]

    @rule(order=ORDERS, num_items=st.integers(1, 3))
    def turn_pages(self, order: Order, num_items: int) -> None:
        """All pages of a query with a filter, one query each."""
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
    def look_at_one(self, name: str) -> None:
        """The account of a name, if there is one."""
        found = self.ctx.run_query(model.named, name=name)
        assert rows([found] if found else []) == tuple(row for row in self.accounts if row.name == name)


def is_refused(state: Rows, steps: list[Step], refusal: ConvexHTTPError) -> bool:
    """Whether it is this error that must come of these steps in this state."""
    try:
        after(state, steps)
    except ConvexHTTPError as expected:
        return type(expected) is type(refusal) and getattr(expected, "data", 0) == getattr(refusal, "data", 0)
    return False


TestBank = Bank.TestCase
TestBank.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],  # what depends on how threads run is not to be shrunk
)
