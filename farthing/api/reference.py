"""What the OpenAPI document says of operations, parameters and fields, and an example of each request body.

The words stand beside the schemas, in the `reference.toml` of each package, so that schemas stay readable:

    [fields]                        # what a field of that name means wherever the package uses it
    amount_due = "What the payer is asked for"
    [fields.CreateInvoiceRequest]   # what it means in this struct, and in those that derive from it
    period_start = "Start of the time the invoice is for"
    [examples]                      # one body for each request, as JSON
    CreateInvoiceRequest = '{"customer_id": "cust_..."}'

What means the same everywhere stands once, in `farthing/core/reference.toml`. Operations are described by the
docstrings of their handlers.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import farthing

_PACKAGES = Path(farthing.__file__).parent
_EVERYWHERE = "core"
_ENTITIES = {
    "lineitems": "line item",
    "rates": "tax rate",
    "units": "price unit",
    "costs": "cost sheet",
    "creditgrants": "credit grant",
}


@dataclass(frozen=True, slots=True)
class PackageReference:
    """The words of one package."""

    fields: Mapping[str, str]
    of_structs: Mapping[str, Mapping[str, str]]
    examples: Mapping[str, str]


@cache
def references() -> Mapping[str, PackageReference]:
    """The words of each package that has some, by the package's name; a sub-package may have words of its own."""
    read: dict[str, PackageReference] = {}
    for path in sorted(_PACKAGES.rglob("reference.toml")):
        content = tomllib.loads(path.read_text())
        fields = content.get("fields", {})
        read[".".join(path.parent.relative_to(_PACKAGES).parts)] = PackageReference(
            {name: text for name, text in fields.items() if isinstance(text, str)},
            {name: texts for name, texts in fields.items() if isinstance(texts, dict)},
            content.get("examples", {}),
        )
    return read


@cache
def described_structs() -> Mapping[str, type[msgspec.Struct]]:
    """Our structs by name; of two that share one, the name in the document tells the package."""

    def derived(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
        for child in struct.__subclasses__():
            yield child
            yield from derived(child)

    return {struct.__name__: struct for struct in derived(msgspec.Struct) if struct.__module__.startswith("farthing.")}


def parameter_description(handler: Any, name: str) -> str | None:
    """What a query parameter means: as a field of the struct that it is read into, or in its handler's package."""
    struct = handler.opt.get("query")
    text = field_description(struct.__name__, name) if struct is not None else None
    return text or _general_description(name, [*_homes(handler.fn.__module__), _EVERYWHERE])


def field_description(component: str, field: str) -> str | None:
    """What `field` of the schema `component` means, if it is written down."""
    *package, name = component.split("_")
    struct = described_structs().get(name)
    ancestors = (
        [] if struct is None else [parent for parent in struct.__mro__ if parent.__name__ in described_structs()]
    )
    homes = [*package[:1], *(home for parent in ancestors for home in _homes(parent.__module__))]
    known = references()
    for parent in ancestors:
        for reference in known.values():
            text = reference.of_structs.get(parent.__name__, {}).get(field)
            if text is not None:
                return text
    return _general_description(field, [*homes, _EVERYWHERE])


def _homes(module: str) -> list[str]:
    """The packages that a module of ours is in, the innermost first."""
    parts = module.split(".")[1:-1]
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _general_description(field: str, homes: Iterable[str]) -> str | None:
    """What a field of that name means in the first of these packages that says it."""
    known = references()
    return next((known[home].fields[field] for home in homes if home in known and field in known[home].fields), None)


def example_of(component: str) -> Any:
    """An example of a request body, if there is one."""
    for reference in references().values():
        if component in reference.examples:
            return msgspec.json.decode(reference.examples[component])
    return None


def operation_summary(operation_id: str) -> str:
    """A short title made of the operation's id: `createInvoice` is `Create invoice`."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+", operation_id)
    return " ".join(word if word.isupper() else word.lower() for word in words).capitalize()


def operation_description(handler: Any) -> str:
    """What the docstring of an operation's handler says."""
    text = inspect.getdoc(handler.fn) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def path_parameter_description(path: str, name: str) -> str | None:
    """What a part of a path names: the id of what the segment before it lists, or a word of the reference."""
    if name == "id":
        before = path.partition("{id}")[0].rstrip("/").rsplit("/", 1)[-1]
        return f"Id of the {_ENTITIES.get(before, before.removesuffix('s').replace('-', ' '))}"
    return references()[_EVERYWHERE].fields.get(name)


def describe_fields(schemas: dict[str, Any]) -> None:
    """Write into each field of each schema what it means; what its type says stays behind that."""
    for component, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            text = field_description(component, field)
            if text is not None:
                format_note = described.get("description")
                described["description"] = f"{text} ({format_note})" if format_note else text


def add_example(body: dict[str, Any]) -> None:
    """Write an example into a request body whose struct has one."""
    for media in body["content"].values():
        options = media["schema"].get("anyOf", [media["schema"]])
        for option in options:
            example = example_of(option.get("$ref", "").rsplit("/", 1)[-1])
            if example is not None:
                media["example"] = example
