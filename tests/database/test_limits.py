"""The limits of documents and of functions: size, levels, bytes read and bytes returned."""

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flask_convex_http import (
    ArgumentRangeError,
    Document,
    FunctionLimitError,
    Id,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    UnstorableValueError,
    gt,
    internal_mutation,
    internal_query,
    unique,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.worker import MutationRunner, mutation_runner
from tests.databases import EACH_ENGINE, temporary_config
from tests.test_nesting import nested

pytestmark = EACH_ENGINE

KIB = 1024


class Note(Document, table="notes", indexes={"by_key": unique("key")}):
    text: str = ""
    more: str = ""
    raw: bytes = b""
    data: Any = None
    tags: list[str] = []
    key: str | None = None


class Small(Document, table="smalls", max_bytes=500):
    text: str = ""
    more: str = ""


@internal_query
def count(ctx: QueryCtx, *, how: str) -> int:
    query = ctx.db.query(Note)
    reads: dict[str, Callable[[], Any]] = {
        "collect": query.collect,
        "take": lambda: query.take(1000),
        "iterate": lambda: list(query),
        "filter": lambda: query.filter(lambda note: True).collect(),
        "index": lambda: query.with_index("by_creation_time", creation_time=gt(0)).collect(),
        "paginate": lambda: query.paginate(num_items=1000).page,
        "page": lambda: query.paginate(num_items=3).page,
        "get": lambda: [ctx.db.get(note.id) for note in query.order("desc").take(3)],
    }
    return len(reads[how]())


@internal_query
def repeat(ctx: QueryCtx, *, size: int, as_list: bool) -> Any:
    return ["x" * 100] * (size // 100) if as_list else "x" * size


@internal_mutation
def write(ctx: MutationCtx, *, size: int) -> str:
    ctx.db.insert(Note(text="x"))
    return "x" * size


@internal_mutation
def read_all(ctx: MutationCtx) -> int:
    return len(ctx.db.query(Note).collect())


@internal_mutation
def keep(ctx: MutationCtx, *, data: dict[str, Any], note: Note | None = None) -> Id[Note]:
    return ctx.db.insert(Note(data=data))


@pytest.fixture(name="backend")
def _backend() -> Iterator[Backend]:
    """Return a backend whose documents have at most 64 KiB, and whose functions read 256 and return 100 KiB."""
    schema = Schema(Note, Small)
    with temporary_config(schema) as config:
        limits = {
            "CONVEX_MAX_DOCUMENT_BYTES": 64 * KIB,
            "CONVEX_MAX_DOCUMENT_NESTING": 8,
            "CONVEX_MAX_READ_BYTES": 256 * KIB,
            "CONVEX_MAX_RETURN_BYTES": 100 * KIB,
        }
        settings = Settings.from_mapping(config | limits)
        functions: list[Any] = [count, repeat, write, keep, read_all]
        with closing(Backend(settings, schema, functions, folder=Path())) as backend:
            backend.migrate()
            yield backend


def add(backend: Backend, *documents: Document) -> list[Any]:
    return backend.runtime.transact(lambda ctx: [ctx.db.insert(each) for each in documents], backend.caller())


def change(backend: Backend, document_id: Any, **fields: Any) -> None:
    backend.runtime.transact(lambda ctx: ctx.db.patch(document_id, **fields), backend.caller())


# --- documents ------------------------------------------------------------------------------------------------------


def test_a_document_has_a_largest_size(backend: Backend) -> None:
    """A document over the limit is refused, text is measured in UTF-8, and the message names the setting."""
    add(backend, Note(text="x" * 60 * KIB), Note(raw=b"x" * 60 * KIB), Note(text="ü" * 30 * KIB))
    for large in (
        Note(text="x" * 65 * KIB),
        Note(raw=b"x" * 65 * KIB),
        Note(text="x" * 40 * KIB, more="y" * 40 * KIB),
        Note(text="ü" * 33 * KIB),
        Note(tags=["x" * KIB] * 65),
    ):
        with pytest.raises(UnstorableValueError, match=r"at most 65,536 bytes \(CONVEX_MAX_DOCUMENT_BYTES\)") as caught:
            add(backend, large)
        assert "notes" not in (caught.value.client_message or "")


def test_a_patch_or_replacement_keeps_the_limit(backend: Backend) -> None:
    """A patch counts the fields that it keeps, and a replacement counts its own."""
    [one] = add(backend, Note(text="x" * 40 * KIB, key="a"))
    change(backend, one, more="y" * 10 * KIB)
    with pytest.raises(UnstorableValueError, match="65,536"):
        change(backend, one, more="y" * 40 * KIB)
    with pytest.raises(UnstorableValueError, match="65,536"):
        backend.runtime.transact(lambda ctx: ctx.db.replace(one, Note(text="x" * 70 * KIB)), backend.caller())
    with pytest.raises(UnstorableValueError, match="65,536"):
        large = Note(text="x" * 70 * KIB, key="a")
        backend.runtime.transact(
            lambda ctx: ctx.db.apply_if_newer(large, by="by_key", version="text"), backend.caller()
        )
    change(backend, one, text="", more="y" * 60 * KIB)


def test_a_class_has_a_limit_of_its_own(backend: Backend) -> None:
    """`max_bytes=` of a class comes before the setting, exactly, for patches too."""
    [one] = add(backend, Small(text="x" * 300))
    with pytest.raises(UnstorableValueError, match=r"at most 500 bytes \(max_bytes= of its class\)"):
        add(backend, Small(text="x" * 501))
    with pytest.raises(UnstorableValueError, match="500 bytes"):
        change(backend, one, more="y" * 300)
    for wrong in (0, True, "1 MiB"):
        with pytest.raises(RegistrationError, match="max_bytes="):
            type("Wrong", (Document,), {"__module__": __name__}, table="wrong", max_bytes=wrong)


def test_a_document_has_a_largest_number_of_levels(backend: Backend) -> None:
    """A document deeper than the limit is refused on insert, patch and replace; the document is the first level."""
    [one] = add(backend, Note(data=nested(7)))
    deep = nested(8, as_list=False)
    for write_deep in (
        lambda: add(backend, Note(data=deep)),
        lambda: change(backend, one, data=deep),
        lambda: backend.runtime.transact(lambda ctx: ctx.db.replace(one, Note(data=deep)), backend.caller()),
    ):
        with pytest.raises(UnstorableValueError, match=r"8 levels.*CONVEX_MAX_DOCUMENT_NESTING.*`\$\.data`"):
            write_deep()
    add(backend, Note(data=[[]] * 500, tags=["[" * 50]))


def test_arguments_have_a_largest_number_of_levels(backend: Backend) -> None:
    """An argument of more than 64 levels is refused before the function runs."""
    with pytest.raises(ArgumentRangeError, match=r"at most 64 levels.*`\$\.data`"):
        backend.ctx().run_mutation(keep, data={"a": nested(64)})
    with pytest.raises(ArgumentRangeError, match=r"at most 64 levels.*`\$\.note`"):
        backend.ctx().run_mutation(keep, data={}, note=Note(data=nested(64)))
    backend.ctx().run_mutation(keep, data={"a": nested(6)})


# --- functions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["collect", "take", "iterate", "filter", "index", "paginate"])
def test_a_function_reads_up_to_a_limit(backend: Backend, how: str) -> None:
    """A function that reads more bytes of documents than the limit fails, and the message names the setting."""
    add(backend, *(Note(text="x" * 60 * KIB) for _ in range(4)))
    assert backend.ctx().run_query(count, how=how) == 4
    add(backend, Note(text="x" * 60 * KIB))
    with pytest.raises(FunctionLimitError, match=r"at most 262,144 bytes .*\(CONVEX_MAX_READ_BYTES\).*notes"):
        backend.ctx().run_query(count, how=how)
    assert backend.ctx().run_query(count, how="page") == 3


def test_jobs_of_one_batch_have_budgets_of_their_own(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduled mutations that a worker commits together do not count what the others read."""
    monkeypatch.setattr(mutation_runner, "_BATCH_SECONDS", 60)  # otherwise a busy machine runs each in its own batch
    add(backend, *(Note(text="x" * 60 * KIB) for _ in range(3)))
    jobs = backend.runtime.transact(
        lambda ctx: [ctx.scheduler.run_after(0, read_all) for _ in range(3)], backend.caller()
    )
    MutationRunner(backend, nullcontext).run()
    with backend.engine.snapshot() as snapshot:
        found = [backend.jobs.get(snapshot, job) for job in jobs]
    assert [job and job.state for job in found] == ["success"] * 3


def test_many_small_documents_are_read_as_a_whole(backend: Backend) -> None:
    """A read of more documents than one page of the driver returns each once, in order, in queries and mutations."""
    add(backend, *(Note(text=str(number), key=str(number)) for number in range(2_100)))
    expected = [str(number) for number in range(2_100)]

    def texts(ctx: MutationCtx) -> list[str]:
        ctx.db.insert(Note(text="2100"))
        return [note.text for note in ctx.db.query(Note).collect()]

    assert backend.ctx().run_query(count, how="collect") == 2_100
    assert backend.runtime.transact(texts, backend.caller()) == [*expected, "2100"]


def test_reads_by_id_count(backend: Backend) -> None:
    """The documents of get() count, and each function has a budget of its own."""
    add(backend, *(Note(text="x" * 60 * KIB) for _ in range(3)))
    with pytest.raises(FunctionLimitError):
        backend.ctx().run_query(count, how="get")
    for _ in range(3):
        assert backend.ctx().run_query(count, how="collect") == 3


@pytest.mark.parametrize("as_list", [True, False])
def test_a_function_returns_up_to_a_limit(backend: Backend, as_list: bool) -> None:
    """A function that returns more bytes than the limit fails, and the message names the setting and the function."""
    backend.ctx().run_query(repeat, size=90 * KIB, as_list=as_list)
    with pytest.raises(FunctionLimitError, match=r"test_limits:repeat returned .* 102,400 \(CONVEX_MAX_RETURN_BYTES\)"):
        backend.ctx().run_query(repeat, size=110 * KIB, as_list=as_list)


def test_a_mutation_that_returns_too_much_is_rolled_back(backend: Backend) -> None:
    """A mutation whose result is over the limit commits nothing."""
    with pytest.raises(FunctionLimitError):
        backend.ctx().run_mutation(write, size=110 * KIB)
    assert backend.ctx().run_query(count, how="collect") == 0


# --- check ----------------------------------------------------------------------------------------------------------


def test_check_names_documents_beyond_the_limits(backend: Backend) -> None:
    """`check` notes each document that is beyond the limits, as an earlier release may have stored it."""
    [large, deep] = add(backend, Note(text="x"), Note(data=1))

    def widen(transaction: Any) -> None:
        table = backend.schema.table_for(Note)
        transaction.update(table, large, {"text": "x" * 70 * KIB})
        transaction.update(table, deep, {"data": msgspec.json.encode(nested(20)).decode()})

    backend.engine.write(widen)
    findings = backend.check(read_bytes=False, progress=lambda done, total: None)
    assert findings.problems == []
    [first, second] = sorted(findings.notes, key=lambda note: "levels" in note)
    assert large in first and "CONVEX_MAX_DOCUMENT_BYTES" in first
    assert deep in second and "CONVEX_MAX_DOCUMENT_NESTING" in second
