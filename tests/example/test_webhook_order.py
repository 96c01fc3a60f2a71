"""The example's webhooks in any order: the latest event determines the state, not the latest delivery."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_app.schema import DeletedUser, Subscription, User, WebhookRecord
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.application import Example, example
from tests.example.deliveries import (
    Delivery,
    clerk_user,
    clerk_user_deleted,
    from_clerk,
    from_stripe,
    subscription_updated,
)

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


@pytest.fixture(name="app")
def _app() -> Iterator[Example]:
    with example() as app:
        yield app


def subscription(event_id: str, status: str, created: Any = 1764000000, **changes: Any) -> Delivery:
    """Return Stripe's event about the state of a subscription at a second."""
    return from_stripe(subscription_updated(event_id, created=created, status=status, **changes))


def user(delivery_id: str, name: str, updated_at: Any = 1654012591835, kind: str = "user.updated") -> Delivery:
    """Return Clerk's event about the state of a user at a millisecond."""
    return from_clerk(clerk_user(kind, first_name=name, last_name=None, updated_at=updated_at), delivery_id=delivery_id)


def test_late_event_does_not_overwrite_a_newer_one(app: Example) -> None:
    """An older state that arrives after a newer one is accepted and recorded, and changes nothing."""
    app.accept(subscription("evt_2", "canceled", created=1764000009), subscription("evt_1", "active"))
    app.accept(user("msg_2", "Zoe", updated_at=1654012599999), user("msg_1", "Ada", kind="user.created"))
    assert [row.status for row in app.rows(Subscription)] == ["canceled"]
    assert [row.name for row in app.rows(User)] == ["Zoe"]
    assert [record.status for record in app.rows(WebhookRecord)] == ["processed"] * 4


def test_events_at_one_time_apply_in_order_of_arrival(app: Example) -> None:
    """Events with equal times, or without, apply in the order of arrival."""
    for number, status in enumerate(["trialing", "active", "past_due"]):
        app.accept(subscription(f"evt_{number}", status))
        app.accept(subscription(f"evt_timeless_{number}", status, created=None, id="sub_timeless"))
        app.accept(user(f"msg_{number}", status))
        assert [row.status for row in app.rows(Subscription)] == [status, status]
        assert [row.name for row in app.rows(User)] == [status]


def test_deleted_user_stays_deleted(app: Example) -> None:
    """No event restores a deleted user, neither a late one nor a duplicate."""
    created = user("msg_1", "Ada", kind="user.created")
    deletion = from_clerk(clerk_user_deleted(), delivery_id="msg_2")
    late = user("msg_3", "Zoe", updated_at=1754012599999)
    duplicate = from_clerk(clerk_user_deleted(), delivery_id="msg_4")
    app.accept(created, deletion, late, created, duplicate)
    assert app.rows(User) == []
    assert len(app.rows(DeletedUser)) == 1


def test_deletion_may_come_before_the_creation(app: Example) -> None:
    """A user whose deletion arrives before the creation is not created, and other users are."""
    app.accept(from_clerk(clerk_user_deleted(), delivery_id="msg_2"), user("msg_1", "Ada", kind="user.created"))
    assert app.rows(User) == []
    app.accept(from_clerk(clerk_user("user.created", id="user_other"), delivery_id="msg_3"))
    assert [row.clerk_id for row in app.rows(User)] == ["user_other"]


def test_retried_event_does_not_overwrite_a_newer_one(app: Example) -> None:
    """An event that fails first and is applied on a later delivery keeps its own time."""
    assert app.deliver(subscription("evt_1", "active", customer={})).status_code == 500
    app.accept(subscription("evt_2", "canceled", created=1764000009), subscription("evt_1", "active"))
    assert [row.status for row in app.rows(Subscription)] == ["canceled"]


# --- any order -------------------------------------------------------------------------------------------------------

STATUSES = st.sampled_from(["trialing", "active", "past_due", "canceled"])
HISTORIES = st.lists(st.tuples(STATUSES, st.integers(1, 3)), min_size=1, max_size=4)


def test_any_order_of_deliveries_ends_in_the_same_state() -> None:
    """In any order and with any duplicates, the events of a subscription end in the state of the last one."""
    numbers = itertools.count()
    with example() as app:

        @given(history=HISTORIES, data=st.data())
        @settings(max_examples=30, deadline=None)
        def check(history: list[tuple[str, int]], data: st.DataObject) -> None:
            number = next(numbers)
            deliveries = [
                subscription(f"evt_{number}_{moment}", status, created=1764000000 + moment, id=f"sub_{number}")
                for moment, (status, count) in enumerate(history)
                for _ in range(count)
            ]
            app.accept(*data.draw(st.permutations(deliveries)))
            [stored] = [row for row in app.rows(Subscription) if row.stripe_id == f"sub_{number}"]
            assert (stored.status, stored.updated_at) == (history[-1][0], (1764000000 + len(history) - 1) * 1000)

        check()
