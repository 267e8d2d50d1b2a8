"""The OpenAPI 3.1 document, written from the operations' own annotations (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from skep import __version__
from skep.frontends.api.errors import TITLES
from skep.frontends.api.operation import Operation, Signature, signature_of
from skep.frontends.common.problems import PROBLEM_TYPE

_BRACES = re.compile(r"\{(\w+)\}")
_REFERENCE = "#/components/schemas/{name}"
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "Problem details, RFC 9457.",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, to which thing, what to do."},
        "code": {"type": "string", "description": "Stable: programs decide by it."},
        "retryable": {"type": "boolean", "description": "Whether the same call may work later."},
        "details": {"type": "object"},
        "request_id": {"type": "string"},
    },
}


def openapi_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document for these operations."""
    signatures = {operation: signature_of(operation) for operation in operations}
    schemas = _Schemas(signatures.values())
    paths: dict[str, dict[str, Any]] = {}
    for operation, signature in signatures.items():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, signature, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skep",
            "version": __version__,
            "description": "The JSON API of a hive. Ids are UUID text, times UTC microseconds, sizes bytes.",
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Problem": dict(_PROBLEM)},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


class _Schemas:
    """The JSON schemas of all structs in the operations' annotations."""

    def __init__(self, signatures: Iterable[Signature]) -> None:
        found: list[Any] = []
        for signature in signatures:
            for kind in (signature.query, signature.body, signature.answer):
                if kind is not None and kind not in found:
                    found.append(kind)
        schemas, self.components = msgspec.json.schema_components(found, ref_template=_REFERENCE)
        self._found, self._schemas = found, schemas

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema, most often a reference."""
        return self._schemas[self._found.index(kind)]

    def properties(self, struct: type[msgspec.Struct]) -> tuple[dict[str, Any], list[str]]:
        """The schemas of a struct's fields, and which are required."""
        schema = self.components[struct.__name__]
        return schema.get("properties", {}), schema.get("required", [])


def _operation(operation: Operation, signature: Signature, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}_{operation.name}" + _suffix(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *_query_parameters(signature, schemas)],
        "responses": _responses(operation, signature, schemas),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.scope is not None:
        described["security"] = [{"token": []}, {"password": []}]
        described["x-skep-scope"] = operation.scope or "any"
    if operation.admin:
        described["x-skep-admin"] = True
    body = _request_body(operation, signature, schemas)
    if body is not None:
        described["requestBody"] = body
    return described


def _suffix(operation: Operation) -> str:
    return "_well_known" if operation.path.startswith("/.well-known") else ""


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = _BRACES.findall(operation.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(signature: Signature, schemas: _Schemas) -> list[dict[str, Any]]:
    if signature.query is None:
        return []
    properties, required = schemas.properties(signature.query)
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in properties.items()
    ]


def _request_body(operation: Operation, signature: Signature, schemas: _Schemas) -> dict[str, Any] | None:
    if operation.takes:
        binary = {"schema": {"type": "string", "format": "binary"}}
        return {"required": True, "content": dict.fromkeys(operation.takes, binary)}
    if signature.body is None:
        return None
    return {"required": True, "content": {"application/json": {"schema": schemas.of(signature.body)}}}


def _responses(operation: Operation, signature: Signature, schemas: _Schemas) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if operation.gives:
        success["content"] = {media: {"schema": {"type": "string", "format": "binary"}} for media in operation.gives}
    elif signature.answer is not None:
        success["content"] = {"application/json": {"schema": schemas.of(signature.answer)}}
    problem = {
        "description": "It did not work: see `code`.",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}},
    }
    responses = {str(status): success for status in (operation.status, *operation.also)}
    if 304 in operation.also:
        responses["304"] = {"description": "Not modified."}
    if operation.scope is not None:
        responses["401"] = {**problem, "description": TITLES[401]}
    responses["default"] = problem
    return responses
