"""JSON schemas of types, by msgspec, with the named ones as components.

msgspec names components and needs all types at once. So a schema is an empty dict first, and `finish` fills it.

A value that a handler returns has all fields, defaults included, and a document has its id. Therefore the fields of a
type that only responses have are required. In a request a field with a default may be left out.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
from msgspec import inspect as mi

from flask_convex_http.ids import IdOf
from flask_convex_http.validation.annotations import (
    SEQUENCES,
    UNIONS,
    field_types,
    is_document,
    is_record,
    split_annotated,
    split_union,
)
from flask_convex_http.web.openapi.texts import described

JsonSchema = dict[str, Any]

REF = "#/components/schemas/"
_ID = "_[0-9a-f]{32}$"


class Schemas:
    """The schemas of the types of one document.

    Attributes:
        components: The named schemas, once `finish` has run.
    """

    def __init__(self) -> None:
        self.components: dict[str, JsonSchema] = {}
        self._types: list[Any] = []
        self._schemas: list[JsonSchema] = []
        self._received: list[JsonSchema] = []

    def received(self, annotation: Any) -> JsonSchema:
        """Return the schema of a type that requests have. It is empty until `finish`."""
        schema = self._add(annotation)
        self._received.append(schema)
        return schema

    def returned(self, annotation: Any) -> JsonSchema:
        """Return the schema of a type that responses have. It is empty until `finish`."""
        return self._add(annotation)

    def fields(self, annotation: Any) -> tuple[JsonSchema, frozenset[str]]:
        """Return the schemas of a record's fields by name, and the names of those that are required.

        A record without names of its own, such as a `dict[str, int]`, has none.
        """
        schema = schema_of(annotation)
        schema = self._resolved(annotation, schema)
        return schema.get("properties", {}), frozenset(schema.get("required", ()))

    def finish(self) -> None:
        """Fill all schemas."""
        schemas, components = msgspec.json.schema_components(
            self._types, schema_hook=_of_other, ref_template=REF + "{name}"
        )
        for target, schema, annotation in zip(self._schemas, schemas, self._types, strict=True):
            target |= schema
            _refine(target, annotation)
        received = set(_reachable(self._received, components))
        records = list(_records(mi.multi_type_info(self._types)))
        for name in sorted(components):
            component = components[name]
            component["description"] = described(component.get("description"))
            if not component["description"]:
                del component["description"]
            for record in (record for record in records if _title(record) == component.get("title")):
                _complete(component, record, is_received=name in received)
            if not component.get("required", True):
                del component["required"]  # an empty list says nothing
            self.components[name] = component

    def _add(self, annotation: Any) -> JsonSchema:
        schema: JsonSchema = {}
        if _is_describable(annotation):
            self._types.append(annotation)
            self._schemas.append(schema)
        return schema

    def _resolved(self, annotation: Any, schema: JsonSchema) -> JsonSchema:
        """Return the schema of a record itself, instead of the reference to it."""
        name = schema.get("$ref", "").removeprefix("#/$defs/")
        record: JsonSchema = schema.get("$defs", {}).get(name, schema)
        definitions = schema.get("$defs", {})
        base, _ = split_annotated(annotation)
        hints = _hints(base)
        for field, found in record.get("properties", {}).items():
            _inline(found, definitions)
            if field in hints:
                _refine(found, hints[field])
        return record


def schema_of(annotation: Any) -> JsonSchema:
    """Return the schema of a type by itself, which may have `$defs`; an empty one if there is none."""
    if not _is_describable(annotation):
        return {}
    schema = msgspec.json.schema(annotation, schema_hook=_of_other)
    _refine(schema, annotation)
    return schema


def id_pattern(marker: IdOf) -> str:
    """Return the regular expression of the ids of an `Id[...]`."""
    return _pattern(sorted(marker.tables))


def _pattern(prefixes: Any) -> str:
    names = list(prefixes) or ["[A-Za-z_][A-Za-z0-9_]*"]
    return f"^{names[0] if len(names) == 1 else '(' + '|'.join(names) + ')'}{_ID}"


def _of_other(kind: type) -> JsonSchema:
    """Describe a class that msgspec does not know: by its name only."""
    return {"title": getattr(kind, "__name__", str(kind))}


def _is_describable(annotation: Any) -> bool:
    if annotation is Any:
        return False
    try:
        msgspec.json.schema(annotation, schema_hook=_of_other)
    except (TypeError, ValueError, NameError, RecursionError):
        return False
    return True


# --- components -------------------------------------------------------------------------------------------------------


def _reachable(schemas: list[JsonSchema], components: dict[str, JsonSchema]) -> Iterator[str]:
    """Yield the names of the components that schemas refer to, themselves or through others."""
    found: set[str] = set()
    waiting = [name for schema in schemas for name in _references(schema)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        yield name
        waiting += _references(components[name])


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)
    elif isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(REF)
        for part in schema.values():
            yield from _references(part)


def _records_in(record: Any, seen: set[Any]) -> Iterator[Any]:
    if record.cls in seen:
        return
    seen.add(record.cls)
    if isinstance(record, mi.StructType | mi.DataclassType):
        yield record
    yield from _records([field.type for field in record.fields], seen)


def _records(types: Any, seen: set[Any] | None = None) -> Iterator[Any]:
    """Yield the descriptions of all structs and dataclasses in types, each once."""
    seen = set() if seen is None else seen
    for described_type in types:
        if isinstance(described_type, mi.StructType | mi.DataclassType | mi.TypedDictType | mi.NamedTupleType):
            yield from _records_in(described_type, seen)
            continue
        for name in ("type", "item_type", "key_type", "value_type"):
            yield from _records([part for part in (getattr(described_type, name, None),) if part is not None], seen)
        for name in ("types", "item_types"):
            yield from _records(getattr(described_type, name, ()), seen)


def _title(record: Any) -> str:
    kind = record.cls
    origin = get_origin(kind)
    if origin is None:
        return str(kind.__name__)
    return f"{origin.__name__}[{', '.join(getattr(part, '__name__', repr(part)) for part in get_args(kind))}]"


def _complete(component: JsonSchema, record: Any, *, is_received: bool) -> None:
    """Add to a record's component what msgspec cannot know: which fields a response has, ids and times."""
    properties = component.get("properties", {})
    for name, hint in _hints(record.cls).items():
        if name in properties:
            _refine(properties[name], hint)
    kind = get_origin(record.cls) or record.cls
    always: list[str] = []
    if is_document(kind) and kind.__convex_table__ is not None:
        properties["_id"]["pattern"] = _pattern(kind.__convex_table__.id_prefixes)
        always = ["_id", "_creationTime"]
    if is_received:
        return
    config = getattr(kind, "__struct_config__", None)
    if config is None or not config.omit_defaults:
        always += [name for name, schema in properties.items() if "default" in schema]
    required = {*component.get("required", ()), *always}
    component["required"] = [name for name in properties if name in required]


def _hints(kind: Any) -> dict[str, Any]:
    """Return the annotations of a record's fields, under their names in JSON."""
    if not is_record(kind):
        return {}
    hints = field_types(kind)
    names = {name: name for name in hints}
    if isinstance(get_origin(kind) or kind, msgspec.StructMeta):
        names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    return {names[name]: hint for name, hint in hints.items() if name in names}


def _refine(schema: JsonSchema, annotation: Any) -> None:
    """Add to a schema the pattern of an id and the format of a time, which msgspec does not know.

    The type may be in a list, or where it may be None. A datetime without a time zone is no valid value.
    """
    base, metadata = split_annotated(annotation)
    marker = next((part for part in metadata if isinstance(part, IdOf)), None)
    if marker is not None:
        schema["pattern"] = id_pattern(marker)
    elif base is datetime.datetime:
        schema["format"] = "date-time"
    elif get_origin(base) in SEQUENCES and "items" in schema:
        _refine(schema["items"], get_args(base)[0])
    elif get_origin(base) in UNIONS:
        values, _ = split_union(get_args(base))
        texts = [part for part in schema.get("anyOf", [schema]) if part.get("type") in ("string", "array")]
        if len(values) == 1 and len(texts) == 1:
            _refine(texts[0], values[0])


def _inline(schema: Any, definitions: dict[str, JsonSchema]) -> None:
    """Replace references to definitions, such as an Enum's, in the schema of a field of texts."""
    if isinstance(schema, dict):
        _inline_own(schema, definitions)
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        _inline(part, definitions)


def _inline_own(schema: dict[str, Any], definitions: dict[str, JsonSchema]) -> None:
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions:
        del schema["$ref"]
        for key, value in definitions[name].items():
            schema.setdefault(key, value)
