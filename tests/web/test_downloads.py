"""Downloads of files: validators, ranges, URLs that expire or are revoked, and bounded memory."""

import re
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.testing import Clock
from tests import stores
from tests.lengths import SAMPLED, examples
from tests.web.apps import send
from tests.web.stored_files import BODY, minutes, request, storing, url_of

pytestmark = stores.EACH_STORE

MIB = 2**20


def test_head_and_validators(tmp_path: Path) -> None:
    """HEAD has the headers of GET and no body; an unchanged file is 304, with the same ETag and Cache-Control."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY, content_type="image/png"))
        full, head = request(app, "GET", url), request(app, "HEAD", url)
        assert (head.status_code, head.data) == (200, b"")
        for response in (full, head):
            del response.headers["X-Request-Id"]
        assert list(head.headers) == list(full.headers)
        assert full.headers["Content-Length"] == str(len(BODY))
        assert full.headers["Accept-Ranges"] == "bytes"
        etag = full.headers["ETag"]
        for condition in (etag, "W/" + etag, f'"other", {etag}', "*"):
            response = request(app, "GET", url, HTTP_IF_NONE_MATCH=condition)
            assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)
            assert response.headers["Cache-Control"] == full.headers["Cache-Control"]
        for condition in ('"other"', "", "garbage é"):
            assert request(app, "GET", url, HTTP_IF_NONE_MATCH=condition).status_code == 200


def test_ranges(tmp_path: Path) -> None:
    """One range is 206 with Content-Range, a range beyond the end is 416, and any other Range header is ignored."""
    with storing(tmp_path) as (app, storage):
        url, size = url_of(storage, storage.store(BODY)), len(BODY)
        for header, start, stop in (("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=-5", size - 5, size)):
            response = request(app, "GET", url, HTTP_RANGE=header)
            assert (response.status_code, response.data) == (206, BODY[start:stop])
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert response.headers["Content-Length"] == str(stop - start)
        beyond = request(app, "GET", url, HTTP_RANGE=f"bytes={size}-")
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
        for header in ("bytes=0-1,3-4", "lines=0-1", "bytes=9-5", "garbage", "bytes=é-"):
            response = request(app, "GET", url, HTTP_RANGE=header)
            assert (response.status_code, response.data) == (200, BODY)


def test_head_ignores_range(tmp_path: Path) -> None:
    """HEAD ignores a Range header, whether it could be satisfied or not (RFC 9110, 14.2)."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY))
        for header in ("bytes=0-9", f"bytes={len(BODY)}-"):
            response = request(app, "HEAD", url, HTTP_RANGE=header)
            assert (response.status_code, response.headers["Content-Length"]) == (200, str(len(BODY)))
            assert "Content-Range" not in response.headers


def test_if_range(tmp_path: Path) -> None:
    """With If-Range a range is sent only for the same strong ETag, never for a date or a weak ETag."""
    with storing(tmp_path) as (app, storage):
        url = url_of(storage, storage.store(BODY))
        etag = request(app, "GET", url).headers["ETag"]
        conditions = {etag: 206, "W/" + etag: 200, '"other"': 200, "Wed, 21 Oct 2015 07:28:00 GMT": 200, "": 200}
        for condition, status in conditions.items():
            response = request(app, "GET", url, HTTP_RANGE="bytes=0-4", HTTP_IF_RANGE=condition)
            assert response.status_code == status
            assert response.data == (BODY[:5] if status == 206 else BODY)


def test_url_expires(tmp_path: Path) -> None:
    """A URL is valid at least as long as asked, and Cache-Control keeps no browser's copy longer than that."""
    clock = Clock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    with storing(tmp_path, clock) as (app, storage):
        file_id = storage.store(BODY)
        urls = (url_of(storage, file_id, **options) for options in ({}, minutes(10), {"expires_in": timedelta(0, 30)}))
        lasting, short, shortest = urls
        ages = [request(app, "GET", url).headers["Cache-Control"] for url in (lasting, short, shortest)]
        assert ages == ["private, max-age=86400", "private, max-age=1200", "private, max-age=30"]
        clock.advance(timedelta(minutes=19, seconds=59))
        assert [request(app, "GET", url).status_code for url in (short, shortest)] == [200, 403]
        clock.advance(timedelta(seconds=1))
        assert request(app, "GET", short).status_code == 403
        clock.advance(timedelta(days=1000))
        assert request(app, "GET", lasting).status_code == 200


def test_urls_are_stable(tmp_path: Path) -> None:
    """Repeated calls return the same URL for as long as its lifetime, up to a day, so that images are cached."""
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    with storing(tmp_path, clock) as (_, storage):
        file_id = storage.store(BODY)
        for lifetime, step in ((timedelta(minutes=5),) * 2, (timedelta(days=30), timedelta(days=1))):
            first = url_of(storage, file_id, expires_in=lifetime)
            clock.advance(step - timedelta(seconds=1))
            assert url_of(storage, file_id, expires_in=lifetime) == first
            clock.advance(timedelta(seconds=1))
            assert url_of(storage, file_id, expires_in=lifetime) != first
            clock.advance_to(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1000)


def test_files_may_have_an_origin_of_their_own(tmp_path: Path) -> None:
    """URLs of files begin with CONVEX_FILES_URL, and upload URLs with the address of the app."""
    with storing(tmp_path, CONVEX_FILES_URL="https://files.example") as (app, storage):
        url = url_of(storage, storage.store(BODY))
        assert url.startswith("https://files.example/api/storage/")
        assert request(app, "GET", url).data == BODY
        assert storage.generate_upload_url().startswith("http://localhost/")


def test_urls_can_be_revoked(tmp_path: Path) -> None:
    """After revoke_urls every older URL is rejected, and new URLs work."""
    with storing(tmp_path) as (app, storage):
        file_id = storage.store(BODY)
        before = [url_of(storage, file_id), url_of(storage, file_id, expires_in=timedelta(days=1))]
        storage.revoke_urls(file_id)
        assert [request(app, "GET", url).status_code for url in before] == [403, 403]
        assert request(app, "GET", url_of(storage, file_id)).status_code == 200


def test_tampered_url_is_rejected(tmp_path: Path) -> None:
    """A changed URL, or one with another file's signature, is rejected."""
    with storing(tmp_path) as (app, storage):
        mine, other = (url_of(storage, storage.store(body)) for body in (BODY, b"other"))
        expiring = url_of(storage, storage.store(BODY), expires_in=timedelta(minutes=1))
        swapped = mine.split("?")[0] + "?" + other.split("?")[1]
        later = re.sub(r"expires=\d+", "expires=99999999999", expiring)
        unlimited = re.sub(r"expires=\d+&", "", expiring)
        doubled = mine.replace("?", "?expires=99999999999&")
        unsigned, foreign = mine.split("?")[0], mine.replace("signature=", "signature=%C3%A9")
        for url in (swapped, later, unlimited, doubled, mine[:-1], unsigned, foreign):
            response = request(app, "GET", url)
            assert (response.status_code, response.json) == (403, {"error": "Invalid or expired URL"})


@SAMPLED
def test_hostile_ids_are_not_found(tmp_path: Path) -> None:
    """No text in place of a file id causes a server error."""
    with storing(tmp_path) as (app, storage):
        real = storage.store(BODY)

        similar = [real + "x", real[:-1], real.upper(), "users_" + real[9:]]

        @given(file_id=st.text(max_size=80) | st.sampled_from(similar))
        @settings(max_examples=examples(60), deadline=None)
        def check(file_id: str) -> None:
            path = "/api/storage/" + file_id.encode("utf-8", "replace").decode()
            for method in ("GET", "POST", "HEAD"):
                assert send(app, method, path, QUERY_STRING="signature=x&expires=1").status_code in (403, 404, 405)

        check()


class Zeros:
    """A stream of zeros."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        self._left -= count
        return bytes(count)


def test_memory_is_bounded(tmp_path: Path, each_store: str) -> None:
    """An upload and a download of 64 MiB take less than 16 MiB of memory, or 32 MiB with S3.

    S3 takes three parts of 8 MiB at a time.
    """
    size, most = 64 * MIB, {"sqlite": 16 * MIB, "s3": 32 * MIB}[each_store]
    with storing(tmp_path) as (app, storage):
        parts = urlsplit(storage.generate_upload_url())
        tracemalloc.start()
        try:
            environ: dict[str, Any] = {"wsgi.input": Zeros(size), "CONTENT_LENGTH": str(size)}
            uploaded = send(app, "POST", parts.path, QUERY_STRING=parts.query, **environ).json or {}
            url = urlsplit(url_of(storage, uploaded["storageId"]))
            response = app.test_client().get(f"{url.path}?{url.query}", buffered=False)
            received = sum(len(chunk) for chunk in response.iter_encoded())
            response.close()
            assert (received, tracemalloc.get_traced_memory()[1] < most) == (size, True)
        finally:
            tracemalloc.stop()
