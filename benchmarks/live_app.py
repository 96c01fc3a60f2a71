"""The app of the benchmark of live queries."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from flask_convex_http import (
    ConvexHTTP,
    Document,
    Health,
    MutationCtx,
    QueryCtx,
    Schema,
    mutation,
    query,
)


class Reading(Document, table="readings", indexes={"by_sensor": ["sensor"]}):
    """A reading of a sensor."""

    sensor: int
    sent: float


@query
def newest(ctx: QueryCtx, *, sensor: int) -> float:
    """Return the time at which the newest reading of a sensor was sent."""
    found = ctx.db.query(Reading).with_index("by_sensor", sensor=sensor).order("desc").first()
    return 0.0 if found is None else found.sent


@mutation
def record(ctx: MutationCtx, *, sensor: int, sent: float) -> None:
    """Store a reading."""
    ctx.db.insert(Reading(sensor=sensor, sent=sent))


def create_app(folder: str) -> Flask:
    """Return the app, whose database is in a folder."""
    app = Flask("live", instance_path=folder)
    app.config.update(CONVEX_DATABASE_URL=f"sqlite:///{Path(folder, 'live.db')}", CONVEX_WORKER="off")
    app.config.update(CONVEX_LIVE_CONNECTIONS_PER_ADDRESS=5000)
    convex = ConvexHTTP(schema=Schema(Reading), functions=[newest, record], function_api=True, health=Health())
    convex.init_app(app)
    return app


def migrate(folder: str) -> None:
    """Create the tables."""
    app = create_app(folder)
    with app.app_context():
        backend = app.extensions["convex_http"]
        backend.migrate()
        backend.close()
