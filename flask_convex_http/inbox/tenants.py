"""Webhooks with a secret for each tenant: the webhook of one tenant, with the secrets that the application returns.

A tenant's webhook has a source of its own, so that duplicates are recognised within the tenant alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask_convex_http.errors import ArgumentRangeError, ArgumentValidationError, RegistrationError
from flask_convex_http.inbox.registry import Webhook
from flask_convex_http.runtime import Runtime


def webhook_of_tenant(runtime: Runtime, webhook: Webhook, tenant: str) -> Webhook | None:
    """Return the webhook of one tenant, or None if the application does not know the tenant.

    Args:
        runtime: Runs the query of the secrets, on a snapshot of its own.
        webhook: The webhook of all tenants.
        tenant: The tenant, as the URL has it.
    """
    secrets = _secrets_of(runtime, webhook, tenant)
    return webhook.of_tenant(tenant, webhook.provider.with_secrets(secrets)) if secrets else None


def with_secrets(runtime: Runtime, webhook: Webhook) -> Webhook:
    """Return a webhook whose provider has secrets: itself, or that of its tenant.

    Raises:
        ValueError: It is the webhook of all tenants, or the application does not know its tenant.
    """
    if webhook.provider.tenants is None:
        return webhook
    if webhook.tenant is None:
        raise ValueError(
            f"The webhook {webhook.source} has a secret for each tenant: name one, as in "
            f"{webhook.tenant_source('acme')}"
        )
    found = webhook_of_tenant(runtime, webhook, webhook.tenant)
    if found is None:
        raise ValueError(f"The webhook {webhook.source} has no secret: the app does not know the tenant")
    return found


def _secrets_of(runtime: Runtime, webhook: Webhook, tenant: str) -> Sequence[str]:
    tenants = webhook.provider.tenants
    assert tenants is not None
    ctx = runtime.action_ctx(runtime.caller())
    try:
        found = ctx.run_query(tenants.query, **{tenants.variable: tenant})
    except (ArgumentValidationError, ArgumentRangeError):  # no id of the app's table, for example
        return ()
    secrets = [found] if isinstance(found, str) else list(found or ())
    if not all(isinstance(secret, str) for secret in secrets):
        raise RegistrationError(
            f"The query of per_tenant() for {webhook.path} must return a text, a list of texts or None"
        )
    return [secret for secret in secrets if secret.strip()]
