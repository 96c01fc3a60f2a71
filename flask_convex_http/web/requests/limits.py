"""Limits of request bodies.

Each limit is an option of a route or a router, or else a key of Flask's configuration that the application has set, or
else a setting of the package. JSON and the text of forms have lower limits than files and webhooks, because parsing
costs many times their size in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, Request

from flask_convex_http.config import Settings
from flask_convex_http.errors import RegistrationError
from flask_convex_http.web.requests.body_streams import limit_body
from flask_convex_http.web.requests.forms import FormParser
from flask_convex_http.web.requests.requests import LimitedJson


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a route. None leaves a limit to the router, or to the settings.

    Attributes:
        body: Bytes of a body.
        json: Bytes of a body that is parsed as JSON.
        form: Bytes of the text of a form.
        fields: Fields and files of a form.
    """

    body: int | None = None
    json: int | None = None
    form: int | None = None
    fields: int | None = None

    @classmethod
    def of(cls, body: int | None, json: int | None, form: int | None, fields: int | None) -> Limits:
        """Return the limits in the options of a route.

        Raises:
            RegistrationError: A limit is not a positive integer.
        """
        return cls(
            _checked("max_body_bytes", body),
            _checked("max_json_bytes", json),
            _checked("max_form_bytes", form),
            _checked("max_form_fields", fields),
        )

    def or_else(self, other: Limits) -> Limits:
        """Return these limits, with the other's where there is none."""
        return Limits(
            self.body or other.body, self.json or other.json, self.form or other.form, self.fields or other.fields
        )

    def body_bytes(self, app: Flask, settings: Settings) -> int:
        """Return the largest number of bytes of a body."""
        return self.body or app.config["MAX_CONTENT_LENGTH"] or settings.max_body_bytes

    def apply(self, request: Request, app: Flask, settings: Settings) -> None:
        """Limit the body of a request, which no code has read yet."""
        limit_body(request, self.body_bytes(app, settings))
        json_bytes = self.json or settings.max_json_bytes
        request.json_module = LimitedJson(json_bytes, request.json_module, request.environ)
        if "form" in request.environ.get("CONTENT_TYPE", "").lower():
            FormParser.limit(
                request,
                self.form or _changed(app, "MAX_FORM_MEMORY_SIZE") or settings.max_form_bytes,
                self.fields or _changed(app, "MAX_FORM_PARTS") or settings.max_form_fields,
            )


def _checked(name: str, limit: int | None) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        unit = "fields" if name == "max_form_fields" else "bytes"
        raise RegistrationError(f"{name}={limit!r} must be a number of {unit}, 1 or more")
    return limit


def _changed(app: Flask, key: str) -> int | None:
    """Return a limit of Flask's configuration, if the application has changed it."""
    value: int | None = app.config[key]
    return None if value == app.default_config[key] else value
