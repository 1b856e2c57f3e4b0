"""Terms that a row keeps as JSON: structs, stored with the version of their form.

A form that changes gets the next version and says how each older one becomes it, so that what was stored years ago is
read on purpose and not by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

VERSION = "version"


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of stored terms: `stored_version` is that of the form that a subclass describes."""

    stored_version: ClassVar[int] = 1
    first_version: ClassVar[int] = 0
    """What was stored before versions were written counts as this one."""

    @classmethod
    def upgraded(cls, version: int, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of version `version` as those of the next. Version 0 is version 1 without its number."""
        if version == 0:
            return fields
        raise ValueError(f"{cls.__name__} of version {version} cannot be read")


Kind = TypeVar("Kind", bound=Document)


def encode(document: Document) -> dict[str, Any]:
    """A document as a column keeps it."""
    return {VERSION: type(document).stored_version, **msgspec.to_builtins(document)}


def encode_all(documents: Sequence[Document]) -> list[Any]:
    """Documents in their order, as a column keeps them."""
    return [encode(document) for document in documents]


def decode(kind: type[Kind], stored: Mapping[str, Any]) -> Kind:
    """What a column keeps. Raises ValueError for a form that this release does not know."""
    fields: Mapping[str, Any] = {name: value for name, value in stored.items() if name != VERSION}
    version = stored.get(VERSION, kind.first_version)
    if not kind.first_version <= version <= kind.stored_version:
        raise ValueError(f"{kind.__name__} of version {version} cannot be read by this release")
    while version < kind.stored_version:
        fields = kind.upgraded(version, fields)
        version += 1
    return msgspec.convert(fields, kind)


def decode_all(kind: type[Kind], stored: Sequence[Mapping[str, Any]] | None) -> list[Kind]:
    """The documents of a list; none where the column is empty."""
    return [decode(kind, document) for document in stored or ()]
