"""Document ids, and their annotation `Id[...]`.

An id is the name of its table, an underscore and 32 hexadecimal digits. The digits are the creation time of the
document, as 48 bits of milliseconds since the epoch and 12 bits of 1/4096 ms, and 68 random bits. A time of today is a
float in steps of 1/4096 ms, so an id has its time exactly, and ids sort in the order of creation. The table of an id
can be read from it without the database. At run time an id is a plain `str`. Validation checks that its table is one
that the annotation allows.

Ids of the first releases have 80 random bits after the milliseconds. They stay valid.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

Document_co = TypeVar("Document_co", covariant=True)

_ENDING = re.compile(r"_[0-9a-f]{32}\Z")
#: The characters of an id after the name of its table.
_LENGTH = 33
#: The character after the underscore between a table and the digits.
_AFTER = chr(ord("_") + 1)
#: The maximum length of an id in characters. The name of a table has at most 64.
MAX_LENGTH = 64 + 1 + 32

#: The number of creation times in a millisecond.
TICKS = 4096
#: The number of digits of an id that are its time in ticks, and of those that are its milliseconds.
_TIME_DIGITS, _MS_DIGITS = 15, 12
_RANDOM_BYTES, _AT_ONCE = 10, 100
#: Random digits of future ids and request ids, made in batches. `os.urandom` releases the GIL, and a call for each id
#: would let other threads delay the transaction that inserts.
_made: list[str] = []
os.register_at_fork(after_in_child=_made.clear)


class IdOf:
    """The marker in the annotation `Id[User]` that says which tables' ids are valid.

    A class may be given by name (`Id["User"]`). `bind` resolves classes to the names of their tables.

    Args:
        targets: The document classes or their names.

    Attributes:
        tables: The names that valid ids begin with, empty until `bind`: those of the tables, old ones included.
    """

    def __init__(self, targets: tuple[Any, ...]) -> None:
        self.targets = targets
        self.tables: frozenset[str] = frozenset()

    def bind(self, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Resolve the targets to tables, and return the names of unknown classes.

        Args:
            id_prefixes: The names that the ids of a table begin with, by the name of its document class.
        """
        found = [pair for target in self.targets for pair in _prefixes_of(target, id_prefixes)]
        self.tables = frozenset(prefix for _, prefixes in found for prefix in prefixes)
        return [name for name, prefixes in found if not prefixes]

    def accepts(self, value: str) -> bool:
        """Return whether a value is an id of one of the tables. Before `bind`, the ids of all tables are accepted."""
        if not self.tables or not isinstance(value, str):
            return table_of(value) is not None
        # What comes before the digits is one of the names, so it needs no further look.
        return value[:-_LENGTH] in self.tables and _ENDING.match(value, len(value) - _LENGTH) is not None

    def __repr__(self) -> str:
        return f"Id[{' | '.join(name for target in self.targets for name in _class_names(target))}]"


if TYPE_CHECKING:

    class Id(str, Generic[Document_co]):
        """The id of a document of one table; a `str` at run time."""

else:

    class Id:
        """The id of a document of one table; a `str` at run time."""

        def __class_getitem__(cls, target: Any) -> Any:
            """Return the annotation for ids of a document class, a union of classes, or classes given by name."""
            targets = getattr(target, "__args__", None) or (target,)
            return Annotated[str, IdOf(tuple(targets))]

        def __new__(cls, value: str) -> str:
            """Return the value as a plain `str`."""
            return str(value)


def new_id(table: str, now: float) -> str:
    """Return a new id.

    Args:
        table: The name of the table.
        now: The creation time of the document in milliseconds since the epoch, as `CreationTimes` assigns it.
    """
    return f"{table}_{int(now * TICKS) & 0xFFFFFFFFFFFFFFF:015x}{random_digits()[_TIME_DIGITS - _MS_DIGITS :]}"


def id_with(digits: str, table: str, now: float) -> str:
    """Return an id with 20 given random digits instead of new ones; see `new_id`."""
    return f"{table}_{int(now * TICKS) & 0xFFFFFFFFFFFFFFF:015x}{digits[_TIME_DIGITS - _MS_DIGITS :]}"


def first_id(table: str, ms: float) -> str:
    """Return the beginning of the ids of a millisecond, which sorts before all of them and after all earlier ids.

    Args:
        table: The name of the table.
        ms: Whole milliseconds since the epoch, or infinity.
    """
    if ms < 0:
        return f"{table}_"
    return f"{table}_{int(ms):012x}" if ms < 2**48 else f"{table}{_AFTER}"


def has_time(document_id: str, creation_time: float) -> bool:
    """Return whether the milliseconds of an id are those of a creation time."""
    digits = f"{int(creation_time):012x}" if 0 <= creation_time < 2**48 else ""
    return document_id[-32 : _MS_DIGITS - 32] == digits


def random_digits() -> str:
    """Return 20 random hexadecimal digits, of which each is equally likely and tells nothing about later ones."""
    try:
        return _made.pop()
    except IndexError:
        digits = os.urandom(_AT_ONCE * _RANDOM_BYTES).hex()
        pieces = [digits[start : start + 2 * _RANDOM_BYTES] for start in range(0, len(digits), 2 * _RANDOM_BYTES)]
        one = pieces.pop()
        _made.extend(pieces)
        return one


def table_of(value: object) -> str | None:
    """Return the name of an id's table, or None if the value is not an id."""
    if not isinstance(value, str) or len(value) > MAX_LENGTH or not _ENDING.match(value, len(value) - 33):
        return None
    table = value[:-33]  # checked in two parts, since one regular expression takes three times as long
    return table if table.isidentifier() and table.isascii() else None


def _prefixes_of(target: Any, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return each class name of a target with the names that its ids begin with, none for an unknown class.

    A class is resolved by its own table and not by its name, which a class of another module may share.
    """
    table = getattr(target, "__convex_table__", None)
    if table is None:
        return [(name, id_prefixes.get(name, ())) for name in _class_names(target)]
    return [(target.__name__, table.id_prefixes if table.id_prefixes in id_prefixes.values() else ())]


def _class_names(target: Any) -> list[str]:
    if isinstance(target, str):
        return [part.strip() for part in target.split("|")]
    name = getattr(target, "__name__", None) or getattr(target, "__forward_arg__", None)
    return [name if isinstance(name, str) else repr(target)]
