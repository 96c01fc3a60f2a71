"""The bank in a server that has used the database before it forks its workers: `create_app()`."""

from flask import Flask

from tests.engines.postgres import bank
from tests.web.apps import backend_of


def create_app() -> Flask:
    """The app, which has made a payment; its connections stay open."""
    app = bank.create_app()
    answer = app.test_client().post("/payments", json={"key": "before the fork", "account": "somebody"})
    assert answer.status_code == 200, answer
    assert backend_of(app).engine.lookup(backend_of(app).schema.table_for(bank.Payment), {"key": "before the fork"})
    return app
