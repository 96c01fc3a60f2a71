"""Reports of the example application: work that is asked for in a request and done later."""

from datetime import timedelta

from example_app import convex, reports
from example_app.schema import Item, Report, schema
from flask_convex_http import Id, ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.example.application import Example, example

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def ask(app: Example, words: str) -> str:
    """Ask for a report and answer its id."""
    answer = app.client.post("/api/reports", json={"words": words})
    assert answer.status_code == 202
    report = str(answer.get_json()["id"])
    assert answer.headers["Location"] == f"/api/reports/{report}"
    return report


def test_a_report_is_made_later() -> None:
    """A report is pending when it was asked for, and holds what was found when what is scheduled has run."""
    with example() as app:
        for name in ("Red lamp", "Lamp", "Chair"):
            app.client.post("/api/items", json={"name": name})
        report = ask(app, "lamp")
        assert app.client.get(f"/api/reports/{report}").get_json() == {"state": "pending", "items": None, "error": None}
        assert [job.state for job in run_scheduled(app.backend)] == ["success"]
        assert app.client.get(f"/api/reports/{report}").get_json() == {"state": "success", "items": 2, "error": None}
        assert app.command("scheduled", "list")[0]["name"] == "reports:make"


def test_a_report_outlives_its_job() -> None:
    """A report whose scheduled function was forgotten since is done."""
    with example() as app:
        report = ask(app, "lamp")
        run_scheduled(app.backend)
        jobs = app.backend.jobs
        app.backend.engine.write(lambda transaction: jobs.purge(transaction, app.backend.clock() + 1, 10))
        assert app.rows(ScheduledFunction) == []
        assert app.client.get(f"/api/reports/{report}").get_json()["state"] == "success"


def test_wrong_reports() -> None:
    """An id of a report that is not there is 404, one that is no id of a report 400, a body that does not fit 400."""
    with example() as app:
        gone = "reports_" + "0" * 32
        assert app.client.get(f"/api/reports/{gone}").status_code == 404
        assert app.client.get("/api/reports/items_1").status_code == 400
        assert app.client.post("/api/reports", json={"word": "lamp"}).status_code == 400
        assert app.rows(ScheduledFunction) == []


def test_too_many_reports() -> None:
    """Who asks for more than 60 reports in a minute is told to come back, and nothing is scheduled for them."""
    with example() as app:
        answers = [app.client.post("/api/reports", json={"words": "lamp"}) for _ in range(64)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and {answer.status_code for answer in answers} == {202, 429}
        assert 1 <= int(refused[-1].headers["Retry-After"]) <= 2
        assert len(app.rows(Report)) == 64 - len(refused)


def test_old_reports_are_forgotten() -> None:
    """The cron removes reports that are older than 30 days, and only those."""
    functions, clock = convex.functions, Clock()
    with memory_backend(schema, functions, crons=convex.crons, clock=clock) as backend:
        ctx = backend.ctx()
        old = ctx.run_mutation(reports.start, words="old")
        run_scheduled(backend, advance=timedelta(days=20))
        new = ctx.run_mutation(reports.start, words="new")
        run_scheduled(backend, advance=timedelta(days=12))
        found = {report: ctx.run_query(reports.progress, report=report) is not None for report in (old, new)}
        assert found == {old: False, new: True}


def test_functions_of_items_still_count() -> None:
    """Words are found in names whatever their case."""
    with memory_backend(schema, convex.functions, clock=Clock()) as backend:
        ids: list[Id[Item]] = [backend.ctx().run_mutation("items:create", name=name) for name in ("LAMP", "Desk")]
        assert len(ids) == 2
        assert backend.ctx().run_query(reports.count, words="lamp") == 1
