"""Request bodies: decoded from JSON straight into the route's struct, strictly and with exact decimals."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.typing import FieldDefinition

from farthing.api.ignored_fields import MOST_NAMED, note_ignored_fields
from farthing.core.encoding.decoding import UNREADABLE, holds_nul, json_decoder, unreadable
from farthing.core.encoding.shapes import BodyShape, shape_of, unknown_paths
from farthing.core.errors import ValidationFailed

Connection = ASGIConnection[Any, Any, Any, Any]

STREAMED_PATHS = frozenset({"/v1/tasks/uploads", "/tasks/imports", "/attachments", "/customer-portal/logo"})
"""Where a file is sent, which the handler takes as it comes."""


def _reader(decoder: msgspec.json.Decoder[Any]) -> Callable[[bytes], Any]:
    def read(value: bytes) -> Any:
        if holds_nul(value):
            raise ValidationFailed.of("body", "must not contain NUL characters")
        return decoder.decode(value)

    return read


class JsonBody(AbstractDTO[Any]):
    """Decodes `data` with msgspec from the raw bytes, so that 0.1 stays 0.1 and "1" is not the number 1.

    It replaces the framework's own way through untyped Python values, which rounds numbers to floats. A struct that
    must be read in a way of its own says how in a class method `from_json`, and finds the fields that it does not
    know itself (`unknown_fields`).
    """

    _readers: dict[str, Callable[[bytes], Any]] = {}
    _shapes: dict[str, BodyShape] = {}

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        own = getattr(field_definition.annotation, "from_json", None)
        cls._readers[handler_id] = own or _reader(json_decoder(field_definition.annotation))
        cls._shapes[handler_id] = shape_of(field_definition.annotation)

    def decode_bytes(self, value: bytes) -> Any:
        connection = self.asgi_connection
        return self.reader_of(connection.route_handler.handler_id)(connection, value)

    @classmethod
    def reader_of(cls, handler_id: str) -> Callable[[Connection, bytes], Any]:
        """What decodes the bodies of a handler."""
        reader, shape = cls._readers[handler_id], cls._shapes[handler_id]

        def read(connection: Connection, value: bytes) -> Any:
            if not value.strip():
                raise ValidationFailed.of("body", "is required")
            try:
                if not value.isascii():
                    value.decode()  # the decoder does not look into fields that it skips
                decoded = reader(value)
            except UNREADABLE as error:
                raise unreadable(error, value, shape.annotation) from error
            own = getattr(decoded, "unknown_fields", None)
            note_ignored_fields(connection, own(value) if own else unknown_paths(value, shape, MOST_NAMED))
            return decoded

        return read

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False
