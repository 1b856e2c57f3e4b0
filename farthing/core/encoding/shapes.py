"""What a JSON body may hold where, as its struct says: which structs, items and entries stand at each place.

Made once for each struct, so that walking a body costs a look-up for each of its keys.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec


@dataclass(frozen=True, slots=True)
class BodyShape:
    """What one place of a body may hold."""

    annotation: Any
    structs: tuple[type[msgspec.Struct], ...] = ()
    item: BodyShape | None = None
    """What the items of a list are, where it may be a list."""
    entry: BodyShape | None = None
    """What the entries of a map are, where it may be a map."""
    choices: tuple[str, ...] = ()
    """The values that are allowed, where they are listed."""

    def struct_of(self, value: dict[str, Any]) -> type[msgspec.Struct] | None:
        """The struct that `value` is meant to be: the only one, or the one whose tag it carries."""
        if len(self.structs) == 1:
            return self.structs[0]
        for struct in self.structs:
            config = struct.__struct_config__
            if config.tag_field is not None and value.get(config.tag_field) == config.tag:
                return struct
        return None


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a struct, by its name on the wire."""

    shape: BodyShape
    is_required: bool


@cache
def members_of(struct: type[msgspec.Struct]) -> dict[str, Member]:
    """The fields of a struct by their names on the wire, in order; its tag among them."""
    members = {
        field.encode_name: Member(shape_of(field.type), field.required) for field in msgspec.structs.fields(struct)
    }
    tag_field = struct.__struct_config__.tag_field
    if tag_field is not None:
        members[tag_field] = Member(BodyShape(str), is_required=False)
    return members


def shape_of(annotation: Any) -> BodyShape:
    """The shape of a field's type. Structs are only named, so a struct may hold itself."""
    structs: list[type[msgspec.Struct]] = []
    item = entry = None
    choices: list[str] = []
    for option in _options(annotation):
        origin, arguments = get_origin(option), get_args(option)
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            structs.append(option)
        elif isinstance(option, type) and issubclass(option, Enum):
            choices += [str(choice.value) for choice in option]
        elif origin is Literal:
            choices += [str(choice) for choice in arguments]
        elif origin in {list, tuple, set, frozenset} and arguments:
            item = shape_of(arguments[0])
        elif origin is dict:
            entry = shape_of(arguments[1])
    return BodyShape(annotation, tuple(structs), item, entry, tuple(choices))


def _options(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, without what only limits them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


_WITHOUT_NUMBERS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=lambda digits: None)
"""Reads what stands where; fractions are left out, because an unknown field may hold one that nothing can keep."""


def unknown_paths(body: bytes, shape: BodyShape, most: int) -> list[str]:
    """Where `body` holds a field that its struct does not have, as paths such as `line_items[0].colour`."""
    paths: list[str] = []
    _walk(_WITHOUT_NUMBERS.decode(body), shape, "", paths, most)
    return paths


def _walk(value: Any, shape: BodyShape, path: str, paths: list[str], most: int) -> None:
    if isinstance(value, dict):
        struct = shape.struct_of(value)
        members = members_of(struct) if struct is not None else None
        if members is None and shape.entry is None:
            return
        for key, part in value.items():
            if len(paths) >= most:
                return
            if members is None:
                assert shape.entry is not None
                _walk(part, shape.entry, below(path, key), paths, most)
            elif key not in members:
                paths.append(below(path, key))
            elif isinstance(part, (dict, list)):
                _walk(part, members[key].shape, below(path, key), paths, most)
    elif isinstance(value, list) and shape.item is not None:
        for index, part in enumerate(value):
            if len(paths) >= most or not isinstance(part, (dict, list)):
                return
            _walk(part, shape.item, f"{path}[{index}]", paths, most)


def below(path: str, field: str) -> str:
    """The path of a field of what stands at `path`."""
    return f"{path}.{field}" if path else field
