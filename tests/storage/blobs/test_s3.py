"""The S3 store: error messages, lost responses, objects in the bucket, and URLs for clients."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from flask_convex_http.config import Settings
from flask_convex_http.errors import ConfigurationError, EngineError, OverloadedError, UnavailableError
from flask_convex_http.storage.blobs import Served, open_blobs
from flask_convex_http.storage.blobs.s3 import S3Blobs
from tests import s3
from tests.storage.blobs.faults import FaultyProxy, faulty_proxy_to
from tests.storage.blobs.members import KIB, MIB, body_of, content, list_keys, s3_blobs
from tests.stores import NEEDS_SIGNATURES

MINUTE = timedelta(minutes=1)
USES: list[Callable[[S3Blobs], Any]] = [
    lambda store: store.write("a", [b"x"]),
    lambda store: store.write("a", [bytes(MIB)]),
    lambda store: store.read("a"),
    lambda store: store.exists("a"),
    lambda store: store.delete("a"),
    lambda store: list(store.keys()),
    lambda store: store.total(),
]


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[S3Blobs]:
    with closing(s3_blobs(tmp_path)) as store:
        yield store


@pytest.fixture(name="proxy")
def _proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    s3.use_server()
    with faulty_proxy_to(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def request(url: str | None, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
    """Send a client's request to the store."""
    assert url is not None
    headers = {"Content-Type": "a/b", **headers}  # moto's server reads a form instead, which is urllib's default
    return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=30)


def status_of_error(url: str | None, method: str = "GET", body: bytes | None = None) -> int:
    """Return the status with which the store rejects a request."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        request(url, method, body)
    caught.value.close()
    return caught.value.code


def unfinished_parts() -> list[str]:
    """Return the keys of unfinished multipart uploads."""
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    with closing(client):
        return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=s3.BUCKET).get("Uploads", [])]


# --- errors and outages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
def test_missing_bucket(use: Callable[[S3Blobs], Any]) -> None:
    """Every operation on a missing bucket raises an error that names the bucket."""
    s3.use_server()
    with (
        closing(S3Blobs("s3://not-there/prefix", small=KIB)) as store,
        pytest.raises(EngineError, match="The bucket 'not-there' of CONVEX_STORAGE_URL does not exist"),
    ):
        use(store)


@NEEDS_SIGNATURES
@pytest.mark.parametrize("use", USES)
def test_wrong_secret(use: Callable[[S3Blobs], Any], store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation with rejected credentials names the variables, and not their values."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(EngineError, match=r"refuses what was asked .*AWS_SECRET_ACCESS_KEY") as caught:
        use(store)
    assert not isinstance(caught.value, UnavailableError)
    assert "not-the-secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_no_credentials(store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, and on a machine without a role, the error names the variables to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(EngineError, match="needs credentials: set AWS_ACCESS_KEY_ID"):
        store.exists("a")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://host", "http://", "https://user:secret@host", "http://a b"])
def test_invalid_endpoint(name: str, endpoint: str, store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid endpoint is reported by its variable; its value, which may contain a secret, is not shown."""
    monkeypatch.setenv(name, endpoint)
    with pytest.raises(EngineError, match=f"{name} must look like https://") as caught:
        store.exists("a")
    assert endpoint not in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"])
@pytest.mark.parametrize("value", ["key\n", " key", "clé"])
def test_invalid_credentials(name: str, value: str, store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential with a line break, as a file leaves it, or a space is reported by its variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=f"{name} has a line break, a space or another") as caught:
        store.exists("a")
    assert value not in str(caught.value)


@pytest.mark.parametrize("use", USES)
def test_unreachable(use: Callable[[S3Blobs], Any], store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be reached raises an UnavailableError with Retry-After that does not blame the database."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError) as caught:
        use(store)
    assert (caught.value.status, caught.value.retry_after, caught.value.by_engine) == (503, 10, False)


@pytest.mark.parametrize(("status", "kind"), [(503, OverloadedError), (500, UnavailableError)])
def test_failing_server(status: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that keeps failing with 503 or 500 raises OverloadedError or UnavailableError."""

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: Any) -> None:
            pass

    s3.use_server()
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(kind):
            S3Blobs("s3://bucket").exists("a")
        server.shutdown()


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without obstore an s3:// URL raises ConfigurationError, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "flask_convex_http.storage.blobs.s3", None)
    with pytest.raises(ConfigurationError, match="pip install 'obstore>="):
        open_blobs(Settings(storage_url="s3://bucket"), tmp_path)


def test_closed_store_raises(store: S3Blobs) -> None:
    """Using a store after close() raises an error with the fix."""
    store.close()
    with pytest.raises(EngineError, match="make a new one"):
        store.exists("a")


def test_truncated_response_is_retried(store: S3Blobs, proxy: FaultyProxy) -> None:
    """A connection that breaks during a read is retried, and the reader does not notice."""
    body = body_of("a", MIB)
    store.write("a", [body])
    proxy.method, proxy.faults = b"GET", [0, 20_000, 100]
    assert content(store, "a") == body
    assert proxy.cut == 3


def test_connection_that_always_breaks(store: S3Blobs, proxy: FaultyProxy) -> None:
    """A read whose connection breaks every time raises UnavailableError instead of returning a part of the bytes."""
    store.write("a", [body_of("a", MIB)])
    pieces = store.read("a")
    next(pieces)
    proxy.method, proxy.faults = b"GET", [300] * 100
    with pytest.raises(UnavailableError):
        list(pieces)


@pytest.mark.parametrize(
    ("size", "method", "faults"),
    [
        (10, b"PUT", [0]),
        (6 * MIB, b"PUT", [0]),
        (6 * MIB, b"PUT", [None, 0]),
        (6 * MIB, b"POST", [0]),
        (6 * MIB, b"POST", [None, 0]),
    ],
    ids=["all bytes", "the claim", "a part", "the start", "the end"],
)
def test_lost_response_to_a_write(
    store: S3Blobs, proxy: FaultyProxy, size: int, method: bytes, faults: list[int | None]
) -> None:
    """A write whose response is lost, at any step, succeeds and recognizes its own bytes when it retries."""
    body = body_of("a", size)
    proxy.method, proxy.faults = method, faults
    store.write("a", [body[:KIB], body[KIB:]])
    assert content(store, "a") == body
    assert proxy.cut == 1


# --- objects in the bucket -----------------------------------------------------------------------------------------


def test_failing_source_leaves_no_parts(store: S3Blobs) -> None:
    """When the source fails after a part was uploaded, the part is removed too."""

    def pieces() -> Iterator[bytes]:
        yield bytes(6 * MIB)
        assert any("halfway" in key for key in unfinished_parts())
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        store.write("halfway", pieces())
    assert not any("halfway" in key for key in unfinished_parts())
    assert list_keys(store) == []


def test_prefixes_separate_stores(tmp_path: Path) -> None:
    """Stores with different prefixes in one bucket are separate, even if one prefix starts with the other."""
    with closing(s3_blobs(tmp_path / "a")) as one, closing(s3_blobs(tmp_path / "ab")) as other:
        one.write("k", [b"one"])
        other.write("k", [b"other"])
        other.write("l", [b"other"])
        assert (content(one, "k"), list_keys(one), one.total()) == (b"one", ["k"], (1, 3))


def test_object_name_is_the_key(store: S3Blobs) -> None:
    """The object's name is the prefix and the id of the file, so that it can be found in the bucket."""
    store.write("_storage_0190f3a1", [b"x"])
    assert "/deep/files/_storage_0190f3a1?" in str(store.signed_url("GET", "_storage_0190f3a1", MINUTE))


@pytest.mark.parametrize("size", [10, MIB, 6 * MIB])
def test_served_with_the_given_headers(store: S3Blobs, size: int) -> None:
    """The store serves a blob with the given type and disposition, whether it was uploaded at once or in parts."""
    store.write("a", [bytes(size)], Served("text/html", "attachment; filename=a"))
    with request(store.signed_url("GET", "a", MINUTE)) as response:
        headers = response.headers
        assert len(response.read()) == size
    assert (headers["Content-Type"], headers["Content-Disposition"]) == ("text/html", "attachment; filename=a")
    assert headers["Cache-Control"] == "private, max-age=86400, immutable"


def test_served_as_a_download_by_default(store: S3Blobs) -> None:
    """A blob without a type is served as a download."""
    store.write("a", [b"<script>"])
    with request(store.signed_url("GET", "a", MINUTE)) as response:
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Content-Disposition"] == "attachment"


# --- URLs for clients ----------------------------------------------------------------------------------------------


def test_signed_urls(store: S3Blobs) -> None:
    """A signed URL allows one operation: to read, also a range, to look up or to store."""
    store.write("a", [b"0123456789"])
    with request(store.signed_url("GET", "a", MINUTE), Range="bytes=2-4") as response:
        assert (response.status, response.read()) == (206, b"234")
    with request(store.signed_url("HEAD", "a", MINUTE), "HEAD") as response:
        assert response.headers["Content-Length"] == "10"
    request(store.signed_url("PUT", "b", MINUTE), "PUT", b"new").close()
    assert content(store, "b") == b"new"


@NEEDS_SIGNATURES
def test_signed_url_allows_one_operation(store: S3Blobs) -> None:
    """A signed URL is rejected for another method, another key, or after a change."""
    store.write("a", [b"x"])
    store.write("b", [b"y"])
    url = str(store.signed_url("GET", "a", MINUTE))
    assert [status_of_error(url, "PUT", b"z"), status_of_error(url.replace("/files/a", "/files/b"))] == [403, 403]
    assert status_of_error(url.replace("Expires=60", "Expires=6000")) == 403


def test_signed_url_is_valid_for_a_week_at_most(store: S3Blobs) -> None:
    """A signed URL is valid for seven days at most, which is S3's limit."""
    assert "Expires=604800&" in str(store.signed_url("PUT", "a", timedelta(days=30)))


def test_no_urls_without_redirects(tmp_path: Path) -> None:
    """A store with redirects=False returns no URLs."""
    with closing(S3Blobs(s3.url(tmp_path), redirects=False)) as store:
        assert store.signed_url("GET", "a", MINUTE) is None


@pytest.mark.parametrize(
    ("bucket", "start"),
    [
        ("bucket", "https://bucket.s3.eu-central-1.amazonaws.com/p/files/a?"),
        ("www.example.com", "https://s3.eu-central-1.amazonaws.com/www.example.com/p/files/a?"),
    ],
)
def test_urls_of_aws(bucket: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint URLs are those of AWS, with the bucket in the host unless it contains dots."""
    s3.use_server()
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with closing(S3Blobs(f"s3://{bucket}/p")) as store:
        assert str(store.signed_url("GET", "a", MINUTE)).startswith(start)
