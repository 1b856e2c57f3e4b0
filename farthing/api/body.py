"""Request bodies: decoded from JSON straight into the route's struct, strictly and with exact decimals."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.typing import FieldDefinition

from farthing.api.errors import from_decoding
from farthing.core.errors import ValidationFailed


class JsonBody(AbstractDTO[Any]):
    """Decodes `data` with msgspec from the raw bytes, so that 0.1 stays 0.1 and "1" is not the number 1.

    It replaces the framework's own way through untyped Python values, which rounds numbers to floats.
    """

    _decoders: dict[str, msgspec.json.Decoder[Any]] = {}  # noqa: RUF012 (one per route, filled as routes register)

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.annotation)

    def decode_bytes(self, value: bytes) -> Any:
        if b"\\u0000" in value:
            raise ValidationFailed("Invalid request format", {"body": "must not contain NUL characters"})
        decoder = self._decoders[self.asgi_connection.route_handler.handler_id]
        try:
            return decoder.decode(value)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise from_decoding(error) from error

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False
