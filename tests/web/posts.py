"""Posts that announce the length of their body."""

from flask import Flask
from werkzeug.test import TestResponse

from tests.web.apps import send

JSON = {"CONTENT_TYPE": "application/json"}


def post(app: Flask, path: str, body: bytes, content_type: str = "application/json") -> TestResponse:
    """Send a POST that announces the length of its body."""
    return send(app, "POST", path, body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(body)))
