"""Helpers for tests of applications: a temporary backend, a clock that stands still, and signed deliveries.

    with memory_backend(schema, functions=["my_app.items"]) as backend:
        item_id = backend.ctx().run_mutation(items.create, name="Lamp")

`run_scheduled` runs jobs in the test, and moves the clock, which stands still from then on:

    with memory_backend(schema, functions=["my_app.items"]) as backend:
        backend.ctx().run_mutation(items.create_later, name="Lamp")
        run_scheduled(backend, advance=timedelta(hours=1))

`deliver` stands in for a webhook's sender:

    responses = deliver(app.test_client(), "stripe", "checkout.session.completed", duplicate=3)
    assert [response.status_code for response in responses] == [200, 200, 200]

For tests of endpoints, give the app `CONVEX_DATABASE_URL="sqlite:///:memory:"` and `TESTING=True`, and call
`convex.migrate()` in its app context. Without `TESTING` the first request starts a worker.
"""

from flask_convex_http.testing.backends import memory_backend as memory_backend
from flask_convex_http.testing.clocks import Clock as Clock
from flask_convex_http.testing.clocks import use_clock as use_clock
from flask_convex_http.testing.deliveries import Responses as Responses
from flask_convex_http.testing.deliveries import deliver as deliver
from flask_convex_http.testing.scheduled import ScheduledRun as ScheduledRun
from flask_convex_http.testing.scheduled import run_scheduled as run_scheduled
