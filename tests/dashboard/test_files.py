"""The page of stored files."""

import io

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.dashboard.shop import backend_of
from tests.dashboard.visitors import Visitor, next_page, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<script>alert(1)</script>"
PNG = b"\x89PNG\r\n\x1a\n"


def upload(visitor: Visitor, data: bytes, name: str, kind: str) -> TestResponse:
    """Upload a file with the form of the page."""
    fields = {"_csrf_token": visitor.token(), "file": (io.BytesIO(data), name, kind)}
    return visitor.client.post("/_convex/files/upload", data=fields, follow_redirects=True)


def newest(app: Flask) -> str:
    """Return the id of the newest file."""
    return backend_of(app).files.newest(1).documents[0].id


def test_life_of_a_file(app: Flask, visitor: Visitor) -> None:
    """A file is uploaded, shown as text, downloaded and deleted."""
    assert "There are no stored files." in text_of(visitor.get("/files"))
    page = upload(visitor, HOSTILE.encode(), f"{HOSTILE}.html", "text/html")
    assert page.status_code == 200 and HOSTILE not in page.text and HOSTILE in text_of(page)
    content = visitor.get(f"/files/file/{newest(app)}/content")
    assert content.data == HOSTILE.encode() and content.content_type == "application/octet-stream"
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    assert HOSTILE not in visitor.get("/files").text
    assert "Deleted" in text_of(visitor.post(f"/files/file/{newest(app)}/delete"))
    assert backend_of(app).files.newest(1).documents == []


def test_preview(app: Flask, visitor: Visitor) -> None:
    """Images that run nothing are shown, and an SVG image is text."""
    assert 'class="preview"' in upload(visitor, PNG, "a.png", "image/png").text
    shown = visitor.get(f"/files/file/{newest(app)}/content")
    assert (shown.content_type, shown.data) == ("image/png", PNG)
    assert 'class="preview"' not in upload(visitor, b"<svg onload='alert(1)'/>", "a.svg", "image/svg+xml").text
    assert visitor.get(f"/files/file/{newest(app)}/content").content_type == "application/octet-stream"


@pytest.mark.parametrize("name", ["Übersicht 😀.pdf", 'a"b\\c%.pdf', "a\r\nX: y.pdf"])
def test_download_with_any_name(app: Flask, visitor: Visitor, name: str) -> None:
    """The header with a file's name is ASCII, since servers refuse other characters in it."""
    backend_of(app).ctx().storage.store(b"x", name=name)
    header = visitor.get(f"/files/file/{newest(app)}/content").headers["Content-Disposition"]
    assert header.isascii() and header.isprintable() and header.startswith("attachment; filename=")


def test_nothing_chosen(visitor: Visitor) -> None:
    """An upload without a file, and a file that is gone, are explained."""
    assert "Choose a file first." in text_of(visitor.post("/files/upload"))
    for path in ("", "/content"):
        assert visitor.get(f"/files/file/nothing{path}").status_code == 404
    assert visitor.post("/files/file/nothing/delete").status_code == 404
    assert visitor.get("/files?cursor=x").status_code == 400


def test_pages(app: Flask, visitor: Visitor) -> None:
    """Long lists are read in pages."""
    for number in range(52):
        backend_of(app).ctx().storage.store(b"x", name=f"file-{number}")
    first = visitor.get("/files").text
    second = visitor.client.get(next_page(first)).text
    assert (first.count("/files/file/"), second.count("/files/file/")) == (50, 2)


@pytest.mark.parametrize("path", ["upload", "file/{}/delete"])
def test_read_only(app: Flask, reader: Visitor, path: str) -> None:
    """A read-only session sees files and changes none."""
    file = backend_of(app).ctx().storage.store(b"x", name="a.txt")
    assert "a.txt" in reader.get("/files").text and "Upload" not in reader.get("/files").text
    assert reader.post(f"/files/{path.format(file)}").status_code == 403
