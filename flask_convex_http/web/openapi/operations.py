"""The operation object of a route: its parameters, body, credentials and responses."""

from __future__ import annotations

from typing import Any

from werkzeug.routing.rules import parse_converter_args

from flask_convex_http.idempotency.keyed_request import HEADER
from flask_convex_http.web.handlers.operations import Operation, Parameter
from flask_convex_http.web.openapi.responses import Responses, reads_request
from flask_convex_http.web.openapi.schemas import JsonSchema, Schemas, schema_of
from flask_convex_http.web.openapi.security import requirements
from flask_convex_http.web.openapi.texts import summary_and_description
from flask_convex_http.web.requests.forms import FORM_TYPES

_TYPES: dict[str, JsonSchema] = {
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}
_WORDS = {"minimum": "min", "maximum": "max"}
_LENGTHS = {"minLength": "minlength", "maxLength": "maxlength"}


def operation_object(
    operation: Operation,
    method: str,
    variables: list[tuple[str, str, str, str]],
    schemas: Schemas,
    responses: Responses,
    bearer_schemes: list[str],
) -> dict[str, Any]:
    """Return the operation object for a method, without its `operationId` and tags.

    Args:
        operation: The operation.
        method: One of its methods.
        variables: The variables of the path: name in the document, name in the rule, converter and its arguments.
        schemas: The schemas of the document.
        responses: The responses of the document.
        bearer_schemes: The names of the security schemes of Bearer tokens.
    """
    found: dict[str, Any] = summary_and_description(operation.description)
    declared = {parameter.name: parameter for parameter in operation.parameters if parameter.place == "path"}
    parameters = [
        _path_parameter(shown, declared.get(name), converter, arguments)
        for shown, name, converter, arguments in variables
    ]
    for parameter in operation.parameters:
        if parameter.place == "query":
            parameters += _query_parameters(parameter, schemas)
    if operation.idempotent:
        parameters.append(_idempotency_key(is_required=operation.idempotent is True))
    if parameters:
        found["parameters"] = parameters
    body = _request_body(operation, method, schemas)
    if body is not None:
        found["requestBody"] = body
    found["responses"] = responses.of(operation, method)
    if operation.guards:
        found["security"] = requirements(operation.guards, bearer_schemes)
    return found


def _path_parameter(shown: str, declared: Parameter | None, converter: str, arguments: str) -> dict[str, Any]:
    is_typed = declared is not None and declared.type not in (Any, str, object)
    schema = _without_null(schema_of(declared.type)) if declared is not None and is_typed else {}
    schema = schema or _of_converter(converter, arguments)
    found: dict[str, Any] = {"name": shown, "in": "path", "required": True, "schema": schema}
    if converter in ("", "path"):
        found["description"] = "The rest of the path, which may contain slashes."
    return found


def _of_converter(converter: str, arguments: str) -> JsonSchema:
    """Return the schema of a variable from its URL converter."""
    given, named = parse_converter_args(arguments) if arguments else ((), {})
    if converter == "any":
        return {"type": "string", "enum": [str(value) for value in given]}
    if converter in _TYPES:
        limits = {key: named[word] for key, word in _WORDS.items() if word in named}
        return _TYPES[converter] | limits
    lengths = {key: named[word] for key, word in _LENGTHS.items() if word in named}
    return {"type": "string"} | lengths


def _query_parameters(parameter: Parameter, schemas: Schemas) -> list[dict[str, Any]]:
    properties, required = schemas.fields(parameter.type)
    if not properties:  # a dict: its keys are the parameters
        schema = schema_of(parameter.type) or {"type": "object"}
        return [{"name": parameter.name, "in": "query", "required": False, "style": "form", "schema": schema}]
    found = []
    for name, full in properties.items():
        schema = _without_null(full)
        entry: dict[str, Any] = {"name": name, "in": "query", "required": parameter.required and name in required}
        if "description" in schema:
            entry["description"] = schema.pop("description")
        found.append({**entry, "schema": schema})
    return found


def _without_null(schema: JsonSchema) -> JsonSchema:
    """Return the schema of a text that is not null: an absent parameter is left out."""
    schema = dict(schema)
    if schema.get("default", "") is None:
        del schema["default"]
    members = schema.get("anyOf")
    if members is None:
        return schema
    kept = [member for member in members if member != {"type": "null"}]
    if len(kept) != 1:
        return schema | {"anyOf": kept}
    del schema["anyOf"]
    only: JsonSchema = kept[0]
    return only | schema


def _idempotency_key(*, is_required: bool) -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "required": is_required,
        "description": "A text of the client for this request, such as a UUID. A retry has the same.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-+.-~-]+$"},
    }


def _request_body(operation: Operation, method: str, schemas: Schemas) -> dict[str, Any] | None:
    for parameter in operation.parameters:
        if parameter.place in ("body", "form"):
            types = ("application/json", *operation.content_types) if parameter.place == "body" else FORM_TYPES
            content = {name: {"schema": schemas.received(parameter.type)} for name in types}
            return {"required": parameter.required, "content": content}
    if operation.described_body:
        return {"required": True, "content": _described_content(operation, schemas)}
    if reads_request(operation, method):
        return {"required": False, "content": {"*/*": {}}}
    return None


def _described_content(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """Return the content of a body that the handler reads itself. Raw bytes have no schema, since they are not JSON."""
    described = operation.described_body.items()
    return {name: {} if kind is bytes else {"schema": schemas.received(kind)} for name, kind in described}
