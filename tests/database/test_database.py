"""ctx.db: reads and writes of documents, and every wrong use."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flask_convex_http import (
    ArgumentValidationError,
    Document,
    DocumentNotFoundError,
    DocumentValidationError,
    Id,
    RegistrationError,
    Schema,
    StoredFile,
    UniqueConstraintError,
    unique,
)
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.ids import new_id, table_of
from flask_convex_http.schema.system_tables import AccessToken, ApiKey, Setting
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend
from tests.deployment import Deployment, deployed

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class Profile(msgspec.Struct, frozen=True):
    motto: str
    stars: int = 0


class User(
    Document,
    table="users",
    indexes={"by_email": unique("email"), "by_team_nick": unique("team", "nick"), "by_name": ["name"]},
):
    name: str
    email: str | None = None
    team: int = 0
    nick: str | None = None
    profile: Profile | None = None
    tags: list[str] = msgspec.field(default_factory=list)


class Item(Document, table="items"):
    owner: Id[User] | None = None
    name: str = "thing"


class Stranger(Document, table="strangers"):
    name: str


@pytest.fixture(name="app", scope="module")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(User, Item) as app:
        yield app


def get(app: Deployment, user_id: Any) -> Any:
    return app.read(lambda db: db.get(user_id))


def make(**fields: Any) -> User:
    """Return a User that a type checker would reject."""
    return User(**fields)


# --- reading and writing -----------------------------------------------------------------------------------------


def test_insert_gives_id_and_creation_time(app: Deployment) -> None:
    """A stored document has an id of its table and its insertion time; the inserted object keeps none."""
    before = time.time() * 1000
    ada = User(name="Ada")
    [user_id] = app.add(ada)
    found = get(app, user_id)
    assert table_of(user_id) == "users"
    assert found.id == user_id
    assert before <= found.creation_time <= time.time() * 1000
    assert found.name == "Ada"
    assert msgspec.to_builtins(ada).keys().isdisjoint({"_id", "_creationTime"})


def test_get_of_a_missing_document_is_none(app: Deployment) -> None:
    """get returns None for an unused id and for the id of a deleted document."""
    [user_id] = app.add(User(name="Ada"))
    app.write(lambda db: db.delete(user_id))
    assert get(app, user_id) is None
    assert get(app, new_id("items", 5)) is None


def test_patch_changes_only_what_is_given(app: Deployment) -> None:
    """patch sets the given fields, structured ones as a whole, and keeps id, creation time and the others."""
    [user_id] = app.add(User(name="Ada", profile=Profile("think", 5), tags=["a"]))
    before = get(app, user_id)
    app.write(lambda db: db.patch(user_id, profile=Profile("act"), email=None))
    assert get(app, user_id) == msgspec.structs.replace(before, profile=Profile("act", 0))
    app.write(lambda db: db.patch(user_id))
    app.write(lambda db: db.patch(user_id, name="Bob", tags=[]))
    assert (get(app, user_id).name, get(app, user_id).tags) == ("Bob", [])


def test_replace_sets_every_field(app: Deployment) -> None:
    """replace sets all fields, defaults included, and keeps id and creation time."""
    [user_id] = app.add(User(name="Ada", email="ada@example.com", tags=["a"]))
    before = get(app, user_id)
    app.write(lambda db: db.replace(user_id, User(name="Bob")))
    after = get(app, user_id)
    assert (after.name, after.email, after.tags) == ("Bob", None, [])
    assert (after.id, after.creation_time) == (before.id, before.creation_time)


def test_replace_takes_a_changed_copy(app: Deployment) -> None:
    """A changed copy of a stored document can be passed to replace for its own id, and for no other."""
    [user_id, other_id] = app.add(User(name="Ada"), User(name="Eve"))
    changed = msgspec.structs.replace(get(app, user_id), name="Bob")
    app.write(lambda db: db.replace(user_id, changed))
    assert get(app, user_id) == changed
    with pytest.raises(DocumentValidationError, match=r"another id - at `\$._id`"):
        app.write(lambda db: db.replace(other_id, changed))


def test_writes_answer_nothing(app: Deployment) -> None:
    """patch, replace and delete return None."""
    [user_id] = app.add(User(name="Ada"))
    uses: list[Callable[[DatabaseWriter], object]] = [
        lambda db: db.patch(user_id, name="Bob"),
        lambda db: db.replace(user_id, User(name="Cid")),
        lambda db: db.delete(user_id),
    ]
    assert [app.write(use) for use in uses] == [None, None, None]


def test_missing_documents_cannot_be_changed(app: Deployment) -> None:
    """patch (also without fields), replace and delete of a missing document name its id in the error."""
    gone = new_id("users", 5)
    uses: dict[str, Callable[[Any], Any]] = {
        "patch": lambda db: db.patch(gone, name="Bob"),
        "patch:": lambda db: db.patch(gone),
        "replace": lambda db: db.replace(gone, User(name="Bob")),
        "delete": lambda db: db.delete(gone),
    }
    for verb, use in uses.items():
        with pytest.raises(DocumentNotFoundError, match=f"{verb.strip(':')}: there is no document {gone}"):
            app.write(use)


def test_creation_times_rise_within_a_transaction(app: Deployment) -> None:
    """Documents inserted in one transaction have strictly increasing creation times, in the order of insertion."""
    ids = app.add(*[User(name=str(number)) for number in range(100)])
    times = [get(app, user_id).creation_time for user_id in ids]
    assert times == sorted(set(times))
    assert times[-1] - times[0] < 1


def test_transactions_see_what_they_wrote(app: Deployment) -> None:
    """get and query in a transaction see its own inserts, patches and deletes."""

    def look(db: DatabaseWriter) -> None:
        user_id = db.insert(User(name="own-writes"))
        query = db.query(User).with_index("by_name", name="own-writes")
        assert query.unique() == db.get(user_id)
        db.patch(user_id, name="other")
        assert query.unique() is None
        db.delete(user_id)
        assert db.get(user_id) is None

    app.write(look)


def test_a_failing_transaction_leaves_nothing(app: Deployment) -> None:
    """A function that raises leaves none of its writes."""
    made: list[Any] = []

    def fail(db: DatabaseWriter) -> None:
        made.append(db.insert(User(name="Ada")))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        app.write(fail)
    assert get(app, made[0]) is None


def test_references_are_not_followed(app: Deployment) -> None:
    """A reference may point to a deleted document, and deleting a document keeps references to it."""
    [user_id] = app.add(User(name="Ada"))
    [item_id] = app.add(Item(owner=user_id))
    app.write(lambda db: db.delete(user_id))
    assert get(app, item_id).owner == user_id


# --- unique indexes ----------------------------------------------------------------------------------------------


def test_unique_indexes(app: Deployment) -> None:
    """A duplicate value is refused in insert, patch and replace; None and the document's own value are not."""
    [ada, bob] = app.add(User(name="Ada", email="a@x", team=1, nick="n"), User(name="Bob", email="b@x", team=1))
    uses: list[tuple[str, Callable[[Any], Any]]] = [
        ("email", lambda db: db.insert(User(name="Eve", email="a@x"))),
        ("email", lambda db: db.patch(bob, email="a@x")),
        ("email", lambda db: db.replace(bob, User(name="Bob", email="a@x"))),
        ("team, nick", lambda db: db.insert(User(name="Eve", team=1, nick="n"))),
    ]
    for fields, use in uses:
        with pytest.raises(UniqueConstraintError, match=f"users: another document has the same {fields} "):
            app.write(use)
    app.write(lambda db: db.patch(ada, email="a@x", name="Ada 2"))
    app.write(lambda db: db.insert(User(name="Eve", team=1)))
    app.write(lambda db: db.insert(User(name="Eve", team=2, nick="n")))

    def hand_over(db: DatabaseWriter) -> None:
        db.patch(ada, email=None)
        db.patch(bob, email="a@x")

    app.write(hand_over)


# --- the wrong thing -----------------------------------------------------------------------------------------------

WRONG_IDS: list[Any] = ["", "users", "nonsense", "users_5", "strangers_" + "0" * 32, "\ud800", 5, None, b"x", ["x"]]


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_what_is_no_id_is_refused(app: Deployment, wrong: Any) -> None:
    """A value that is not the id of a document of this database is an ArgumentValidationError everywhere."""
    uses: list[Callable[[Any], Any]] = [
        lambda db: db.get(wrong),
        lambda db: db.patch(wrong, name="x"),
        lambda db: db.replace(wrong, User(name="x")),
        lambda db: db.delete(wrong),
        lambda db: db.system.get(wrong),
    ]
    for use in uses:
        with pytest.raises(ArgumentValidationError, match="Expected the id of a document of this database"):
            app.write(use)


def test_a_document_without_an_id_says_so(app: Deployment) -> None:
    """The id of an unstored document is refused, and the message says where to get an id."""
    with pytest.raises(ArgumentValidationError, match=r"what insert\(\) returned"):
        get(app, User(name="Ada").id)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda db, ada: db.insert(ada), DocumentValidationError, "has an id already"),
        (lambda db, ada: db.insert(make(name="x", id=new_id("users", 5))), DocumentValidationError, "id already"),
        (lambda db, ada: db.insert(make(name="x", creation_time=5.0)), DocumentValidationError, "_creationTime"),
        (lambda db, ada: db.insert(make(name=5)), DocumentValidationError, r"users: .* at `\$.name`"),
        (lambda db, ada: db.insert(Stranger(name="x")), RegistrationError, "Stranger is not in the schema"),
        (lambda db, ada: db.insert({"name": "x"}), RegistrationError, "a dict was given instead of a document"),
        (lambda db, ada: db.insert(User), RegistrationError, "instead of a document"),
        (lambda db, ada: db.patch(ada.id, nmae="x"), DocumentValidationError, r"Unknown field `nmae` - at `\$.nmae`"),
        (lambda db, ada: db.patch(ada.id, id="x"), DocumentValidationError, "Unknown field `id`"),
        (lambda db, ada: db.patch(ada.id, _id="x"), DocumentValidationError, "Unknown field `_id`"),
        (lambda db, ada: db.patch(ada.id, creation_time=5.0), DocumentValidationError, "Unknown field"),
        (lambda db, ada: db.patch(ada.id, name=None), DocumentValidationError, r"`\$.name`"),
        (lambda db, ada: db.replace(ada.id, Item()), DocumentValidationError, "given a Item for an id of users"),
        (lambda db, ada: db.replace(ada.id, {"name": "x"}), DocumentValidationError, "it takes a User"),
        (lambda db, ada: db.query(Stranger), RegistrationError, "Stranger is not in the schema"),
        (lambda db, ada: db.query("users"), RegistrationError, "'users' was given instead of a class; write User"),
        (lambda db, ada: db.normalize_id(Stranger, "x"), RegistrationError, "Stranger is not in the schema"),
    ],
)
def test_what_cannot_be_done(app: Deployment, use: Any, error: type[Exception], message: str) -> None:
    """Each wrong use raises its documented error and changes nothing."""
    [ada_id] = app.add(User(name="Ada"))
    ada = get(app, ada_id)
    with pytest.raises(error, match=message):
        app.write(lambda db: use(db, ada))
    assert get(app, ada_id) == ada


def test_ids_are_normalised_by_table(app: Deployment) -> None:
    """normalize_id returns the id if it belongs to the class's table, and None for every other value."""
    user_id, item_id = new_id("users", 5), new_id("items", 5)
    values: list[Any] = [user_id, item_id, "nonsense", user_id.upper(), 5, None]
    found = app.read(lambda db: [db.normalize_id(User, value) for value in values])
    assert found == [user_id, None, None, None, None, None]


# --- the system's tables -------------------------------------------------------------------------------------------

SYSTEM: list[Any] = [
    StoredFile(sha256="x", size=1),
    ApiKey(name="x", hint="x", hash="x", scopes=[]),
    AccessToken(subject="x", hint="x", hash="x", scopes=[]),
    Setting(key="x", value="x"),
]


@pytest.mark.parametrize("document", SYSTEM, ids=lambda document: type(document).__name__)
def test_system_tables_are_out_of_reach(app: Deployment, document: Any) -> None:
    """No method of ctx.db reads or writes a system table."""
    kind = type(document)
    key = new_id(kind.__convex_table__.name, 5)
    uses: list[Callable[[Any], Any]] = [
        lambda db: db.insert(document),
        lambda db: db.query(kind),
        lambda db: db.normalize_id(kind, key),
        lambda db: db.get(key),
        lambda db: db.patch(key, revision=5),
        lambda db: db.replace(key, document),
        lambda db: db.delete(key),
    ]
    for use in uses:
        with pytest.raises(ArgumentValidationError, match="is a system table"):
            app.write(use)


def test_stored_files_are_read_through_system(app: Deployment) -> None:
    """ctx.db.system reads StoredFile by id and by query, and nothing else."""
    stored = app.backend.ctx().storage.store(b"abc", content_type="text/plain")
    found = app.read(lambda db: db.system.get(stored))
    assert found is not None
    assert (found.size, found.content_type) == (3, "text/plain")
    assert app.read(lambda db: db.system.query(StoredFile).collect()) == [found]
    [user_id] = app.add(User(name="Ada"))
    uses: list[Callable[[DatabaseReader], Any]] = [
        lambda db: db.system.get(user_id),
        lambda db: db.system.query(User),
        lambda db: db.system.query(Setting),
        lambda db: db.system.get(Id(new_id("_settings", 5))),
        lambda db: db.system.get(Id(new_id("api_keys", 5))),
    ]
    for use in uses:
        with pytest.raises(ArgumentValidationError, match=r"ctx\.db\.system reads StoredFile"):
            app.read(use)


def test_what_is_written_is_there_the_next_time(tmp_path: Path) -> None:
    """Documents are in the file: another backend on the same folder reads them without a migration."""
    with deployed(User, folder=tmp_path) as app:
        [user_id] = app.add(User(name="Ada", profile=Profile("think")))
        before = get(app, user_id)
    again = Deployment(User, folder=tmp_path)
    assert get(again, user_id) == before
    again.backend.close()


def test_creation_order_survives_a_standing_clock() -> None:
    """Simultaneous transactions keep their order; a clock that was set back is followed."""
    now = [1000.0]
    with memory_backend(Schema(User), clock=lambda: now[0]) as backend:

        def add(name: str) -> None:
            backend.runtime.transact(lambda ctx: ctx.db.insert(User(name=name)), backend.caller())

        for number in range(20):
            add(f"{number:02}")
        with backend.engine.snapshot() as snapshot:
            names = [
                user.name
                for user in DatabaseReader(snapshot, backend.schema, (backend.runtime.cursors, "")).query(User)
            ]
        assert names == sorted(names)
        now[0] = 500.0
        add("earlier")
        with backend.engine.snapshot() as snapshot:
            first = DatabaseReader(snapshot, backend.schema, (backend.runtime.cursors, "")).query(User).first()
        assert first is not None
        assert (first.name, first.creation_time) == ("earlier", 500.0)


def test_the_clock_is_the_backends() -> None:
    """Creation times and ids come from the clock of the backend."""
    with memory_backend(Schema(User), clock=lambda: 1_000_000.5) as backend:
        user = backend.runtime.transact(lambda ctx: ctx.db.get(ctx.db.insert(User(name="Ada"))), backend.caller())
    assert user is not None
    assert user.creation_time == 1_000_000.5
    assert user.id.startswith("users_0000000f4240")
