"""Test deliveries: sample events of each sender, signed with the app's own secret, and with faults on request.

`make_deliveries` takes a provider and the type of an event, and returns requests with the verdict that each deserves.
No I/O, no web framework, no SQL.
"""

from flask_convex_http.webhooks.samples.events import SENDERS as SENDERS
from flask_convex_http.webhooks.samples.signed_deliveries import Faults as Faults
from flask_convex_http.webhooks.samples.signed_deliveries import SignedDelivery as SignedDelivery
from flask_convex_http.webhooks.samples.signed_deliveries import make_deliveries as make_deliveries
