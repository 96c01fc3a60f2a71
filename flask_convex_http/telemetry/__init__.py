"""Events of a deployment, published to logs, metrics and traces.

The parts of the package publish events; nothing here knows who listens. Without a subscriber each place that would
publish costs the test of one attribute, `telemetry.is_on`. Events have names, times and outcomes, and the exceptions
that were raised. They never have arguments, bodies, headers, keys or tokens.
"""

from __future__ import annotations

from flask_convex_http.telemetry.events import DeliveryFinished as DeliveryFinished
from flask_convex_http.telemetry.events import DeliveryRejected as DeliveryRejected
from flask_convex_http.telemetry.events import Event as Event
from flask_convex_http.telemetry.events import FunctionFinished as FunctionFinished
from flask_convex_http.telemetry.events import GroupCommitted as GroupCommitted
from flask_convex_http.telemetry.events import JobFinished as JobFinished
from flask_convex_http.telemetry.events import JobOutcome as JobOutcome
from flask_convex_http.telemetry.events import RequestFinished as RequestFinished
from flask_convex_http.telemetry.events import TransactionFinished as TransactionFinished
from flask_convex_http.telemetry.requests import RequestGroup as RequestGroup
from flask_convex_http.telemetry.requests import RequestScope as RequestScope
from flask_convex_http.telemetry.scope import DeliveryState as DeliveryState
from flask_convex_http.telemetry.scope import Scope as Scope
from flask_convex_http.telemetry.scope import current_scope as current_scope
from flask_convex_http.telemetry.telemetry import Telemetry as Telemetry
