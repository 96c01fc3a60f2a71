"""The webhooks of the example in whatever order they come: what came last in the world is what is left here."""

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
    """Stripe says what a subscription was at a second."""
    return from_stripe(subscription_updated(event_id, created=created, status=status, **changes))


def user(delivery_id: str, name: str, updated_at: Any = 1654012591835, kind: str = "user.updated") -> Delivery:
    """Clerk says who a user was at a millisecond."""
    return from_clerk(clerk_user(kind, first_name=name, last_name=None, updated_at=updated_at), delivery_id=delivery_id)


def test_late_event_does_not_undo_a_newer_one(app: Example) -> None:
    """A subscription's and a user's older state that comes after a newer one is answered OK and recorded, no more."""
    app.accept(subscription("evt_2", "canceled", created=1764000009), subscription("evt_1", "active"))
    app.accept(user("msg_2", "Zoe", updated_at=1654012599999), user("msg_1", "Ada", kind="user.created"))
    assert [row.status for row in app.rows(Subscription)] == ["canceled"]
    assert [row.name for row in app.rows(User)] == ["Zoe"]
    assert [record.status for record in app.rows(WebhookRecord)] == ["processed"] * 4


def test_of_two_events_at_one_time_the_later_delivery_counts(app: Example) -> None:
    """Where the sender's times are equal, or there are none, the order of arrival is the best guess."""
    for number, status in enumerate(["trialing", "active", "past_due"]):
        app.accept(subscription(f"evt_{number}", status))
        app.accept(subscription(f"evt_timeless_{number}", status, created=None, id="sub_timeless"))
        app.accept(user(f"msg_{number}", status))
        assert [row.status for row in app.rows(Subscription)] == [status, status]
        assert [row.name for row in app.rows(User)] == [status]


def test_deleted_user_stays_deleted(app: Example) -> None:
    """Once a user's deletion was told, no event brings them back: neither a late one nor one sent again."""
    created = user("msg_1", "Ada", kind="user.created")
    gone = from_clerk(clerk_user_deleted(), delivery_id="msg_2")
    late = user("msg_3", "Zoe", updated_at=1754012599999)
    again = from_clerk(clerk_user_deleted(), delivery_id="msg_4")
    app.accept(created, gone, late, created, again)
    assert app.rows(User) == []
    assert len(app.rows(DeletedUser)) == 1


def test_deletion_may_come_before_the_creation(app: Example) -> None:
    """A user whose deletion overtakes their creation never comes to be; others do."""
    app.accept(from_clerk(clerk_user_deleted(), delivery_id="msg_2"), user("msg_1", "Ada", kind="user.created"))
    assert app.rows(User) == []
    app.accept(from_clerk(clerk_user("user.created", id="user_other"), delivery_id="msg_3"))
    assert [row.clerk_id for row in app.rows(User)] == ["user_other"]


def test_failed_event_that_is_sent_again_late_does_not_undo_a_newer_one(app: Example) -> None:
    """An event that could be applied only the second time is applied as of its own time."""
    assert app.deliver(subscription("evt_1", "active", customer={})).status_code == 422
    app.accept(subscription("evt_2", "canceled", created=1764000009), subscription("evt_1", "active"))
    assert [row.status for row in app.rows(Subscription)] == ["canceled"]


# --- any order -------------------------------------------------------------------------------------------------------

STATUSES = st.sampled_from(["trialing", "active", "past_due", "canceled"])
STORIES = st.lists(st.tuples(STATUSES, st.integers(1, 3)), min_size=1, max_size=4)


def test_any_order_and_multiplicity_of_deliveries_ends_in_the_same_state() -> None:
    """However often and in whatever order the events of a subscription are delivered, it is as the last one says."""
    numbers = itertools.count()
    with example() as app:

        @given(story=STORIES, data=st.data())
        @settings(max_examples=30, deadline=None)
        def check(story: list[tuple[str, int]], data: st.DataObject) -> None:
            number = next(numbers)
            deliveries = [
                subscription(f"evt_{number}_{moment}", status, created=1764000000 + moment, id=f"sub_{number}")
                for moment, (status, copies) in enumerate(story)
                for _ in range(copies)
            ]
            app.accept(*data.draw(st.permutations(deliveries)))
            [left] = [row for row in app.rows(Subscription) if row.stripe_id == f"sub_{number}"]
            assert (left.status, left.updated_at) == (story[-1][0], (1764000000 + len(story) - 1) * 1000)

        check()
