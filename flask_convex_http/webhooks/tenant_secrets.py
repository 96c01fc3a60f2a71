"""Signing secrets of tenants: a query of the application returns them for a variable of the URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask_convex_http.errors import RegistrationError

if TYPE_CHECKING:
    from flask_convex_http.functions.function import QueryFunction


@dataclass(frozen=True, slots=True)
class TenantSecrets:
    """The secrets of a webhook with a variable in its path.

    Attributes:
        variable: The variable of the path, and the argument of the query.
        query: The query, or its name.
    """

    variable: str
    query: QueryFunction[..., Any] | str

    def __post_init__(self) -> None:
        if not isinstance(self.variable, str) or not self.variable.isidentifier():
            raise RegistrationError(
                f"per_tenant({self.variable!r}, ...) takes the name of a variable of the path: write "
                'per_tenant("tenant", ...) for /hooks/<tenant>'
            )


def per_tenant(variable: str, query: QueryFunction[..., Any] | str) -> TenantSecrets:
    """Return the secrets of a webhook that serves many tenants, each with a secret of its own.

    The query runs for each delivery, on a snapshot, before the signature is verified. A delivery to a tenant that the
    query does not know is 404. Each tenant is a source of its own in the inbox.

    Args:
        variable: The variable of the path: "tenant" for `/hooks/<tenant>`.
        query: A query of the application, or its name. It takes the variable as a text by its name, and returns the
            tenant's secret, a list of secrets while one is rotated, or None for an unknown tenant.

    Returns:
        A value for the argument `secret` of a provider.

    Raises:
        RegistrationError: The variable is no name.
    """
    return TenantSecrets(variable, query)
