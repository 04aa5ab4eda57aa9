"""The description of the API, made of its checks and of the dataclasses that it answers with."""

import dataclasses
import types
import typing
from typing import Any

from realm_jax import __version__
from realm_jax.answering.results import Answer, Explanation, Filling, Retrieved, Stored
from realm_jax.serving.asked import ENDPOINTS, Parameter

RESULTS = {"answer": Answer, "retrieve": Retrieved, "fill": Filling, "explain": Explanation, "passage": Stored}
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
RETRY = "Retry-After"
ERRORS = {
    "400": "A parameter is missing, unknown, or does not fit.",
    "408": "The body did not come in time.",
    "413": "The body is too long.",
    "500": "The server failed; its log says why.",
    "503": f"Too many requests wait, or the answer took too long; {RETRY} says when to ask again.",
}
HEALTH = {"status": str, "warm": bool, "waiting": int, "passages": int}
"""The fields of /healthz."""


def description() -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    schemas: dict[str, Any] = {
        "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    }
    paths = {f"/api/{name}": _path(name, schemas) for name in ENDPOINTS}
    health = {"type": "object", "properties": {name: {"type": TYPES[kind]} for name, kind in HEALTH.items()}}
    paths |= {
        "/healthz": _plain("health", "Whether it answers, and what waits.", _json(health)),
        "/metrics": _plain("metrics", "Its own figures, in Prometheus' text format.", {"content": {"text/plain": {}}}),
        "/openapi.json": _plain("description", "This description.", _json({"type": "object"})),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "realm_jax", "version": __version__, "description": "A trained run, asked over HTTP."},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _path(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    endpoint = ENDPOINTS[name]
    needed = [key for key, parameter in endpoint.parameters.items() if parameter.default is None]
    properties = {key: _parameter(parameter) for key, parameter in endpoint.parameters.items()}
    responses = {"200": {"description": "The result.", **_json(_schema(RESULTS[name], schemas))}}
    error = _json({"$ref": "#/components/schemas/Error"})
    responses |= {code: {"description": about, **error} for code, about in ERRORS.items()}
    responses["503"]["headers"] = {RETRY: {"description": "In seconds.", "schema": {"type": "integer"}}}
    query = [
        {"name": key, "in": "query", "required": key in needed, "schema": schema} for key, schema in properties.items()
    ]
    body = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    told = {"summary": endpoint.about, "responses": responses}
    return {
        "get": {**told, "operationId": name, "parameters": query},
        "post": {**told, "operationId": f"{name}_posted", "requestBody": {"required": True, **_json(body)}},
    }


def _plain(name: str, about: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": about, "operationId": name, "responses": {"200": {"description": about, **content}}}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {"type": TYPES[parameter.kind], "description": parameter.about}
    limits = {"minimum": parameter.low, "maximum": parameter.high} if parameter.kind is int else {}
    more = {"default": parameter.default, "enum": list(parameter.choices) or None, **limits}
    return schema | {key: value for key, value in more.items() if value not in (None, "")}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of a type of the results; those of dataclasses are put into `schemas`."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        name = kind.__name__
        if name not in schemas:
            schemas[name] = {}
            hints = typing.get_type_hints(kind)
            properties = {field.name: _schema(hints[field.name], schemas) for field in dataclasses.fields(kind)}
            about = (kind.__doc__ or "").splitlines()[0]
            schemas[name] |= {
                "type": "object", "description": about, "properties": properties, "required": list(properties)
            }  # fmt: skip
        return {"$ref": f"#/components/schemas/{name}"}
    parts = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(part, schemas) for part in parts]}
    if typing.get_origin(kind) is tuple:
        length = {} if parts[-1] is Ellipsis else {"minItems": len(parts), "maxItems": len(parts)}
        return {"type": "array", "items": _schema(parts[0], schemas), **length}
    return {"type": TYPES.get(kind, "null")}
