"""What the senders share that sign with an HMAC and put the object of an event into a field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.hmac_signature import HmacSignature
from flask_convex_http.webhooks.parsing import field_at


class HmacSender(HmacSignature):
    """A sender that signs with an HMAC. The data of an event is its `object_field`, or the payload if it has none."""

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose data is its `object_field`."""
        content = super().read_element(element, delivery)
        found = field_at(element, self.object_field)
        return content if found is None else replace(content, data=found)
