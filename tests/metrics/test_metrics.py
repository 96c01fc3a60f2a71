"""Metrics of an app, as a scrape reads them."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http import ConvexHTTP, GitHub, RegistrationError
from flask_convex_http.metrics.definitions import METRICS
from flask_convex_http.metrics.gauges import GAUGES
from flask_convex_http.testing import Clock, deliver, run_scheduled
from tests.databases import SQLITE_ONLY
from tests.lengths import LONG
from tests.metrics.shop import PATH, SECRET, TOKEN, measured, place_later, samples_of, scrape, ship
from tests.web.apps import backend_of

pytestmark = pytest.mark.usefixtures("each_engine")


def test_requests_are_counted_by_route(tmp_path: Path) -> None:
    """Requests count by method, rule and status. Paths that no route has share one label."""
    with measured(tmp_path) as app:
        client = app.test_client()
        for path in ("/orders/tea", "/orders/milk", "/orders/%20"):
            client.post(path)
        for path in ("/health", "/wp-login.php", "/.env"):
            client.get(path)
        client.open("/health", method="BREW")
        found = scrape(app)
        counts = {name: value for name, value in found.items() if name.startswith("convex_http_requests_total")}
        assert counts == {
            'convex_http_requests_total{method="POST",route="/orders/<text>",status="200"}': 2,
            'convex_http_requests_total{method="POST",route="/orders/<text>",status="400"}': 1,
            'convex_http_requests_total{method="GET",route="/health",status="200"}': 1,
            'convex_http_requests_total{method="GET",route="unmatched",status="404"}': 2,
            'convex_http_requests_total{method="_OTHER",route="unmatched",status="405"}': 1,
        }
        seconds = 'convex_http_request_duration_seconds_{}{{{}method="POST",route="/orders/<text>"}}'
        assert found[seconds.format("count", "")] == 3
        assert found[seconds.format("bucket", 'le="+Inf",')] == 3
        assert 0 < found[seconds.format("sum", "")] < 60
        again = scrape(app)
        assert again['convex_http_requests_total{method="GET",route="/_convex/metrics",status="200"}'] == 1


def test_functions_and_transactions_are_counted(tmp_path: Path) -> None:
    """Calls count by function, kind and outcome, and transactions with their wait."""
    with measured(tmp_path) as app:
        app.test_client().post("/orders/tea")
        app.test_client().post("/orders/%20")
        with app.app_context():
            backend_of(app).ctx().run_action(ship)
        found = scrape(app)
        calls = 'convex_function_calls_total{{function="shop:{}",kind="{}",outcome="{}"}}'
        assert found[calls.format("place", "mutation", "success")] == 2
        assert found[calls.format("place", "mutation", "error")] == 1
        assert found[calls.format("ship", "action", "success")] == 1
        assert found['convex_function_call_duration_seconds_count{function="shop:place",kind="mutation"}'] == 3
        assert found['convex_transaction_duration_seconds_count{outcome="success"}'] == 2
        assert found['convex_transaction_duration_seconds_count{outcome="error"}'] == 1
        assert found["convex_write_wait_seconds_count"] == 3
        assert found["convex_transaction_retries_total"] == 0


def test_deliveries_are_counted_without_their_tenants(tmp_path: Path) -> None:
    """Deliveries count by source and state or reason. The tenants of one webhook share its source."""
    with measured(tmp_path) as app:
        client = app.test_client()
        deliver(client, "/hooks/github", "push", duplicate=2)
        for shop in ("shop-1", "shop-2"):
            deliver(client, GitHub(secret=SECRET), "push", path=f"/hooks/{shop}/github")
            client.post(f"/hooks/{shop}/github", data=b"{}", headers={"X-Hub-Signature-256": "sha256=" + "0" * 64})
        found = scrape(app)
        assert found['convex_deliveries_total{source="/hooks/github",state="done"}'] == 1
        assert found['convex_deliveries_total{source="/hooks/github",state="duplicate"}'] == 1
        assert found['convex_deliveries_total{source="/hooks/<shop>/github",state="done"}'] == 2
        rejected = {name: value for name, value in found.items() if name.startswith("convex_rejected_deliveries_total")}
        assert sum(rejected.values()) == 2
        assert all('source="/hooks/<shop>/github"' in name for name in rejected)
        assert not any("shop-1" in name for name in found)


def test_jobs_are_counted_and_gauged(tmp_path: Path) -> None:
    """Gauges tell the jobs by state and how late the worker is, and counters tell how attempts have ended."""
    clock = Clock()
    with measured(tmp_path, clock=clock) as app, app.app_context():
        ctx = backend_of(app).ctx()
        ctx.run_mutation(place_later)
        ctx.run_mutation(place_later, text=" ")
        ctx.run_mutation(place_later, seconds=3600)
        clock.advance(timedelta(seconds=30))
        found = scrape(app)
        assert [found[f'convex_jobs{{state="{state}"}}'] for state in ("due", "scheduled", "running")] == [2, 1, 0]
        assert found["convex_worker_lag_seconds"] == pytest.approx(30)
        run_scheduled(app)
        found = scrape(app)
        assert [found[f'convex_jobs{{state="{state}"}}'] for state in ("due", "scheduled", "failed")] == [0, 1, 1]
        assert found["convex_worker_lag_seconds"] == 0
        attempts = 'convex_job_attempts_total{{function="shop:place",outcome="{}"}}'
        assert [found[attempts.format(outcome)] for outcome in ("success", "failed")] == [1, 1]
        assert found["convex_job_lag_seconds_count"] == 2
        assert found["convex_job_lag_seconds_sum"] == pytest.approx(60)


def test_the_database_has_gauges(tmp_path: Path, each_engine: str) -> None:
    """Sizes are those of the database, and its log is left out where it is a whole server's."""
    with measured(tmp_path) as app:
        found = scrape(app)
        assert found["convex_database_bytes"] + found.get("convex_database_wal_bytes", 0) > 10_000
        assert found["convex_database_up"] == 1
        assert ("convex_database_wal_bytes" in found) == (each_engine == "sqlite")
        assert found["convex_processes"] == 1
        assert (found["convex_workers"], found["convex_live_connections"], found["convex_live_queries"]) == (0, 0, 0)


@SQLITE_ONLY
def test_a_database_that_does_not_respond_leaves_its_gauges_out(tmp_path: Path) -> None:
    """While the database cannot be read, a scrape with the token has everything else, and says so."""
    with measured(tmp_path, is_kept=True) as app:
        app.test_client().get("/health")
        backend_of(app).close()
        (tmp_path / "convex.db").rename(tmp_path / "gone.db")
        found = scrape(app)
        assert found["convex_database_up"] == 0
        assert "convex_database_bytes" not in found
        assert found['convex_http_requests_total{method="GET",route="/health",status="200"}'] == 1
        response = app.test_client().get(PATH, headers={"Authorization": f"Bearer admin_{'x' * 40}"})
        assert response.status_code in (403, 503)


# --- the endpoint ----------------------------------------------------------------------------------------------------


def test_a_scrape_needs_a_credential(tmp_path: Path) -> None:
    """Without the token or an admin key a scrape gets 401 or 403, and no number."""
    with measured(tmp_path) as app, app.app_context():
        client = app.test_client()
        key, _ = backend_of(app).admin_keys.create()
        user_key, _ = backend_of(app).api_keys.create(name="a key", scopes=["read"])
        for value in ("", "Bearer", "Basic eDp5", TOKEN, f"X {TOKEN}"):
            response = client.get(PATH, headers={"Authorization": value} if value else {})
            assert (response.status_code, response.json) == (401, {"error": "Missing or invalid Authorization header"})
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        for value in ("wrong", TOKEN[:-1], TOKEN + "x", "\xff\xfe", user_key, key + "x", "admin_" + "x" * 40):
            response = client.get(PATH, headers={"Authorization": f"Bearer {value}"})
            assert (response.status_code, response.json) == (403, {"error": "Invalid token"})
        for value in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", f"Bearer {key}", f"Convex {key}"):
            assert client.get(PATH, headers={"Authorization": value}).status_code == 200
        assert client.post(PATH, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 404
        backend_of(app).admin_keys.revoke(None)
        assert client.get(PATH, headers={"Authorization": f"Convex {key}"}).status_code == 403


def test_the_app_does_not_guard_the_endpoint(tmp_path: Path) -> None:
    """A `before_request` function of the app, such as a login, does not apply to scrapes."""
    with measured(tmp_path) as app:
        app.before_request(lambda: ("log in", 302))
        assert app.test_client().get("/health").status_code == 302
        assert scrape(app)["convex_database_up"] == 1


def test_formats(tmp_path: Path) -> None:
    """Prometheus gets OpenMetrics where it asks for it, compressed if it accepts that, and single metrics by name."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    with measured(tmp_path) as app:
        app.test_client().get("/health")
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text; version=1.0.0"}
        response = app.test_client().get(PATH, headers=headers)
        assert response.content_type.startswith("application/openmetrics-text")
        families = list(text_string_to_metric_families(response.text))  # type: ignore[no-untyped-call]
        assert "convex_http_requests" in {family.name for family in families}
        compressed = app.test_client().get(PATH, headers=headers | {"Accept-Encoding": "gzip"})
        assert compressed.headers["Content-Encoding"] == "gzip"
        one = app.test_client().get(f"{PATH}?name[]=convex_database_up", headers={"Authorization": f"Bearer {TOKEN}"})
        assert samples_of(one.text) == {"convex_database_up": 1}


def test_names_follow_the_conventions_of_prometheus() -> None:
    """Each metric has one unit, a base unit, `_total` if and only if it counts, and few labels."""
    units = ("seconds", "bytes")
    for metric in METRICS:
        assert metric.name.endswith("_total") != bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
    for name, help_text, labels in [(one.name, one.help, one.labels) for one in (*METRICS, *GAUGES)]:
        assert re.fullmatch(r"convex_[a-z][a-z_]*[a-z]", name)
        assert help_text.endswith(".") and help_text[0].isupper()
        assert not re.search(r"milliseconds|_ms\b|minutes|kilobytes|_mb\b|duration$|_size_bytes_|count$|sum$", name)
        assert ("duration" not in name and "lag" not in name) or name.endswith(units)
        assert set(labels) <= {"method", "route", "status", "function", "kind", "outcome", "source", "state", "reason"}
    names = [metric.name.removesuffix("_total") for metric in (*METRICS, *GAUGES)]
    assert len(set(names)) == len(names)


# --- off -------------------------------------------------------------------------------------------------------------


def test_without_metrics_nothing_is_served(tmp_path: Path) -> None:
    """An app without metrics has no such path, and observes nothing."""
    with measured(tmp_path, metrics=False) as app:
        assert app.test_client().get(PATH, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 404
        assert not backend_of(app).telemetry.is_on


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_only_a_boolean_switches_metrics_on(value: object) -> None:
    """Another value than True or False is an error that says so."""
    with pytest.raises(RegistrationError, match=r"metrics=.* must be True or False"):
        ConvexHTTP(metrics=value)  # type: ignore[arg-type]  # what is tested


@LONG
def test_without_metrics_nothing_is_imported() -> None:
    """An app without metrics imports neither the folder nor prometheus-client, and one with them names the package."""
    program = """
import sys
from flask import Flask
from flask_convex_http import ConvexHTTP
ConvexHTTP(Flask("shop"))
assert not [name for name in sys.modules if name.startswith(("flask_convex_http.metrics", "prometheus"))]
sys.modules["prometheus_client"] = None
ConvexHTTP(Flask("shop"), metrics=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "metrics=True needs prometheus-client" in result.stderr.splitlines()[-1]
    assert "pip install 'prometheus-client" in result.stderr


def test_an_app_of_its_own_folder(tmp_path: Path) -> None:
    """The numbers are beside the database file, in a folder that only its owner can read."""
    with measured(tmp_path, is_kept=True) as app:
        app.test_client().get("/health")
        scrape(app)
        folders = [path for path in tmp_path.rglob("*.metrics") if path.is_dir()]
        assert len(folders) == 1
        assert folders[0].stat().st_mode & 0o077 == 0


def test_a_closed_app_shares_its_last_numbers(tmp_path: Path) -> None:
    """When a backend is closed its thread ends, and what it has counted is in its file. Afterwards it counts on."""
    with measured(tmp_path, is_kept=True) as app:
        app.test_client().get("/health")
        backend_of(app).close()
        [shared] = tmp_path.rglob("*.metrics/*-*.json")
        assert '"/health"' in shared.read_text()
        app.test_client().get("/health")
        assert scrape(app)['convex_http_requests_total{method="GET",route="/health",status="200"}'] == 2
