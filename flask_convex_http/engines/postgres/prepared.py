"""Statements with values: prepared once for a connection, and then run by libpq alone.

The driver's cursors wait in Python and look at each statement and its values anew. That takes three times as long as a
short statement itself, and lets other threads go first more than once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
#: A statement's table is another one now, or the server has lost it. After all other errors it is as good as before,
#: and to prepare another one each time would fill the server's memory.
_STALE = (b"0A000", b"26000")
#: Numbers of PostgreSQL's types; of the unknown it finds out by itself, from the column it is compared with.
_UNKNOWN, _BOOLEAN, _BYTES, _INTEGER, _REAL = 0, 16, 17, 20, 701
_TEXT, _BINARY = 0, 1


class _Writers(dict[type, tuple[int, int, Callable[[Any], "bytes | None"]]]):
    """For each type of values: as which type it is sent, in which format, and what writes it."""

    def __missing__(self, kind: type) -> tuple[int, int, Callable[[Any], bytes | None]]:
        base = next((base for base in kind.__mro__ if base in self), None)
        if base is None:
            raise psycopg.ProgrammingError(f"A value of type {kind.__name__!r} cannot be stored")
        return self[base]


_WRITERS = _Writers(
    {
        str: (_UNKNOWN, _TEXT, str.encode),
        int: (_INTEGER, _BINARY, lambda value: value.to_bytes(8, "big", signed=True)),
        float: (_REAL, _TEXT, lambda value: float.__repr__(value).encode()),
        bool: (_BOOLEAN, _TEXT, lambda value: b"t" if value else b"f"),
        bytes: (_BYTES, _BINARY, bytes),
        type(None): (_UNKNOWN, _TEXT, lambda value: None),
    }
)


class Prepared:
    """The statements of a connection.

    Args:
        connection: The connection.
        most: How many of them the server keeps at a time.
    """

    def __init__(self, connection: psycopg.Connection[Any], most: int) -> None:
        self._libpq = connection.pgconn
        self._reading = Transformer.from_context(connection)
        self._most = most
        self._names: dict[tuple[Any, ...], bytes] = {}
        self._numbers = itertools.count()

    def rows(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[tuple[Any, ...]]:
        """The rows that a statement answers; one that is run only once is not kept."""
        result = self._run_once(sql, values) if once else self._run(sql, values)
        if not result.nfields:
            return []
        self._reading.set_pgresult(result)
        return self._reading.load_rows(0, result.ntuples, tuple)

    def change(self, sql: str, values: Sequence[Any]) -> int:
        """How many rows a statement has changed."""
        return self._run(sql, values).command_tuples or 0

    def _run_once(self, sql: str, values: Sequence[Any]) -> PGresult:
        types, formats, written = _sent(values)
        return _checked(self._libpq.exec_params(_numbered(sql), written, types, formats, _BINARY))

    def _run(self, sql: str, values: Sequence[Any]) -> PGresult:
        types, formats, written = _sent(values)
        name = self._names.get((sql, *types)) or self._prepare(sql, types)
        result = self._libpq.exec_prepared(name, written, formats, _BINARY)  # type: ignore[arg-type]  # None is NULL
        if result.status not in _DONE and result.error_field(DiagnosticField.SQLSTATE) in _STALE:
            self._names.pop((sql, *types), None)
        return _checked(result)

    def _prepare(self, sql: str, types: Sequence[int]) -> bytes:
        if len(self._names) >= self._most:
            _checked(self._libpq.exec_(b"DEALLOCATE ALL"))
            self._names.clear()
        name = f"statement{next(self._numbers)}".encode()
        _checked(self._libpq.prepare(name, _numbered(sql), types))
        self._names[sql, *types] = name
        return name


def _sent(values: Sequence[Any]) -> tuple[list[int], list[int], list[bytes | None]]:
    """The types, the formats and the bytes of values."""
    types, formats, written = [], [], []
    for value in values:
        number, form, write = _WRITERS[type(value)]
        types.append(number)
        formats.append(form)
        written.append(write(value))
    return types, formats, written


def _numbered(sql: str) -> bytes:
    first, *others = sql.split("%s")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1))).encode()


def _checked(result: PGresult) -> PGresult:
    if result.status not in _DONE:
        raise psycopg.errors.error_from_result(result)
    return result
