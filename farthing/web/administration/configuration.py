"""Settings: what each is, its value in force, and a form to change it, made from the catalogue of settings itself."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from msgspec import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.core.encoding.times import MomentText
from farthing.core.errors import FarthingError, PermissionDenied, ValidationFailed
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import CATALOGUE, Configuration, InvoiceConfig, TenantConfig
from farthing.identity.settings.current import Effective
from farthing.identity.settings.logo import MAX_BASE64, Logo
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.wording import readable

READ_ONLY = frozenset({TenantConfig.key})
"""Otherwise a tenant would lift its own limits."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a setting as a form shows it; `kind` is text, part, number, yes-no, choice, picture or json.

    A picture is shown and not changed here: it is longer than a form may be.
    """

    name: str
    kind: str
    value: Any
    choices: tuple[str, ...] = ()


def _kind(described: inspect.Type) -> tuple[str, tuple[str, ...]]:
    match described:
        case inspect.BoolType():
            return "yes-no", ()
        case inspect.IntType():
            return "number", ()
        case inspect.StrType(max_length=length) if length == MAX_BASE64:
            return "picture", ()
        case inspect.StrType():
            return "text", ()
        case inspect.LiteralType(values=values):
            return "choice", tuple(str(value) for value in values)
        case inspect.CustomType(cls=cls) if cls is MomentText:
            return "text", ()
        case inspect.Metadata(type=inner):
            return _kind(inner)
        case _:
            return "json", ()


def _texts_of(described: inspect.Type) -> list[str]:
    """The names of the texts that a part of a setting is made of; none for a part of anything else."""
    if not isinstance(described, inspect.StructType):
        return []
    kinds = {field.encode_name: _kind(field.type)[0] for field in described.fields}
    return list(kinds) if set(kinds.values()) == {"text"} else []


def fields_of(effective: Effective) -> list[Field]:
    """The fields of a setting with their values in force; those of a part that is all texts as `part.name`."""
    described = inspect.type_info(effective.kind)
    assert isinstance(described, inspect.StructType), "settings are structs"
    found = []
    for field in described.fields:
        parts = _texts_of(field.type)
        if parts:
            held = effective.value[field.encode_name]
            found += [Field(f"{field.encode_name}.{part}", "part", held.get(part, "")) for part in parts]
            continue
        kind, choices = _kind(field.type)
        value = effective.value.get(field.encode_name)
        if kind == "picture":
            value = picture_address(value or "")
        if kind == "json":
            value = readable(value) if field.encode_name in effective.value else ""
        found.append(Field(field.encode_name, kind, value, choices))
    return found


def picture_address(base64: str) -> str:
    """What an image element shows such a picture by; empty for none."""
    if not base64:
        return ""
    return f"data:image/{'png' if Logo.of_base64(base64).format == 'png' else 'jpeg'};base64,{base64}"


def value_of(effective: Effective, given: dict[str, str]) -> dict[str, msgspec.Raw]:
    """What a sent form says, as JSON per field. Raises ValidationFailed."""
    said: dict[str, msgspec.Raw] = {}
    parts: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for field in fields_of(effective):
        text = given.get(field.name, "")
        if field.kind == "part":
            whole, _, part = field.name.partition(".")
            parts[whole][part] = given.get(field.name, field.value)
        elif field.kind == "yes-no":
            said[field.name] = msgspec.Raw(b"true" if text == "yes" else b"false")
        elif field.kind == "picture" or (field.kind == "json" and not text):
            continue  # a picture stays as it is, and what was never set stays so
        elif field.kind in {"number", "json"}:
            try:
                msgspec.json.decode(text.encode())
            except (msgspec.DecodeError, RecursionError) as error:
                what = "must be a whole number" if field.kind == "number" else f"is not valid JSON: {error}"
                raise ValidationFailed.of(field.name, what) from error
            said[field.name] = msgspec.Raw(text.encode())
        elif field.name in given:
            said[field.name] = msgspec.Raw(msgspec.json.encode(text))
    return said | {whole: msgspec.Raw(msgspec.json.encode(texts)) for whole, texts in parts.items()}


class SettingsPages(Controller):
    """Settings of the environment."""

    path = "/settings"
    include_in_schema = False

    @get("/", guards=[shows("setting")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Every setting there is, and whether it was changed."""
        found = [await current.effective(session, kind) for kind in CATALOGUE.values()]
        return render(
            request,
            "settings.html",
            settings=[(setting, _about(setting.kind)) for setting in found],
            activities=await newest_activities(request, session, entity_type="setting"),
            activity_query={"entity_type": "setting"},
            zone=(await current.read(session, InvoiceConfig)).timezone,
        )

    @get("/{key:str}", guards=[shows("setting")])
    async def one(self, key: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One setting."""
        effective = await current.effective(session, current.kind_of(key))
        return render(
            request,
            "setting.html",
            setting=effective,
            about=_about(effective.kind),
            fields=fields_of(effective),
            read_only=key in READ_ONLY,
        )

    @post("/{key:str}", guards=[changes("setting", admin=True)])
    async def write(self, key: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change one setting, or let its defaults apply again."""
        given = form_of(request)
        try:
            kind = current.kind_of(key)
            if key in READ_ONLY:
                raise PermissionDenied("These limits are the operator's to change")
            if given.get("action") == "reset":
                await current.delete(session, kind)
                return done(request, f"/settings/{key}", "The defaults apply again.")
            await current.write(session, kind, value_of(await current.effective(session, kind), given))
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, f"/settings/{key}", as_domain_error(error))
        return done(request, f"/settings/{key}", "Saved.")


def _about(kind: type[Configuration]) -> str:
    """What a setting is for, in its own words."""
    return (kind.__doc__ or "").split("\n\n")[0]
