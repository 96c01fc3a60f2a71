"""Mistakes in an application's definition or deployment, raised at definition or at start."""

from __future__ import annotations

from flask_convex_http.errors.base import ConvexHTTPError


class RegistrationError(ConvexHTTPError, ValueError):
    """A table, function or route was defined in a way that cannot work."""


class ConfigurationError(ConvexHTTPError):
    """A setting is missing or wrong."""


class MigrationRequiredError(ConvexHTTPError):
    """The database does not have the tables of the schema yet."""

    status = 503
    public = True
    client_message = "The database is not migrated; run `flask convex migrate`"


class MigrationRefusedError(ConvexHTTPError):
    """A change of the schema would lose data, or existing rows do not fit it."""
