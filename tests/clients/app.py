"""The app that Convex's clients call in these tests: three backends behind the function API."""

import os

from flask import Flask

from flask_convex_http import ConvexHTTP, CustomJWT, HttpRouter, Schema
from tests.clients.backends import chat, sharing, tasks

#: The variable with the URL of the issuer of tokens.
ISSUER = "CLIENTS_ISSUER"
AUDIENCE = "convex"
SCHEMA = Schema(chat.User, chat.Channel, chat.Message, tasks.Task, sharing.SharedFile)


def create_app() -> Flask:
    """Return the app."""
    app = Flask("clients", instance_path=os.environ.get("CLIENTS_FOLDER"))
    app.config.from_prefixed_env()
    issuer = os.environ.get(ISSUER, "http://127.0.0.1:9")
    ConvexHTTP(
        app,
        schema=SCHEMA,
        functions=[chat, sharing, tasks],
        auth_providers=[CustomJWT(issuer=issuer, jwks=f"{issuer}/jwks.json", algorithm="ES256", audience=AUDIENCE)],
        function_api=True,
    )
    http = HttpRouter("http", __name__)

    @http.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    app.register_blueprint(http)
    return app
