"""The queries that clients subscribe to, and which of them must run.

A query runs once for all clients with the same arguments. If it asks for the identity, it runs once for each identity.
That is known after a run, and may change with the next: a shared query that asks is split then.

It belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import msgspec

from flask_convex_http.sync.range_index import RangeIndex
from flask_convex_http.sync.read_sets import ReadSet
from flask_convex_http.sync.submissions import Call, Identity, Outcome, Ran, Submission

#: A client and its id of a query.
Subscriber = tuple[Hashable, int]
#: Runs a query with an identity. The text is the journal of its last run.
RunQuery = Callable[[Call, Any, str | None], Ran]


class Statistics(msgspec.Struct):
    """The counts of runs, for tests and benchmarks.

    Attributes:
        runs: The runs of queries.
        unchanged: Those that were not the first ones, and whose results were as before.
    """

    runs: int = 0
    unchanged: int = 0


class LiveQuery:
    """A query with the clients that subscribe to it.

    Args:
        call: The query.
        identity: The identity that it runs with.

    Attributes:
        is_shared: Whether clients of all identities subscribe to it, since it does not ask for the identity.
        outcome: Its last result, None before its first run.
        reads: What its last run has read.
        subscribers: Its subscribers with their identities.
    """

    __slots__ = ("call", "identity", "is_shared", "outcome", "reads", "subscribers")

    def __init__(self, call: Call, identity: Identity) -> None:
        self.call = call
        self.identity = identity
        self.is_shared = False
        self.outcome: Outcome | None = None
        self.reads = ReadSet()
        self.subscribers: dict[Subscriber, Identity] = {}


class Subscriptions:
    """The live queries of a process.

    Attributes:
        index: Finds the queries that a changed row concerns.
        unlogged: The queries that have read tables without a commit log.
        statistics: The counts of runs.
    """

    def __init__(self) -> None:
        self.index: RangeIndex[LiveQuery] = RangeIndex()
        self.unlogged: dict[LiveQuery, None] = {}
        self.statistics = Statistics()
        self._shared: dict[Call, LiveQuery] = {}
        self._own: dict[tuple[Call, Hashable], LiveQuery] = {}
        self._clients: dict[Hashable, dict[int, LiveQuery]] = {}
        self._stale: dict[LiveQuery, None] = {}
        self._news: dict[Subscriber, None] = {}

    def __len__(self) -> int:
        """Return the number of queries that clients subscribe to. One that several clients share counts once."""
        return len(self._shared) + len(self._own)

    @property
    def has_stale(self) -> bool:
        """Whether a query must run."""
        return bool(self._stale)

    def queries(self) -> list[LiveQuery]:
        """Return all queries."""
        return [*self._shared.values(), *self._own.values()]

    def mark_stale(self, queries: Iterable[LiveQuery]) -> None:
        """Let queries run again."""
        self._stale |= dict.fromkeys(queries)

    def apply(self, submission: Submission) -> None:
        """Change the subscriptions of a client."""
        client, identity = submission.client, submission.identity
        own = self._clients.setdefault(client, {})
        for query_id in own if submission.is_end else submission.removed:
            if query_id in own:
                self._leave(own[query_id], (client, query_id))
        if submission.is_end:
            del self._clients[client]
            return
        for query_id in submission.removed:
            own.pop(query_id, None)
        for query_id, query in list(own.items()):
            if query.subscribers[client, query_id].key != identity.key:
                own[query_id] = self._move(query, (client, query_id), identity)
        for query_id, call in submission.added.items():
            own[query_id] = self._join(call, (client, query_id), identity)

    def run_stale(self, run: RunQuery) -> None:
        """Run the queries that must run. An exception leaves those that have not."""
        while self._stale:
            query = next(iter(self._stale))
            if query.subscribers and not self._has_joined_shared(query):
                journal = query.call.journal if query.outcome is None else query.outcome.journal
                ran = run(query.call, query.identity, journal)
                self.statistics.runs += 1
                self._accept(query, ran)
            self._stale.pop(query, None)

    def take_news(self) -> list[tuple[Hashable, int, Outcome]]:
        """Return the results that subscribers do not have yet, each with the client and its id of the query."""
        news, self._news = self._news, {}
        found = []
        for client, query_id in news:
            query = self._clients.get(client, {}).get(query_id)
            if query is not None and query.outcome is not None:
                found.append((client, query_id, query.outcome))
        return found

    # --- joining and leaving -----------------------------------------------------------------------------------------

    def _join(self, call: Call, subscriber: Subscriber, identity: Identity) -> LiveQuery:
        query = self._shared.get(call) if identity.may_share else None
        if query is None:
            query = self._own.get((call, identity.key))
        if query is None:
            query = self._own[call, identity.key] = LiveQuery(call, identity)
            self._stale[query] = None
        query.subscribers[subscriber] = identity
        self._news[subscriber] = None
        return query

    def _move(self, query: LiveQuery, subscriber: Subscriber, identity: Identity) -> LiveQuery:
        """Let a subscriber run a query with another identity."""
        new = self._join(query.call, subscriber, identity)
        if new is not query:
            self._leave(query, subscriber)
            self._news[subscriber] = None  # the new query may have a result already
        return new

    def _leave(self, query: LiveQuery, subscriber: Subscriber) -> None:
        del query.subscribers[subscriber]
        self._news.pop(subscriber, None)
        if not query.subscribers:
            self._drop(query)

    def _drop(self, query: LiveQuery) -> None:
        self._stale.pop(query, None)
        self._watch(query, ReadSet())
        if query.is_shared:
            del self._shared[query.call]
        else:
            del self._own[query.call, query.identity.key]

    # --- sharing -----------------------------------------------------------------------------------------------------

    def _has_joined_shared(self, query: LiveQuery) -> bool:
        """Give the subscribers of a query that never ran to a shared one, and return whether there is one."""
        shared = self._shared.get(query.call)
        if query.outcome is not None or query.is_shared or shared is None or not query.identity.may_share:
            return False
        shared.subscribers |= query.subscribers
        for client, query_id in query.subscribers:
            self._clients[client][query_id] = shared
        query.subscribers = {}
        self._drop(query)
        return True

    def _accept(self, query: LiveQuery, ran: Ran) -> None:
        self._watch(query, ran.reads)
        if query.outcome is not None and query.outcome.digest == ran.outcome.digest:
            self.statistics.unchanged += 1
        else:
            query.outcome = ran.outcome
            self._news |= dict.fromkeys(query.subscribers)
        if query.is_shared and ran.used_identity:
            self._split(query)
        elif not query.is_shared and not ran.used_identity:
            self._share(query)

    def _share(self, query: LiveQuery) -> None:
        if query.identity.may_share and query.call not in self._shared:
            del self._own[query.call, query.identity.key]
            self._shared[query.call] = query
            query.is_shared = True

    def _split(self, query: LiveQuery) -> None:
        """Keep the subscribers of the identity that a query has run with, and let the others run it themselves."""
        del self._shared[query.call]
        query.is_shared = False
        known = self._own.get((query.call, query.identity.key))
        others = {
            subscriber: identity
            for subscriber, identity in query.subscribers.items()
            if known is not None or identity.key != query.identity.key
        }
        if known is None:
            self._own[query.call, query.identity.key] = query
        for subscriber, identity in others.items():
            client, query_id = subscriber
            self._clients[client][query_id] = self._join(query.call, subscriber, identity)
            del query.subscribers[subscriber]
        if known is not None or not query.subscribers:
            self._forget_split(query, is_own=known is None)

    def _forget_split(self, query: LiveQuery, *, is_own: bool) -> None:
        self._watch(query, ReadSet())
        if is_own:
            del self._own[query.call, query.identity.key]

    def _watch(self, query: LiveQuery, reads: ReadSet) -> None:
        if reads == query.reads:
            return
        self.index.remove(query, query.reads)
        self.index.add(query, reads)
        query.reads = reads
        if reads.unlogged:
            self.unlogged[query] = None
        else:
            self.unlogged.pop(query, None)
