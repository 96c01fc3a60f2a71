"""Statements with values, prepared once per connection and executed by libpq directly.

psycopg's cursors wait in Python and adapt each statement and its values at every execution. With them an app takes 7 to
15 % more processor time for a request that writes (`benchmarks/postgres.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, Escaping, ExecStatus
from psycopg.pq.abc import PGresult

_SUCCESS = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
#: SQLSTATEs after which a prepared statement is useless: its table was changed, or the server has dropped it. After any
#: other error it stays valid, and preparing it again each time would fill the server's memory.
_STALE = (b"0A000", b"26000")
#: Type OIDs of PostgreSQL. The server derives an unknown type from the column that it is compared with.
_UNKNOWN, _BOOLEAN, _BYTES, _INTEGER, _REAL = 0, 16, 17, 20, 701
_TEXT, _BINARY = 0, 1

_Encoding = tuple[int, int, Callable[[Any], "bytes | None"]]


class _Encodings(dict[type, _Encoding]):
    """For each Python type: the type OID, the format and the function that writes a value."""

    def __missing__(self, kind: type) -> _Encoding:
        base = next((base for base in kind.__mro__ if base in self), None)
        if base is None:
            raise psycopg.ProgrammingError(f"A value of type {kind.__name__!r} cannot be stored")
        return self[base]


_ENCODINGS = _Encodings(
    {
        str: (_UNKNOWN, _TEXT, str.encode),
        int: (_INTEGER, _BINARY, lambda value: value.to_bytes(8, "big", signed=True)),
        float: (_REAL, _TEXT, lambda value: float.__repr__(value).encode()),
        bool: (_BOOLEAN, _TEXT, lambda value: b"t" if value else b"f"),
        bytes: (_BYTES, _BINARY, bytes),
        type(None): (_UNKNOWN, _TEXT, lambda value: None),
    }
)


class PreparedStatements:
    """The prepared statements of one connection.

    Args:
        connection: The connection.
        limit: The largest number of statements. When it is exceeded, all are dropped.
    """

    def __init__(self, connection: psycopg.Connection[Any], limit: int) -> None:
        self._libpq = connection.pgconn
        self._transformer = Transformer.from_context(connection)
        self._limit = limit
        self._names: dict[tuple[Any, ...], bytes] = {}
        self._numbers = itertools.count()

    def rows(self, sql: str, values: Sequence[Any], *, once: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows.

        Args:
            sql: The statement, with `%s` for each value.
            values: The values.
            once: Whether to run it without preparing it, because it will not be run again.
        """
        result = self._execute_unprepared(sql, values) if once else self._execute(sql, values)
        if not result.nfields:
            return []
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def change(self, sql: str, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it has changed."""
        return self._execute(sql, values).command_tuples or 0

    def change_between(self, sql: str, values: Sequence[Any], before: bytes, after: bytes) -> bytes:
        """Run a statement and commands around it in one round trip, and return the server's status of the last one.

        Args:
            sql: The statement, with `%s` for each value.
            values: The values: texts, floats and None.
            before: Commands without values that come first, each with its semicolon.
            after: The last command.
        """
        types, _, data = _parameters(values)
        name = self._names.get((sql, *types)) or self._prepare(sql, types)
        given = b", ".join(self._literal(each) for each in data)
        result = self._libpq.exec_(b"%sEXECUTE %s(%s); %s" % (before, name, given, after))
        self._forget_if_stale(result, sql, types)
        return _checked(result).command_status or b""

    def _literal(self, text: bytes | None) -> bytes:
        if text is None:
            return b"NULL"
        if b"'" in text or b"\\" in text:
            return bytes(Escaping(self._libpq).escape_literal(text))
        return b"'%s'" % text

    def _execute_unprepared(self, sql: str, values: Sequence[Any]) -> PGresult:
        types, formats, data = _parameters(values)
        return _checked(self._libpq.exec_params(_numbered(sql), data, types, formats, _BINARY))

    def _execute(self, sql: str, values: Sequence[Any]) -> PGresult:
        types, formats, data = _parameters(values)
        name = self._names.get((sql, *types)) or self._prepare(sql, types)
        result = self._libpq.exec_prepared(name, data, formats, _BINARY)  # type: ignore[arg-type]  # None is NULL
        self._forget_if_stale(result, sql, types)
        return _checked(result)

    def _forget_if_stale(self, result: PGresult, sql: str, types: Sequence[int]) -> None:
        if result.status not in _SUCCESS and result.error_field(DiagnosticField.SQLSTATE) in _STALE:
            self._names.pop((sql, *types), None)

    def _prepare(self, sql: str, types: Sequence[int]) -> bytes:
        if len(self._names) >= self._limit:
            _checked(self._libpq.exec_(b"DEALLOCATE ALL"))
            self._names.clear()
        name = f"statement{next(self._numbers)}".encode()
        _checked(self._libpq.prepare(name, _numbered(sql), types))
        self._names[sql, *types] = name
        return name


def _parameters(values: Sequence[Any]) -> tuple[list[int], list[int], list[bytes | None]]:
    """Return the type OIDs, the formats and the bytes of values."""
    types, formats, data = [], [], []
    for value in values:
        oid, form, encode = _ENCODINGS[type(value)]
        types.append(oid)
        formats.append(form)
        data.append(encode(value))
    return types, formats, data


def _numbered(sql: str) -> bytes:
    """Replace each `%s` by `$1`, `$2` and so on, as libpq takes them."""
    first, *others = sql.split("%s")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1))).encode()


def _checked(result: PGresult) -> PGresult:
    if result.status not in _SUCCESS:
        raise psycopg.errors.error_from_result(result)
    return result
