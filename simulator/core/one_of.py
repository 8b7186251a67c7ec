"""A field of a specification that holds one of several kinds of record, told apart by a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["ONE_OF", "OneOf", "is_tag"]

#: The type of pydantic's error about a key that names no record.
ONE_OF = "one_of"


@dataclass(frozen=True)
class OneOf:
    """Annotation of a field whose record is chosen by ``key``: ``Annotated[DeviceSpec, OneOf({"gpu": GpuSpec})]``.

    Where a file does not say the key, the record is the first.
    """

    records: Mapping[str, type[BaseModel]]
    key: str = "type"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's schema of a union told apart by its tags."""
        from pydantic_core import core_schema

        return core_schema.tagged_union_schema(
            {_tag(name): handler.generate_schema(record) for name, record in self.records.items()},
            self._choose,
            custom_error_type=ONE_OF,
            custom_error_message="expected one of {known}",
            custom_error_context={"known": ", ".join(self.records), "key": self.key},
        )

    def _choose(self, value: Any) -> str:
        given = value.get(self.key) if isinstance(value, Mapping) else getattr(value, self.key, None)
        return _tag(next(iter(self.records)) if given is None else str(given))


def _tag(name: str) -> str:
    return f"<{name}>"


def is_tag(step: str | int) -> bool:
    """Tell the name of a choice, which pydantic puts into the path of an error, from the keys of a file."""
    return isinstance(step, str) and step.startswith("<")
