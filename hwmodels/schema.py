"""JSON Schema of hardware files, for editors: completion, units and the meaning of each key while typing."""

from __future__ import annotations

from typing import Any

from hwmodels.kinds import DEVICE_KINDS
from hwmodels.spec import SystemSpec
from simulator.core.specfile import KINDS

__all__ = ["hardware_schema"]

#: Records that may start from another with ``base`` or be given by name alone.
_DEVICES = tuple(kind.spec.rpartition(":")[2] for kind in DEVICE_KINDS.values())
_NAMED = (*_DEVICES, "EnergyTable", "LinkSpec", "StorageSpec", "HostSpec", "SystemSpec")

_ABOUT: dict[str, Any] = {
    "source": {"type": "string", "description": "where the numbers below come from: document and page"},
    "kind": {"enum": list(KINDS), "description": "how the numbers below came to be"},
    "note": {"type": "string"},
}
_BASE = {"type": "string", "description": "a bundled specification, or a path beside this file, to start from"}


def hardware_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a device or system file.

    Quantities are strings with their unit or ``{value, source, kind, note}``; any mapping may state a source for the
    numbers below it; a specification with a ``base`` need not be complete.
    """
    from pydantic import TypeAdapter

    schema = TypeAdapter(SystemSpec).json_schema()
    definitions: dict[str, dict[str, Any]] = schema.pop("$defs")
    definitions["SystemSpec"] = schema
    for name, definition in definitions.items():
        if definition.get("type") != "object":
            continue
        definition["properties"] = {k: _writable(v) for k, v in definition["properties"].items()} | _ABOUT
        if name in _NAMED:
            definition["properties"]["base"] = _BASE
        # With a base, here or further out, nothing has to be repeated; completeness is checked on loading.
        definition.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ridgeline hardware",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("SystemSpec", *_DEVICES)],
        "$defs": definitions,
    }


def _writable(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field as it may be written, which is more than what it is read into."""
    text = str(field)
    if any(f"#/$defs/{name}'" in text for name in _NAMED):
        return {"anyOf": [{"type": "string", "description": "the name of a bundled specification"}, field]}
    free = field.get("additionalProperties")
    if isinstance(free, dict):  # coefficients by name
        sourced = {"type": "object", "properties": {"value": free, **_ABOUT}, "required": ["value"]}
        return {**field, "additionalProperties": {"anyOf": [free, sourced | {"additionalProperties": False}]}}
    scalars = ("integer", "string", "boolean", "number")
    kinds = {choice.get("type") for choice in field.get("anyOf", (field,))} - {"null"}
    if kinds <= {*scalars} or "enum" in field:
        sourced = {"type": "object", "properties": {"value": field, **_ABOUT}, "required": ["value"]}
        return {"anyOf": [field, sourced | {"additionalProperties": False}]}
    return field
