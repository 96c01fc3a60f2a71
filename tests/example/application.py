"""The example application as its tests use it: a database for the moment, secrets in the environment, a client."""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app import convex, create_app
from flask_convex_http import Document
from flask_convex_http.backend import Backend
from flask_convex_http.query_builder import Query
from tests.example.deliveries import Delivery

D = TypeVar("D", bound=Document)

#: What GitHub's documentation signs its example with:
#: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
GITHUB_SECRET = "It's a Secret to Everybody"
STRIPE_SECRET = "whsec_" + "5f2b" * 16
CLERK_SECRET = "whsec_" + base64.b64encode(b"clerk's secret, 24 bytes").decode()
SECRETS = {
    "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
    "GITHUB_WEBHOOK_SECRET": GITHUB_SECRET,
    "CLERK_WEBHOOK_SECRET": CLERK_SECRET,
}


@dataclass(frozen=True)
class Example:
    """The running application."""

    app: Flask
    client: FlaskClient
    backend: Backend

    def deliver(self, delivery: Delivery) -> TestResponse:
        """Send a webhook."""
        return self.client.post(delivery.path, data=delivery.body, headers=delivery.headers)

    def rows(self, document: type[D]) -> list[D]:
        """Every document of a table, oldest first."""
        return rows(self.backend, document)

    def command(self, *arguments: str) -> Any:
        """Run `flask convex ... --json` and answer what it printed."""
        result = self.app.test_cli_runner().invoke(args=["convex", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@contextmanager
def example(secrets: Mapping[str, str] = SECRETS) -> Iterator[Example]:
    """The example application on a temporary database."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [*SECRETS, *(name for name in os.environ if name.startswith("FLASK_"))]:
            environment.delenv(name, raising=False)
        environment.setenv("FLASK_CONVEX_DATABASE_URL", "sqlite:///:memory:")
        for name, value in secrets.items():
            environment.setenv(name, value)
        app = create_app()
        backend: Backend = app.extensions["convex_http"]
        with closing(backend):
            with app.app_context():
                convex.migrate()
            yield Example(app, app.test_client(), backend)


def rows(backend: Backend, document: type[D]) -> list[D]:
    """Every document of a table, oldest first."""
    table = backend.schema.table_for(document)
    with backend.engine.read() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()
