"""Purges of deliveries, or only of their headers and bodies, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.rerun_results import RerunResult, named, refused, unknown
from flask_convex_http.runtime import MutationCalls
from flask_convex_http.schema.system_tables import WebhookDelivery


@dataclass(frozen=True, slots=True)
class Purges:
    """Deletes deliveries.

    Attributes:
        inbox: Holds the deliveries.
    """

    inbox: Inbox

    def purge(self, delivery_ids: Sequence[str], *, bodies_only: bool, pending: bool) -> list[RerunResult]:
        """Delete deliveries, all in one transaction.

        Args:
            delivery_ids: The deliveries.
            bodies_only: Whether to delete only their headers and bodies, and to keep recognising duplicates.
            pending: Whether to delete also those that a worker has not run yet.
        """
        delete = self._delete_request if bodies_only else self._delete

        def work(calls: MutationCalls) -> list[RerunResult]:
            return [self._purge(calls, delivery_id, delete, pending) for delivery_id in delivery_ids]

        return self.inbox.runtime.write(work, self.inbox.runtime.caller())

    def _purge(
        self,
        calls: MutationCalls,
        delivery_id: str,
        delete: Callable[[MutationCalls, WebhookDelivery], RerunResult],
        pending: bool,
    ) -> RerunResult:
        delivery = self.inbox.deliveries.get(calls.transaction, delivery_id)
        if delivery is None:
            return unknown(delivery_id)
        if delivery.state == "pending" and not pending:
            return refused(delivery, "a worker is to run it; name it by its id if that is no longer wanted").step
        return delete(calls, delivery)

    def _delete(self, calls: MutationCalls, delivery: WebhookDelivery) -> RerunResult:
        rows, transaction, lane = self.inbox.deliveries, calls.transaction, delivery.lane
        has_turn = lane is not None and rows.first_of_lane(transaction, delivery.source, lane) == delivery.id
        rows.delete(transaction, delivery.id)
        if delivery.state == "pending" and delivery.job is not None:
            calls.jobs.cancel(delivery.job)
        if lane is not None and has_turn:  # otherwise the deliveries behind it would wait forever
            self.inbox.queue.start_next(calls, delivery.source, lane)
        return RerunResult(delivery.id, "forgotten", f"{named(delivery)} is purged")

    def _delete_request(self, calls: MutationCalls, delivery: WebhookDelivery) -> RerunResult:
        was_there = self.inbox.deliveries.delete_request(calls.transaction, delivery.id)
        sentence = "are purged" if was_there else "were purged before"
        return RerunResult(delivery.id, "forgotten", f"The headers and the body of {named(delivery)} {sentence}")
