"""The example application on a temporary database, with secrets in the environment and a client."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app import convex, create_app
from example_app.schema import DeletedUser, Payment, Subscription, User, WebhookRecord, schema
from flask_convex_http import Document
from flask_convex_http.backend import Backend
from flask_convex_http.database.query import Query
from tests.databases import temporary_config
from tests.example.deliveries import SECRETS, Delivery

D = TypeVar("D", bound=Document)


@dataclass(frozen=True)
class Example:
    """The example application, running."""

    app: Flask
    client: FlaskClient
    backend: Backend

    def deliver(self, delivery: Delivery) -> TestResponse:
        """Send a webhook."""
        return self.client.post(delivery.path, data=delivery.body, headers=delivery.headers)

    def accept(self, *deliveries: Delivery) -> None:
        """Send webhooks and check that each response is 200 OK."""
        responses = [self.deliver(delivery) for delivery in deliveries]
        assert [(response.status_code, response.text) for response in responses] == [(200, "OK")] * len(deliveries)

    def is_unchanged(self) -> bool:
        """Return whether the tables that webhooks change are empty."""
        changed = (Payment, Subscription, User, DeletedUser, WebhookRecord)
        return not any(self.rows(document) for document in changed)

    def rows(self, document: type[D]) -> list[D]:
        """Return all documents of a table, oldest first."""
        return rows(self.backend, document)

    def command(self, *arguments: str) -> Any:
        """Run `flask convex ... --json` and return the decoded output."""
        result = self.app.test_cli_runner().invoke(args=["convex", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@contextmanager
def example(secrets: Mapping[str, str] = SECRETS) -> Iterator[Example]:
    """Yield the example application on a temporary database."""
    with (
        pytest.MonkeyPatch.context() as environment,
        temporary_config(schema) as config,
        TemporaryDirectory() as folder,
    ):
        environment.setattr(Flask, "auto_find_instance_path", lambda app: folder)  # the folder of rejected deliveries
        for name in [*SECRETS, *(name for name in os.environ if name.startswith("FLASK_"))]:
            environment.delenv(name, raising=False)
        for name, value in config.items():
            environment.setenv(f"FLASK_{name}", value)
        environment.setenv("FLASK_CONVEX_WORKER", "off")
        for name, value in secrets.items():
            environment.setenv(name, value)
        app = create_app()
        backend: Backend = app.extensions["convex_http"]
        with closing(backend):
            with app.app_context():
                convex.migrate()
            yield Example(app, app.test_client(), backend)


def rows(backend: Backend, document: type[D]) -> list[D]:
    """Return all documents of a table, oldest first."""
    table = backend.schema.table_for(document)
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()
