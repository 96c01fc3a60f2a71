"""Files of clients: uploads from a page of another origin, and absolute URLs."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import (
    ActionCtx,
    Crons,
    Id,
    MutationCtx,
    QueryCtx,
    StoredFile,
    action,
    internal_mutation,
    mutation,
    query,
)
from flask_convex_http.testing import Clock, run_scheduled
from tests.databases import EACH_ENGINE
from tests.function_api.shop import call, shop
from tests.web.apps import backend_of

pytestmark = EACH_ENGINE
URLS: list[str | None] = []


@mutation
def generate_upload_url(ctx: MutationCtx) -> str:
    """Return a URL that a client uploads a file to."""
    return ctx.storage.generate_upload_url()


@query
def url_of(ctx: QueryCtx, *, file_id: Id[StoredFile]) -> str | None:
    """Return the URL of a file."""
    return ctx.storage.get_url(file_id)


@action
def url_in_action(ctx: ActionCtx, *, file_id: Id[StoredFile]) -> str | None:
    """Return the URL of a file."""
    return ctx.storage.get_url(file_id)


@internal_mutation
def keep_url(ctx: MutationCtx, *, file_id: Id[StoredFile]) -> None:
    """Make the URL of a file, as a job."""
    URLS.append(ctx.storage.get_url(file_id))


@mutation
def schedule_url(ctx: MutationCtx, *, file_id: Id[StoredFile]) -> None:
    """Schedule the job."""
    ctx.scheduler.run_after(0, keep_url, file_id=file_id)


@internal_mutation
def upload_url_of_cron(ctx: MutationCtx) -> None:
    """Make an upload URL, in a cron."""
    URLS.append(ctx.storage.generate_upload_url())


FUNCTIONS = [generate_upload_url, url_of, url_in_action, keep_url, schedule_url, upload_url_of_cron]


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    URLS.clear()
    with shop(tmp_path, functions=FUNCTIONS, TESTING=True) as app:
        yield app


def uploaded(app: Flask) -> str:
    """Return the id of a file that a page of another origin has uploaded."""
    url = call(app, "mutation", "testFiles:generateUploadUrl")["value"]
    assert url.startswith("http://localhost/")
    origin = {"Origin": "https://app.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = app.test_client().options(url, headers=origin | asked)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "*")
    response = app.test_client().post(url, data=b"a photo", headers=origin | {"Content-Type": "image/png"})
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (200, "*")
    return str(response.get_json()["storageId"])


def test_upload_and_urls(app: Flask) -> None:
    """A client uploads to a URL of a mutation, and the URLs of the file are absolute, in queries and actions."""
    file_id = uploaded(app)
    for kind, name in (("query", "testFiles:urlOf"), ("action", "testFiles:urlInAction")):
        url = call(app, kind, name, {"fileId": file_id})["value"]
        assert url.startswith("http://localhost/")
        assert app.test_client().get(url).data == b"a photo"


def test_id_of_another_table_names_no_table(app: Flask) -> None:
    """An argument that is an id of another table is an error with its path, and without the name of a table."""
    failed = call(app, "query", "testFiles:urlOf", {"fileId": "items_" + "0" * 32})["errorMessage"]
    assert failed.endswith("ArgumentValidationError: Expected a valid id - at `$.fileId`")


def test_url_in_job_needs_the_site(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """A job that makes a URL fails with an error that names CONVEX_SITE_URL, since it knows no address."""
    call(app, "mutation", "testFiles:scheduleUrl", {"fileId": uploaded(app)})
    run_scheduled(app)
    assert URLS == []
    assert "set CONVEX_SITE_URL to the URL" in caplog.text


def test_urls_in_jobs_and_crons(tmp_path: Path) -> None:
    """With CONVEX_SITE_URL the URLs of jobs and crons are absolute, and so are those of functions."""
    URLS.clear()
    crons, clock = Crons(), Clock()
    crons.interval("urls", timedelta(minutes=5), upload_url_of_cron)
    site = "https://shop.example"
    with shop(tmp_path, functions=FUNCTIONS, crons=crons, clock=clock, CONVEX_SITE_URL=site, TESTING=True) as app:
        url = call(app, "mutation", "testFiles:generateUploadUrl")["value"]
        file_id = app.test_client().post(url.removeprefix(site), data=b"x").get_json()["storageId"]
        call(app, "mutation", "testFiles:scheduleUrl", {"fileId": file_id})
        backend_of(app).crons.register()
        run_scheduled(app, advance=timedelta(minutes=6))
        assert len(URLS) == 3  # of the job, and of two ticks
        assert all(found is not None and found.startswith("https://shop.example/") for found in URLS)
