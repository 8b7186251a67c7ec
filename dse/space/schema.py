"""JSON Schema of sweep files, for editors: completion and the meaning of each key while typing."""

from __future__ import annotations

from typing import Any

from dse.space.records import SweepSpec

__all__ = ["space_schema"]

_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_END = {"type": ["string", "number"]}
_AXIS: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "minItems": 1, "items": _SCALAR, "description": "the values it takes"},
        {
            "type": "object",
            "required": ["from", "to"],
            "additionalProperties": False,
            "properties": {
                "from": _END,
                "to": _END,
                "step": {**_END, "description": "what is added from value to value"},
                "factor": {"type": "number", "exclusiveMinimum": 1, "description": "what each is multiplied by"},
                "steps": {"type": "integer", "minimum": 2, "description": "how many values, both ends included"},
                "scale": {"enum": ["linear", "log"], "description": "of steps"},
            },
        },
        {
            "type": "object",
            "required": ["link"],
            "additionalProperties": False,
            "properties": {
                "link": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "minProperties": 1, "additionalProperties": _SCALAR},
                    "description": "values of several paths side by side, one mapping for each position of the axis",
                }
            },
        },
    ]
}
_EXPRESSION = {"type": ["string", "number"], "description": "arithmetic over names of axes and metrics"}
_DERIVED: dict[str, Any] = {
    "anyOf": [
        _EXPRESSION,
        {
            "type": "object",
            "required": ["formula"],
            "additionalProperties": False,
            "properties": {"formula": _EXPRESSION, "unit": {"type": "string", "description": "of the field, in SI"}},
        },
    ]
}
_CONSTRAINT: dict[str, Any] = {
    "type": "object",
    "required": ["metric"],
    "additionalProperties": False,
    "properties": {"metric": {"type": "string"}, "at_most": _END, "at_least": _END},
    "oneOf": [{"required": ["at_most"]}, {"required": ["at_least"]}],
}


def space_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a sweep file."""
    schema = SweepSpec.model_json_schema()
    for key, free in (("axes", _AXIS), ("derived", _DERIVED), ("constraints", _CONSTRAINT)):
        schema["properties"][key] = {"type": "object", "additionalProperties": free}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Ridgeline sweep"}
