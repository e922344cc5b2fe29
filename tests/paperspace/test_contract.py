"""The table of `contract.py` is what the official document says."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .contract import ERROR, OPERATIONS

DOCUMENT = os.environ.get("PAPERSPACE_OPENAPI", "")


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI 3.0 schema as a JSON schema, without descriptions, defaults and formats."""
    if "anyOf" in schema:  # a free value with some examples
        return plain({"type": schema["anyOf"][0]["type"], "nullable": schema.get("nullable", False)})
    result = {key: schema[key] for key in ("type", "enum", "minLength", "minimum", "maximum") if key in schema}
    if schema.get("nullable"):
        result["type"] = [schema["type"], "null"]
        result |= {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    if "items" in schema:
        result["items"] = plain(schema["items"])
    if "properties" in schema:
        result["properties"] = {name: plain(value) for name, value in schema["properties"].items()}
        result["required"] = sorted(schema.get("required", []))
    if "additionalProperties" in schema:
        extra = schema["additionalProperties"]
        result["additionalProperties"] = plain(extra) if isinstance(extra, dict) else extra
    return result


def sorted_enums(schema: Any) -> Any:
    """The same with the words of each enumeration in order."""
    if isinstance(schema, dict):
        return {key: sorted(v, key=str) if key == "enum" else sorted_enums(v) for key, v in schema.items()}
    return schema


@pytest.mark.skipif(not DOCUMENT, reason="set PAPERSPACE_OPENAPI to the path of Paperspace's openapi.json")
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_as_the_official_document_says(name: str) -> None:
    document = json.loads(Path(DOCUMENT).read_text())
    method, path = name.split()
    ours, official = OPERATIONS[name], document["paths"][path][method.lower()]
    json_of = lambda place: place["content"]["application/json"]["schema"]  # noqa: E731
    assert sorted_enums(ours.answer) == sorted_enums(plain(json_of(official["responses"]["200"])))
    query = {entry["name"]: entry for entry in official.get("parameters", []) if entry["in"] == "query"}
    assert sorted_enums(ours.query) == sorted_enums({key: plain(entry["schema"]) for key, entry in query.items()})
    assert list(ours.required) == [key for key, entry in query.items() if entry["required"]]
    body = official.get("requestBody")
    assert (ours.body is None) == (body is None)
    if body:
        assert sorted_enums(ours.body) == sorted_enums(plain(json_of(body)))
    assert ERROR == plain(json_of(document["components"]["responses"]["error"]))
