"""The bank for a server that uses the database before it forks its workers."""

from flask import Flask

from tests.engines.postgres import bank
from tests.web.apps import backend_of


def create_app() -> Flask:
    """Create the app and make a payment, after which its connections stay open."""
    app = bank.create_app()
    response = app.test_client().post("/payments", json={"key": "before the fork", "account": "account"})
    assert response.status_code == 200, response.text
    assert backend_of(app).engine.lookup(backend_of(app).schema.table_for(bank.Payment), {"key": "before the fork"})
    return app
