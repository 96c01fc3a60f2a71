"""Reports of the example application, which a request schedules and a worker creates."""

from datetime import timedelta

from example_app import convex, reports
from example_app.schema import Item, Report, schema
from flask_convex_http import Id, ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.example.application import Example, example

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def request_report(app: Example, words: str) -> str:
    """Request a report and return its id."""
    response = app.client.post("/api/reports", json={"words": words})
    assert response.status_code == 202
    report = str(response.get_json()["id"])
    assert response.headers["Location"] == f"/api/reports/{report}"
    return report


def test_report_is_created_by_a_job() -> None:
    """A report is pending after the request, and has its result after the job has run."""
    with example() as app:
        for name in ("Red lamp", "Lamp", "Chair"):
            app.client.post("/api/items", json={"name": name})
        report = request_report(app, "lamp")
        assert app.client.get(f"/api/reports/{report}").get_json() == {"state": "pending", "items": None, "error": None}
        assert [job.state for job in run_scheduled(app.backend)] == ["success"]
        assert app.client.get(f"/api/reports/{report}").get_json() == {"state": "success", "items": 2, "error": None}
        assert app.command("scheduled", "list")[0]["name"] == "reports:make"


def test_report_outlives_its_job() -> None:
    """A report whose job was purged is in the state success."""
    with example() as app:
        report = request_report(app, "lamp")
        run_scheduled(app.backend)
        jobs = app.backend.jobs
        app.backend.engine.write(lambda transaction: jobs.purge(transaction, app.backend.clock() + 1, 10))
        assert app.rows(ScheduledFunction) == []
        assert app.client.get(f"/api/reports/{report}").get_json()["state"] == "success"


def test_invalid_requests() -> None:
    """An unknown report id is 404, an invalid id and an invalid body are 400."""
    with example() as app:
        gone = "reports_" + "0" * 32
        assert app.client.get(f"/api/reports/{gone}").status_code == 404
        assert app.client.get("/api/reports/items_1").status_code == 404
        assert app.client.post("/api/reports", json={"word": "lamp"}).status_code == 400
        assert app.rows(ScheduledFunction) == []


def test_rate_limit_of_reports() -> None:
    """More than 60 requests in a minute are 429 with Retry-After, and schedule nothing."""
    with example() as app:
        responses = [app.client.post("/api/reports", json={"words": "lamp"}) for _ in range(64)]
        limited = [response for response in responses if response.status_code == 429]
        assert limited and {response.status_code for response in responses} == {202, 429}
        assert 1 <= int(limited[-1].headers["Retry-After"]) <= 2
        assert len(app.rows(Report)) == 64 - len(limited)


def test_old_reports_are_purged() -> None:
    """The cron purges reports that are older than 30 days, and no others."""
    functions, clock = convex.functions, Clock()
    with memory_backend(schema, functions, crons=convex.crons, clock=clock) as backend:
        ctx = backend.ctx()
        old = ctx.run_mutation(reports.start, words="old")
        run_scheduled(backend, advance=timedelta(days=20))
        new = ctx.run_mutation(reports.start, words="new")
        run_scheduled(backend, advance=timedelta(days=12))
        found = {report: ctx.run_query(reports.progress, report=report) is not None for report in (old, new)}
        assert found == {old: False, new: True}


def test_words_match_in_any_case() -> None:
    """The words of a report match names in any case."""
    with memory_backend(schema, convex.functions, clock=Clock()) as backend:
        ids: list[Id[Item]] = [backend.ctx().run_mutation("items:create", name=name) for name in ("LAMP", "Desk")]
        assert len(ids) == 2
        assert backend.ctx().run_query(reports.count, words="lamp") == 1
