"""Documents on the network: kept, limited, and used on while the sender's host is down."""

import threading

import pytest

from flask_convex_http import VerificationUnavailableError
from flask_convex_http.identities.fetch import FetchError
from flask_convex_http.webhooks import remote
from flask_convex_http.webhooks.remote import RemoteDocuments


def test_simultaneous_deliveries_fetch_a_document_once() -> None:
    """Threads that need one document at the same time cause one fetch."""
    fetched: list[str] = []
    started = threading.Event()

    def load(name: str) -> str:
        started.wait()
        fetched.append(name)
        return name.upper()

    documents, found = RemoteDocuments("Lamps", load), list[str]()
    threads = [threading.Thread(target=lambda: found.append(documents.get("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join()
    assert (found, fetched) == (["A"] * 8, ["a"])


def test_old_document_stays_in_use_while_the_host_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document is fetched again after a time, and the last one is used if that fails."""
    contents = ["one", "two"]

    def load(name: str) -> str:
        if not contents:
            raise FetchError("down")
        return contents.pop(0)

    documents = RemoteDocuments("Lamps", load)
    monkeypatch.setattr(remote, "KEEP", 0)
    assert [documents.get("a") for _ in range(3)] == ["one", "two", "two"]
    with pytest.raises(VerificationUnavailableError, match="Lamps cannot be fetched: down"):
        documents.get("b")


def test_known_document_needs_no_fetch() -> None:
    """Where a fetch is not allowed, a known document is returned, and another one is unavailable."""
    fetched: list[str] = []

    def load(name: str) -> str:
        fetched.append(name)
        return name

    documents = RemoteDocuments("Lamps", load)
    documents.get("a")
    assert documents.get("a", may_fetch=False) == "a"
    with pytest.raises(VerificationUnavailableError, match="Lamps is not known yet"):
        documents.get("b", may_fetch=False)
    assert fetched == ["a"]
