"""Render a document as one page of HTML: no script, no request besides the page, readable without its style.

The style is in the page. The Content-Security-Policy allows it by its digest, and nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from flask_convex_http.web.openapi.schemas import REF

_CODE = re.compile(r"``?([^`\n]+)``?")
_BLANK = re.compile(r"\n\s*\n")


def render(document: dict[str, Any], document_url: str) -> tuple[bytes, str]:
    """Return the page of a document, and its Content-Security-Policy.

    Args:
        document: The document.
        document_url: The URL of the document, for a link.
    """
    template, style, policy = _prepared()
    groups = _groups(document)
    page = template.render(
        document=document,
        url=document_url,
        groups=groups,
        style=style,
        schemas=document.get("components", {}).get("schemas", {}),
        schemes=document.get("components", {}).get("securitySchemes", {}),
        resolve=functools.partial(_resolved, document),
    )
    return page.encode(), policy


@functools.cache
def _prepared() -> tuple[Any, Markup, str]:
    """Return the template, the style and the policy, which are the same for each document."""
    environment = Environment(
        loader=PackageLoader("flask_convex_http.web.openapi", "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    environment.filters["code"] = _with_code
    environment.filters["type_of"] = _type_of
    environment.filters["limits"] = _limits
    environment.filters["fields"] = _fields
    environment.filters["credentials"] = _credentials
    style = (files("flask_convex_http.web.openapi") / "pages" / "docs.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return environment.get_template("docs.html"), Markup(style), policy  # a file of the package


def _groups(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the operations and webhooks of a document by tag, each with its method, path and anchor."""
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document.get("tags", ())}
    for entry in _entries(document):
        groups.setdefault(entry["tags"][0], []).append(entry)
    return [(name, entries) for name, entries in groups.items() if entries]


def _entries(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, item in document["paths"].items():
        yield from ({"method": method, "path": path, **operation} for method, operation in item.items())
    for name, item in document.get("webhooks", {}).items():
        yield from ({"method": "webhook", "path": name, **operation} for operation in item.values())


def _resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference of the document refers to, and any other value as it is."""
    reference = value.get("$ref")
    if reference is None:
        return value
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


# --- filters ----------------------------------------------------------------------------------------------------------


def _prose(text: str) -> Markup:
    """Return a text as paragraphs."""
    return Markup("").join(Markup("<p>{}</p>\n").format(_with_code(part.strip())) for part in _BLANK.split(text))


def _with_code(text: str) -> Markup:
    """Return a text whose parts between backticks are code."""
    parts = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def _type_of(schema: dict[str, Any]) -> Markup:
    """Return the type of a schema in words, with links to the named ones."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    for key, word in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")):
        if key in schema:
            return Markup(word).join(_type_of(part) for part in schema[key])
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return Markup(" or ").join(Markup("<code>{}</code>").format(_json(value)) for value in values)
    kind = schema.get("type", schema.get("title", "any value"))
    if kind == "array":
        return Markup("array of {}").format(_type_of(schema["items"])) if schema.get("items") else Markup("array")
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of {}").format(_type_of(schema["additionalProperties"]))
    return escape(f"{kind} ({schema['format']})" if "format" in schema else str(kind))


_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "default": "default {}",
}


def _limits(schema: dict[str, Any]) -> str:
    """Return the limits of a schema and its default as one phrase."""
    return ", ".join(
        phrase.format(schema[key] if key == "pattern" else _json(schema[key]))
        for key, phrase in _LIMITS.items()
        if key in schema
    )


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the fields of an object: name, schema, and whether it is required."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield name, field, name in required


def _credentials(alternatives: list[dict[str, list[str]]]) -> str:
    """Return the alternatives of credentials as one phrase."""
    return ", or ".join(
        " and ".join(name + (f" (scopes: {', '.join(scopes)})" if scopes else "") for name, scopes in choice.items())
        for choice in alternatives
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
