"""What the form of a setting is made of, and the value that a filled-in one means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from farthing.core.errors import ValidationFailed
from farthing.identity.settings.catalogue import Configuration
from farthing.web.forms.fields import FieldKind, FormField, Sections, parts_of
from farthing.web.forms.reading import change_of, shown_values


def choice(name: str, label: str, hint: str, *options: tuple[str, str]) -> FormField:
    """A field with so many choices; one whose value is "" means that nothing is said."""
    unsaid = dict(options).get("")
    return FormField(
        name,
        label,
        FieldKind.CHOICE,
        hint=hint,
        required=unsaid is None,
        placeholder=unsaid or "",
        options=[option for option in options if option[0]],
        initial=options[0][0],
    )


def days(name: str, label: str, hint: str) -> FormField:
    """A whole number of days."""
    return FormField(name, label, FieldKind.WHOLE, required=True, hint=hint)


def tick(name: str, label: str, hint: str) -> FormField:
    """Yes or no."""
    return FormField(name, label, FieldKind.TICK, hint=hint)


def shown_value(sections: Sections, value: Mapping[str, Any]) -> dict[str, str]:
    """What a form shows of a value; a choice in a part that is missing stands as it begins."""
    shown = shown_values(sections, value)
    for part, _ in parts_of(sections):
        if isinstance(part, FormField) and part.kind is FieldKind.CHOICE and part.required and not shown[part.name]:
            shown[part.name] = part.initial
    return shown


def value_of(kind: type[Configuration], sections: Sections, given: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    """What a filled-in form says, as JSON for each field that the form has; blank ones are empty. Raises
    ValidationFailed.

    A part that may be missing (a level of alerts) is missing where its first field is blank.
    """
    body = change_of(sections, given)
    said: dict[str, Any] = {}
    first_fields: dict[str, str] = {}
    for part, _ in parts_of(sections):
        whole, _, inner = part.name.partition(".")
        first_fields.setdefault(whole, inner)
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType), "settings are structs"
    types = {field.encode_name: field.type for field in described.fields}
    for name, first in first_fields.items():
        value = body.get(name)
        if isinstance(types[name], inspect.UnionType):
            said[name] = value if value and first in value else None
        elif value is not None:
            said[name] = value
        else:
            said[name] = _blank(name, types[name])
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in said.items()}


def _blank(name: str, described: inspect.Type) -> Any:
    match described:
        case inspect.Metadata(type=inner):
            return _blank(name, inner)
        case inspect.ListType():
            return []
        case inspect.StructType():
            return {}
        case inspect.StrType() | inspect.LiteralType():
            return ""
    raise ValidationFailed.of(name, "is required")
