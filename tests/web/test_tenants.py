"""Webhooks with a secret for each tenant, which a query of the application returns."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask

from flask_convex_http import (
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    StandardWebhooks,
    Stripe,
    WebhookEvent,
    internal_mutation,
    internal_query,
    per_tenant,
    unique,
)
from flask_convex_http.testing import deliver, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.web.apps import backend_of, deployed

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def secret(name: str) -> str:
    """Return a secret as Standard Webhooks writes it."""
    return "whsec_" + base64.b64encode(name.ljust(24, ".").encode()).decode()


class Tenant(Document, table="tenants", indexes={"by_slug": unique("slug")}):
    """A tenant with its secrets."""

    slug: str
    secrets: list[str]


class Seen(Document, table="seen"):
    """An event that a handler has seen."""

    event: str


@internal_query
def signing_secret(ctx: QueryCtx, *, tenant: str) -> list[str] | None:
    """Return the secrets of a tenant."""
    found = ctx.db.query(Tenant).with_index("by_slug", slug=tenant).unique()
    return None if found is None else found.secrets


@internal_query
def secret_by_id(ctx: QueryCtx, *, tenant: Id[Tenant]) -> str | None:
    """Return the first secret of a tenant, by the id of its document."""
    found = ctx.db.get(tenant)
    return None if found is None else found.secrets[0]


@internal_mutation
def add(ctx: MutationCtx, *, slug: str, secrets: list[str]) -> Id[Tenant]:
    """Add a tenant."""
    return ctx.db.insert(Tenant(slug=slug, secrets=secrets))


def see(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record an event."""
    ctx.db.insert(Seen(event=event.id))


@contextmanager
def serving(
    folder: Path, query: Any = signing_secret, rule: str = "/hooks/<tenant>", **options: Any
) -> Iterator[Flask]:
    """Yield an app whose tenants are acme and, while its secret is rotated, other."""
    http = HttpRouter("http", __name__)
    http.webhook(rule, StandardWebhooks(secret=per_tenant("tenant", query)), **options)(see)
    functions: list[Any] = [signing_secret, secret_by_id, add]
    with deployed(folder, http, schema=Schema(Tenant, Seen), functions=functions) as app:
        ctx = backend_of(app).ctx()
        ctx.run_mutation(add, slug="acme", secrets=[secret("acme")])
        ctx.run_mutation(add, slug="other", secrets=[secret("new"), secret("old")])
        ctx.run_mutation(add, slug="none", secrets=[" "])
        yield app


def send(app: Flask, tenant: str, key: str, event_id: str = "msg_1") -> int:
    """Send an event to a tenant, signed with a key, and return the status."""
    provider = StandardWebhooks(secret=secret(key))
    path = f"/hooks/{tenant}"
    return deliver(app.test_client(), provider, "contact.created", path=path, event_id=event_id, data={}).status_code


def doctor(app: Flask, *arguments: str) -> str:
    """Return the output of the doctor."""
    run = app.test_cli_runner().invoke(args=["convex", "webhooks", "doctor", *arguments])
    assert secret("acme") not in run.output and secret("new") not in run.output
    return run.output


def listed(app: Flask, *options: str) -> set[str]:
    """Return the sources of the deliveries that a command lists."""
    run = app.test_cli_runner().invoke(args=["convex", "webhooks", "list", "--json", *options])
    assert run.exit_code == 0, run.output
    return {delivery["source"] for delivery in msgspec.json.decode(run.stdout)}


def test_each_tenant_has_its_secret(tmp_path: Path) -> None:
    """A delivery is accepted with a secret of its tenant alone, and with both during a rotation."""
    with serving(tmp_path) as app:
        assert send(app, "acme", "acme") == 200
        assert send(app, "acme", "new") == 400
        assert [send(app, "other", key, key) for key in ("new", "old", "acme")] == [200, 200, 400]


def test_duplicates_are_those_of_a_tenant(tmp_path: Path) -> None:
    """The same id of two tenants is two events, and that of one tenant is one."""
    with serving(tmp_path) as app:
        for tenant, key in (("acme", "acme"), ("other", "old"), ("acme", "acme")):
            assert send(app, tenant, key) == 200
        assert listed(app) == {"/hooks/acme", "/hooks/other"}


def test_queued_deliveries_run_later(tmp_path: Path) -> None:
    """With mode="enqueue" a tenant's delivery is verified at once and run by a worker, a duplicate of a tenant once."""
    with serving(tmp_path, mode="enqueue") as app:
        app.config["TESTING"] = True
        assert [send(app, "acme", "acme"), send(app, "acme", "acme"), send(app, "other", "old")] == [202, 202, 202]
        assert send(app, "acme", "new") == 400
        assert listed(app, "--status", "done") == set()
        run_scheduled(app)
        assert listed(app, "--status", "done") == {"/hooks/acme", "/hooks/other"}
        with backend_of(app).engine.snapshot() as snapshot:
            assert snapshot.count(backend_of(app).schema.tables["seen"]) == 2


def test_doctor_has_the_secrets_of_tenants(tmp_path: Path) -> None:
    """The doctor says that the secret of another webhook, or that of no tenant, made a signature."""
    with serving(tmp_path) as app:
        unsigned = app.test_client().post("/hooks/acme").headers["X-Request-Id"]
        assert "missing-header" in doctor(app, unsigned)
        signed = StandardWebhooks(secret=secret("acme")).sign(
            b"{}", secret=secret("acme"), event_id="m", event_type="", now=backend_of(app).clock()
        )
        response = app.test_client().post("/hooks/acme", data=b'{"a": 1}', headers=signed)
        assert response.status_code == 400
        assert "unknown-signer" in doctor(app, response.headers["X-Request-Id"])
        response = app.test_client().post("/hooks/other", data=b"{}", headers=signed)
        assert "secret 1" in doctor(app, response.headers["X-Request-Id"])
        headers, body = tmp_path / "headers.json", tmp_path / "body.json"
        headers.write_bytes(msgspec.json.encode(signed)), body.write_bytes(b"{}")
        copied = ("--headers", str(headers), "--body", str(body))
        assert "verifies: The signature matches secret 1" in doctor(app, "--source", "/hooks/acme", *copied)
        assert "name one, as in /hooks/acme" in doctor(app, "--source", "/hooks/<tenant>", *copied)
        assert "does not know the tenant" in doctor(app, "--source", "/hooks/nobody", *copied)


@pytest.mark.parametrize("tenant", ["nobody", "none", "ACME", "a%00b", "a%ff", "acme'--", "%F0%9F%92%A5" * 300])
def test_unknown_tenant_is_not_found(tenant: str, tmp_path: Path) -> None:
    """A tenant without a secret is 404 with the text of any other path, and nothing is recorded."""
    with serving(tmp_path) as app:
        client = app.test_client()
        response = client.post(f"/hooks/{tenant}", data=b"{}")
        assert (response.status_code, response.data) == (404, client.post("/elsewhere").data)
        assert listed(app) == listed(app, "--status", "rejected") == set()


def test_tenant_may_be_an_id(tmp_path: Path) -> None:
    """A value of the path that the query's argument does not accept is an unknown tenant."""
    with serving(tmp_path, secret_by_id) as app:
        [tenant] = [backend_of(app).ctx().run_mutation(add, slug="third", secrets=[secret("third")])]
        assert send(app, tenant, "third") == 200
        assert send(app, "third", "third") == 404


@pytest.mark.parametrize(("source", "expected"), [(None, "/hooks/acme"), ("crm", "crm/acme")])
def test_commands_select_by_tenant(source: str | None, expected: str, tmp_path: Path) -> None:
    """The source is route and tenant: commands select all tenants or one, and replay with the tenant's secret."""
    with serving(tmp_path, source=source) as app:
        send(app, "acme", "acme"), send(app, "other", "new")
        assert listed(app, "--source", expected) == {expected}
        assert listed(app, "--source", source or "/hooks/<tenant>") == {expected, expected.replace("acme", "other")}
        assert len(listed(app, "--source", "standard")) == 2
        for options in (["--dry-run"], ["--yes"]):
            run = app.test_cli_runner().invoke(args=["convex", "webhooks", "replay", "--source", expected, *options])
            assert run.exit_code == 0, run.output
        notes = app.test_cli_runner().invoke(args=["convex", "check"]).output
        assert "/hooks" not in notes and "crm" not in notes


def test_deliver_signs_with_the_secret_of_a_tenant(tmp_path: Path) -> None:
    """`deliver` finds the path and the secret by the source of a tenant, and needs a tenant."""
    with serving(tmp_path, source="crm") as app:
        assert deliver(app.test_client(), "crm/acme", "contact.created", data={}).status_code == 200
        for name in ("crm", "crm/nobody"):
            with pytest.raises(ValueError, match="tenant"):
                deliver(app.test_client(), name, "contact.created", data={})


def test_tenant_is_removed_before_a_replay(tmp_path: Path) -> None:
    """A replay for a tenant whose secret is gone is refused."""

    @internal_query
    def once(ctx: QueryCtx, *, tenant: str) -> str | None:
        return secrets.pop() if secrets else None

    secrets = [secret("acme")]
    http = HttpRouter("http", __name__)
    http.webhook("/hooks/<tenant>", StandardWebhooks(secret=per_tenant("tenant", once)))(see)
    with deployed(tmp_path, http, schema=Schema(Tenant, Seen), functions=[once]) as app:
        assert send(app, "acme", "acme") == 200
        run = app.test_cli_runner().invoke(args=["convex", "webhooks", "replay", "msg_1", "--yes"])
        assert run.exit_code == 1 and "cannot be verified" in run.output


@internal_query
def by_name(ctx: QueryCtx, *, name: str) -> str | None:
    """Take another argument than the variable."""
    return None


@pytest.mark.parametrize(
    ("rule", "query", "message"),
    [
        ("/hooks", signing_secret, r"write /hooks/<tenant>"),
        ("/hooks/<other>", signing_secret, "has a variable, other"),
        ("/hooks/<tenant>", by_name, r"must take tenant: write def by_name\(ctx: QueryCtx, \*, tenant: str\)"),
        ("/hooks/<tenant>", add, "takes a query"),
        ("/hooks/<tenant>", None, "takes a query"),
    ],
)
def test_wrong_tenants_are_rejected(rule: str, query: Any, message: str, tmp_path: Path) -> None:
    """The path has the variable of per_tenant, and the query takes it."""
    with pytest.raises(RegistrationError, match=message), serving(tmp_path, query, rule):
        pass


def test_variable_is_a_name() -> None:
    """The first argument of per_tenant is the name of a variable, and the secrets of tenants are in no list."""
    with pytest.raises(RegistrationError, match="takes the name of a variable"):
        per_tenant("<tenant>", signing_secret)
    with pytest.raises(RegistrationError, match="must be a string or from_env"):
        Stripe(secret=[per_tenant("tenant", signing_secret), "whsec_x"])


def test_source_of_a_tenant_is_distinct(tmp_path: Path) -> None:
    """No other webhook may have the source that a tenant would have."""
    http = HttpRouter("http", __name__)
    http.webhook("/a/<tenant>", StandardWebhooks(secret=per_tenant("tenant", signing_secret)), source="crm")(see)
    http.webhook("/b", Stripe(secret="whsec_of_the_tests_of_tenants"), source="crm/acme")(see)
    functions: list[Any] = [signing_secret]
    with pytest.raises(RegistrationError, match="not distinct"), deployed(tmp_path, http, functions=functions):
        pass
