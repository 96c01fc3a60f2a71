"""Checks of the shop's database: each event has all its effects once, and nothing is stuck."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.databases import rows
from tests.inbox.processes.shop import create_app
from tests.killing import problems_of

_SCHEDULED = "SELECT args ->> 'event' FROM _scheduled_functions WHERE args ->> 'event' IS NOT NULL"
#: Selects of rows that must never exist.
_CONTRADICTIONS = {
    "a delivery that is done and has no effect": """
        SELECT source, event_id, attempts FROM _webhooks
        WHERE state = 'done' AND event_id NOT IN (SELECT event FROM effects)
        """,
    "an event that has more than one effect": "SELECT event FROM effects GROUP BY event HAVING count(*) > 1",
    "an effect of no delivery that is done": """
        SELECT event FROM effects WHERE event NOT IN (SELECT event_id FROM _webhooks WHERE state = 'done')
        """,
    "a delivery that was given up": "SELECT source, event_id, attempts FROM _webhooks WHERE state = 'dead'",
    "two rows of one delivery": "SELECT event_id FROM _webhooks GROUP BY source, event_id HAVING count(*) > 1",
    "a follow-up that was not scheduled": f"SELECT event FROM effects WHERE event NOT IN ({_SCHEDULED})",
    "a follow-up that was scheduled more than once": f"{_SCHEDULED} GROUP BY 1 HAVING count(*) > 1",
    "a follow-up that is there more than once": "SELECT event FROM follow_ups GROUP BY event HAVING count(*) > 1",
    "a follow-up of no effect": "SELECT event FROM follow_ups WHERE event NOT IN (SELECT event FROM effects)",
    "a count that is wrong": """
        SELECT name, total FROM counters
        WHERE total <> CASE name
            WHEN 'effects' THEN (SELECT count(*) FROM effects) ELSE (SELECT count(*) FROM follow_ups) END
        """,
    "two counts of one kind": "SELECT name FROM counters GROUP BY name HAVING count(*) > 1",
    "a state that is not the newest": """
        SELECT customer, number FROM states
        WHERE number <> (SELECT max(number) FROM effects WHERE effects.customer = states.customer)
        """,
    "a body without a delivery": """
        SELECT _id FROM _webhook_requests
        WHERE replace(_id, '_webhook_requests_', '_webhooks_') NOT IN (SELECT _id FROM _webhooks)
        """,
    "a place in a lane of what does not wait": """
        SELECT delivery FROM _webhook_turns WHERE delivery NOT IN (SELECT _id FROM _webhooks WHERE state = 'pending')
        """,
}
#: Selects of unfinished rows.
_UNFINISHED = {
    "a delivery that waits": "SELECT source, event_id, error FROM _webhooks WHERE state = 'pending'",
    "a scheduled function that has not succeeded": """
        SELECT name, args, state, error FROM _scheduled_functions WHERE state <> 'success'
        """,
    "an effect without its follow-up": "SELECT event FROM effects WHERE event NOT IN (SELECT event FROM follow_ups)",
    "an effect out of its order": """
        SELECT event, customer, number, after FROM effects WHERE event LIKE 'queued-%' AND number <> after + 1
        """,
}


def faults(folder: Path) -> list[str]:
    """Return the faults that are visible before all work has ended, and after."""
    return _found(folder, _CONTRADICTIONS) + problems_of(create_app(folder))


def unfinished(folder: Path) -> list[str]:
    """Return the unfinished work."""
    return _found(folder, _UNFINISHED)


def lost(folder: Path, acknowledged: Iterable[str]) -> set[str]:
    """Return the acknowledged events that are neither done nor wait for a worker."""
    there = rows(folder, "SELECT event_id FROM _webhooks WHERE state IN ('done', 'pending')")
    return set(acknowledged) - {event for (event,) in there}


def not_done_once(folder: Path, acknowledged: Iterable[str]) -> list[str]:
    """Return the acknowledged events without an effect or with several, and their number."""
    effects = Counter(event for (event,) in rows(folder, "SELECT event FROM effects"))
    return [f"{event} has {effects[event]} effects" for event in acknowledged if effects[event] != 1]


def cut_short(folder: Path) -> int:
    """Return the number of handler runs without a result: their process was killed, or another run took their place."""
    runs = len((folder / "runs").read_text().splitlines())
    [(attempts,)] = rows(folder, "SELECT sum(json_array_length(attempts)) FROM _webhooks")
    return runs - int(attempts or 0)


def _found(folder: Path, contradictions: dict[str, str]) -> list[str]:
    return [f"{what}: {row}" for what, sql in contradictions.items() for row in rows(folder, sql)]
