"""A field of a specification that holds one of several kinds of record, told apart by a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["ONE_OF", "OneOf"]

#: The type of pydantic's error about a key that names no record.
ONE_OF = "one_of"


@dataclass(frozen=True)
class OneOf:
    """Annotation of a field whose record is chosen by ``key``: ``Annotated[DeviceSpec, OneOf({"gpu": gpu_record})]``.

    Records are given by functions that return them, so that only those a file uses are loaded. Where a file does not
    say the key, the record is the first.
    """

    loaders: Mapping[str, Callable[[], type[BaseModel]]]
    key: str = "type"

    def records(self) -> list[type[BaseModel]]:
        """Load and return every record."""
        return [load() for load in self.loaders.values()]

    def read(self, value: Any) -> BaseModel:
        """Return the record that a value holds or describes; pydantic puts its errors below the field.

        Raises
        ------
        PydanticCustomError
            If the key names no record.
        ValidationError
            If the value is not what its record wants.
        """
        from pydantic_core import PydanticCustomError

        given = value.get(self.key) if isinstance(value, Mapping) else getattr(value, self.key, None)
        name = next(iter(self.loaders)) if given is None else given
        if not isinstance(name, str) or name not in self.loaders:
            about = {"known": ", ".join(self.loaders), "key": self.key}
            raise PydanticCustomError(ONE_OF, "expected one of {known}", about)
        return self.loaders[name]().model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's schema of a value that :meth:`read` reads."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema of any of the records."""
        return {"anyOf": [handler(record.__pydantic_core_schema__) for record in self.records()]}
