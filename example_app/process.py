"""An action: work that is not a transaction."""

from typing import Any

from flask_convex_http import ActionCtx, internal_action


@internal_action
def process_data(ctx: ActionCtx, *, data: Any) -> dict[str, Any]:
    """Return the data with its type. A real action would call other services and run mutations."""
    kind = "null" if data is None else type(data).__name__
    return {"type": kind, "data": data}
