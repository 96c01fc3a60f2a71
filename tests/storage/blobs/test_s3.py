"""What is S3's own: errors that say what to do, answers that are lost, URLs for clients, what is left in the bucket."""

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
from tests.storage.blobs.faults import Line, line_to
from tests.storage.blobs.members import KIB, MIB, body_of, content, listed, s3_blobs
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

needs_signatures = pytest.mark.skipif(
    s3.kind() != "ceph", reason="moto's server takes any signature; Ceph is not there"
)


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[S3Blobs]:
    with closing(s3_blobs(tmp_path)) as store:
        yield store


@pytest.fixture(name="line")
def _line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    s3.use_server()
    with line_to(os.environ["AWS_ENDPOINT_URL"]) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
        yield line


def ask(url: str | None, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
    """A client's own request to the store."""
    assert url is not None
    headers = {"Content-Type": "a/b", **headers}  # moto's server takes a form, urllib's default, for one
    return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=30)


def refused(url: str | None, method: str = "GET", body: bytes | None = None) -> int:
    """The status with which the store refuses a request."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url, method, body)
    caught.value.close()
    return caught.value.code


def unfinished_parts() -> list[str]:
    """The objects of which only parts are there."""
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    with closing(client):
        return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=s3.BUCKET).get("Uploads", [])]


# --- mistakes and outages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
def test_missing_bucket(use: Callable[[S3Blobs], Any]) -> None:
    """Whatever is done first, a bucket that is not there is told by its name."""
    s3.use_server()
    with (
        closing(S3Blobs("s3://not-there/prefix", small=KIB)) as store,
        pytest.raises(EngineError, match="The bucket 'not-there' of CONVEX_STORAGE_URL does not exist"),
    ):
        use(store)


@NEEDS_SIGNATURES
@pytest.mark.parametrize("use", USES)
def test_wrong_secret(use: Callable[[S3Blobs], Any], store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done first, refused credentials are named, and their values are not in the message."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(EngineError, match=r"refuses what was asked .*AWS_SECRET_ACCESS_KEY") as caught:
        use(store)
    assert not isinstance(caught.value, UnavailableError)
    assert "not-the-secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_no_credentials(store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, and on a machine without a role, the message says which variables to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(EngineError, match="needs credentials: set AWS_ACCESS_KEY_ID"):
        store.exists("a")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://host", "http://", "https://user:secret@host", "http://a b"])
def test_nonsense_for_an_endpoint(name: str, endpoint: str, store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is none is told by its variable, and its value, which may hold a secret, is not."""
    monkeypatch.setenv(name, endpoint)
    with pytest.raises(EngineError, match=f"{name} must look like https://") as caught:
        store.exists("a")
    assert endpoint not in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"])
@pytest.mark.parametrize("value", ["key\n", " key", "clé"])
def test_nonsense_for_credentials(name: str, value: str, store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value with a line break, as it is left by a file, or a space is told by its variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=f"{name} has a line break, a space or another") as caught:
        store.exists("a")
    assert value not in str(caught.value)


@pytest.mark.parametrize("use", USES)
def test_unreachable(use: Callable[[S3Blobs], Any], store: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be reached is a 503 that may be repeated, and is not blamed on the database."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError) as caught:
        use(store)
    assert (caught.value.status, caught.value.retry_after, caught.value.by_engine) == (503, 10, False)


@pytest.mark.parametrize(("status", "kind"), [(503, OverloadedError), (500, UnavailableError)])
def test_failing_server(status: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that goes on failing, or asking for less, is a 503 in the end."""

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
    """Where obstore is not installed the setting is refused at start, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "flask_convex_http.storage.blobs.s3", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'flask_convex_http\[s3\]'"):
        open_blobs(Settings(storage_url="s3://bucket"), tmp_path)


def test_closed_store_says_so(store: S3Blobs) -> None:
    """Using a store after close() is an error that says what to do."""
    store.close()
    with pytest.raises(EngineError, match="make a new one"):
        store.exists("a")


def test_a_cut_answer_is_asked_for_again(store: S3Blobs, line: Line) -> None:
    """A connection that breaks in the middle of a read is not seen by the reader."""
    body = body_of("a", MIB)
    store.write("a", [body])
    line.method, line.faults = b"GET", [0, 20_000, 100]
    assert content(store, "a") == body
    assert line.cut == 3


def test_a_line_that_always_breaks(store: S3Blobs, line: Line) -> None:
    """A read whose connection breaks each time is a 503, and never a part of the bytes as if it were all."""
    store.write("a", [body_of("a", MIB)])
    pieces = store.read("a")
    next(pieces)
    line.method, line.faults = b"GET", [300] * 100
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
def test_a_lost_answer_to_a_write(
    store: S3Blobs, line: Line, size: int, method: bytes, faults: list[int | None]
) -> None:
    """A write whose answer is lost, at any step, has written, and does not take its own bytes for another's."""
    body = body_of("a", size)
    line.method, line.faults = method, faults
    store.write("a", [body[:KIB], body[KIB:]])
    assert content(store, "a") == body
    assert line.cut == 1


# --- what is in the bucket -----------------------------------------------------------------------------------------


def test_failing_source_leaves_no_parts(store: S3Blobs) -> None:
    """When the source fails after a part was sent, the part is removed, too."""

    def pieces() -> Iterator[bytes]:
        yield bytes(6 * MIB)
        assert any("halfway" in key for key in unfinished_parts())
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        store.write("halfway", pieces())
    assert not any("halfway" in key for key in unfinished_parts())
    assert listed(store) == []


def test_stores_with_other_prefixes_are_apart(tmp_path: Path) -> None:
    """Stores in one bucket do not see each other's bytes, also if one's prefix is the start of the other's."""
    with closing(s3_blobs(tmp_path / "a")) as one, closing(s3_blobs(tmp_path / "ab")) as other:
        one.write("k", [b"one"])
        other.write("k", [b"other"])
        other.write("l", [b"other"])
        assert (content(one, "k"), listed(one), one.total()) == (b"one", ["k"], (1, 3))


def test_an_object_is_named_as_its_key(store: S3Blobs) -> None:
    """The id of a file is the name of its object, below the prefix, for whoever looks into the bucket."""
    store.write("_storage_0190f3a1", [b"x"])
    assert "/deep/files/_storage_0190f3a1?" in str(store.signed_url("GET", "_storage_0190f3a1", MINUTE))


@pytest.mark.parametrize("size", [10, MIB, 6 * MIB])
def test_served_as_it_was_said(store: S3Blobs, size: int) -> None:
    """Whoever is sent to the store gets the bytes with their type and disposition, in one request or in parts."""
    store.write("a", [bytes(size)], Served("text/html", "attachment; filename=a"))
    with ask(store.signed_url("GET", "a", MINUTE)) as answer:
        headers = answer.headers
        assert len(answer.read()) == size
    assert (headers["Content-Type"], headers["Content-Disposition"]) == ("text/html", "attachment; filename=a")
    assert headers["Cache-Control"] == "private, max-age=86400, immutable"


def test_served_as_a_download_if_nothing_is_said(store: S3Blobs) -> None:
    """Bytes of which nothing is known are a download."""
    store.write("a", [b"<script>"])
    with ask(store.signed_url("GET", "a", MINUTE)) as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == "attachment"


# --- URLs for clients ----------------------------------------------------------------------------------------------


def test_signed_urls(store: S3Blobs) -> None:
    """A URL lets a client do one thing: read a range, look, or store."""
    store.write("a", [b"0123456789"])
    with ask(store.signed_url("GET", "a", MINUTE), Range="bytes=2-4") as answer:
        assert (answer.status, answer.read()) == (206, b"234")
    with ask(store.signed_url("HEAD", "a", MINUTE), "HEAD") as answer:
        assert answer.headers["Content-Length"] == "10"
    ask(store.signed_url("PUT", "b", MINUTE), "PUT", b"new").close()
    assert content(store, "b") == b"new"


@NEEDS_SIGNATURES
def test_a_signed_url_is_for_one_thing(store: S3Blobs) -> None:
    """A URL is refused for another method, another key, or when a part of it is changed."""
    store.write("a", [b"x"])
    store.write("b", [b"y"])
    url = str(store.signed_url("GET", "a", MINUTE))
    assert [refused(url, "PUT", b"z"), refused(url.replace("/files/a", "/files/b"))] == [403, 403]
    assert refused(url.replace("Expires=60", "Expires=6000")) == 403


def test_a_signed_url_lasts_a_week_at_most(store: S3Blobs) -> None:
    """S3 signs for seven days; who wants more gets these."""
    assert "Expires=604800&" in str(store.signed_url("PUT", "a", timedelta(days=30)))


def test_no_urls_without_redirects(tmp_path: Path) -> None:
    """A store that clients cannot reach gives out no URLs of its own."""
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
    """Without an endpoint it is AWS: the bucket is in the host, unless its dots would not fit the certificate."""
    s3.use_server()
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with closing(S3Blobs(f"s3://{bucket}/p")) as store:
        assert str(store.signed_url("GET", "a", MINUTE)).startswith(start)
