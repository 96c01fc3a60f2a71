"""Decode results in a generated Python client, by the annotations of its methods."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import functools
import json
import re
import struct
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, Literal

from flask_convex_http.codegen.python_base.values import Page

#: Makes a value of a type from one that `parse` returned.
Read = Callable[[Any], Any]

_DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")


def parse(body: bytes) -> Any:
    """Parse JSON in Convex's encoding.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(body, object_hook=_untagged)


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        return value
    ((tag, text),) = value.items()
    if tag == "$integer":
        return struct.unpack("<q", base64.b64decode(text))[0]
    if tag == "$float":
        return struct.unpack("<d", base64.b64decode(text))[0]
    return base64.b64decode(text) if tag == "$bytes" else value


@functools.cache
def result_reader(method: Callable[..., Any]) -> Read:
    """Return what makes the result of a method."""
    return reader(typing.get_type_hints(method)["return"])


@functools.cache
def reader(kind: Any) -> Read:
    """Return what makes a value of a type."""
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(parts)
    if origin is Literal:
        return lambda value: next((part for part in parts if part == value), value)  # 1.0 is 1
    if origin is list:
        item = reader(parts[0])
        return lambda value: [item(part) for part in value]
    if origin is tuple:
        readers = [reader(part) for part in parts]
        return lambda value: tuple(read(part) for read, part in zip(readers, value, strict=True))
    if origin is dict:
        key, item = reader(parts[0]), reader(parts[1])
        return lambda value: {key(name): item(part) for name, part in value.items()}
    if origin is Page:
        item = reader(parts[0])
        return lambda value: Page([item(part) for part in value["page"]], value["isDone"], value["continueCursor"])
    return _record_reader(kind) if dataclasses.is_dataclass(kind) else _SCALARS.get(kind, _as_it_is)


def _record_reader(kind: Any) -> Read:
    names = getattr(kind, "__wire__", {})

    @functools.cache
    def fields() -> list[tuple[str, str, Read]]:  # when it is needed, since a record may contain itself
        hints = typing.get_type_hints(kind)
        return [
            (field.name, names.get(field.name, field.name), reader(hints[field.name]))
            for field in dataclasses.fields(kind)
        ]

    return lambda value: kind(**{name: read(value[wire]) for name, wire, read in fields() if wire in value})


def _union_reader(members: tuple[Any, ...]) -> Read:
    """Return what makes a value of a union, whose members have different forms in JSON or different tags."""
    tagged = {member.__tag__: reader(member) for member in members if hasattr(member, "__tag__")}
    by_form = {_form_of(member): reader(member) for member in members if not hasattr(member, "__tag__")}
    by_form.setdefault("float", by_form.get("int", _as_it_is))
    by_form.setdefault("int", by_form["float"])

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            for (tag, name), read_tagged in tagged.items():
                if value.get(tag) == name:
                    return read_tagged(value)
        return by_form.get(type(value).__name__, _as_it_is)(value)

    return read


def _form_of(kind: Any) -> str:
    """Return the name of the type that `parse` returns for a value of a type."""
    kind = getattr(kind, "__supertype__", kind)
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return type(typing.get_args(kind)[0]).__name__
    if origin is tuple:
        return "list"
    if dataclasses.is_dataclass(origin):
        return "dict"
    return "str" if origin in _TEXTS else getattr(origin, "__name__", "")


def _as_it_is(value: Any) -> Any:
    return value


def _read_datetime(value: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))


def _read_duration(value: str) -> datetime.timedelta:
    found = _DURATION.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no duration")
    sign, days, hours, minutes, seconds = found.groups()
    length = datetime.timedelta(int(days or 0), float(seconds or 0), 0, 0, int(minutes or 0), int(hours or 0))
    return -length if sign else length


_TEXTS: dict[Any, Read] = {
    datetime.datetime: _read_datetime,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    datetime.timedelta: _read_duration,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
}
_SCALARS: dict[Any, Read] = {int: int, float: float, **_TEXTS}
