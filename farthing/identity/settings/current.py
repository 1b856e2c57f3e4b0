"""Settings as they stand: the defaults of the catalogue, overlaid with what is stored.

Other domains ask `await read(session, InvoiceConfig)` and get a typed value of the session's environment (or tenant).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.decoding import UNREADABLE, convert, json_decoder, unreadable
from farthing.core.encoding.wire import as_wire
from farthing.core.enums import Status
from farthing.core.errors import NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity.credentials import keys
from farthing.identity.parties.versions import SELLER, keep_versions
from farthing.identity.settings.catalogue import (
    CATALOGUE,
    SAML,
    Configuration,
    CustomerPortalConfig,
    EinvoiceConfig,
    InvoiceConfig,
    RequestConfig,
)
from farthing.identity.settings.portal_sections import require_visible_accent
from farthing.identity.tables import Environment, Setting, Tenant
from farthing.storage.postgres import scope_of
from farthing.storage.queries.kept import KeptRows, answer_to, kept_rows
from farthing.storage.queries.rows import lock_row

Value = TypeVar("Value", bound=Configuration)
_KNOWN = "configuration.known"


@dataclass(frozen=True, slots=True)
class Effective:
    """The value in force for one key, and the row behind it, if any was ever stored."""

    kind: type[Configuration]
    value: dict[str, Any]
    """Ready for the wire: decimals as text."""
    row: Setting | None


def kind_of(key: str) -> type[Configuration]:
    """The catalogue's entry for `key`. Raises ValidationFailed, or NotFound for a feature this deployment lacks."""
    if key == SAML:
        raise NotFound("Single sign-on is not enabled in this deployment", {"key": key})
    if key not in CATALOGUE:
        raise ValidationFailed.listing({"key": f"'{key}' is not a setting"}, allowed=list(CATALOGUE))
    return CATALOGUE[key]


async def read(session: AsyncSession, kind: type[Value]) -> Value:
    """The value in force for the session's environment, or for its tenant where the key is the tenant's."""
    known = _known(session)
    value = known.get(kind)
    if value is None:
        row = await _stored(session, kind)
        value = known[kind] = kind() if row is None else convert(_overlaid(kind, row), kind)
    return cast("Value", value)


def _known(session: AsyncSession) -> dict[type[Configuration], Configuration]:
    """What the session's transaction has read so far: it works by one configuration, unless it changes it itself."""
    transaction = session.sync_session.get_transaction()
    of, known = session.info.get(_KNOWN, (None, {}))
    if of is not transaction or of is None:
        known = {}
        session.info[_KNOWN] = (transaction, known)
    found: dict[type[Configuration], Configuration] = known
    return found


async def effective(session: AsyncSession, kind: type[Configuration]) -> Effective:
    """As `read`, with the row behind it."""
    row = await _stored(session, kind)
    return Effective(kind, on_the_wire(kind() if row is None else convert(_overlaid(kind, row), kind)), row)


async def effective_all(session: AsyncSession) -> dict[type[Configuration], Effective]:
    """As `effective`, of every key in the order of the catalogue; in one statement."""
    scope = scope_of(session)
    rows = await session.scalars(
        select(Setting).where(
            Setting.tenant_id == scope.tenant_id,
            Setting.environment_id.in_(("", scope.environment_id)),
            Setting.status == Status.PUBLISHED,
        )
    )
    stored = {(row.environment_id, row.key): row for row in rows}
    found = {}
    for kind in CATALOGUE.values():
        row = stored.get((_place(session, kind), kind.key))
        found[kind] = Effective(kind, on_the_wire(kind() if row is None else convert(_overlaid(kind, row), kind)), row)
    return found


async def write(session: AsyncSession, kind: type[Configuration], given: Mapping[str, msgspec.Raw]) -> Effective:
    """Lay the given top-level fields over the value in force, check the whole, and store it.

    Fields the catalogue does not know are dropped. Raises ValidationFailed (or what decodes into one).
    """
    await _lock(session, kind)
    row = await _stored(session, kind)
    merged = {**_overlaid(kind, row), **given}
    decoded = _decoded(msgspec.json.encode(merged), kind)
    if isinstance(decoded, CustomerPortalConfig) and "theme" in given:
        require_visible_accent(decoded.theme)
    value = on_the_wire(decoded)
    if row is None:
        row = Setting(id=new_id(Kind.SETTING), environment_id=_place(session, kind), key=kind.key, value=value)
        session.add(row)
    else:
        row.value = value
    await _changed(session, kind)
    return Effective(kind, value, row)


def _decoded(body: bytes, kind: type[Value]) -> Value:
    try:
        return cast("Value", json_decoder(kind).decode(body))
    except UNREADABLE as error:
        raise unreadable(error, body, kind) from error


async def delete(session: AsyncSession, kind: type[Configuration]) -> None:
    """Archive what is stored; the defaults hold again. Raises NotFound if nothing is stored."""
    await _lock(session, kind)
    row = await _stored(session, kind)
    if row is None:
        raise NotFound(f"Setting with key {kind.key} was not found", {"key": kind.key})
    row.status = Status.ARCHIVED
    await _changed(session, kind)


async def _changed(session: AsyncSession, kind: type[Configuration]) -> None:
    await session.flush()
    _known(session).clear()
    if kind in {EinvoiceConfig, InvoiceConfig}:
        seller, dates = await read(session, EinvoiceConfig), await read(session, InvoiceConfig)
        await keep_versions(session, {SELLER: seller.terms(dates.timezone)})
    if kind is RequestConfig:  # it is remembered with the callers of the environment
        await keys.invalidate(session, scope_of(session).environment_id)


async def _lock(session: AsyncSession, kind: type[Configuration]) -> None:
    """One change of settings at a time, so that merging loses nothing; also before a first row exists."""
    scope = scope_of(session)
    if kind.tenant_level:
        await lock_row(session, Tenant, scope.tenant_id)
    else:
        await lock_row(session, Environment, scope.environment_id)


def _place(session: AsyncSession, kind: type[Configuration]) -> str:
    scope = scope_of(session)
    assert kind.tenant_level or scope.environment_id, f"{kind.key} belongs to an environment"
    return "" if kind.tenant_level else scope.environment_id


async def _stored(session: AsyncSession, kind: type[Configuration]) -> Setting | None:
    place = _place(session, kind)
    found = await answer_to(
        session, _one_setting().asked(tenant=scope_of(session).tenant_id, place=place, key=kind.key)
    )
    return found[0] if found else None


@cache
def _one_setting() -> KeptRows[Setting]:
    return kept_rows(
        Setting,
        Setting.tenant_id == bindparam("tenant", type_=String),
        Setting.environment_id == bindparam("place", type_=String),
        Setting.key == bindparam("key", type_=String),
        Setting.status == Status.PUBLISHED,
    )


def _overlaid(kind: type[Configuration], row: Setting | None) -> dict[str, Any]:
    return {**on_the_wire(kind()), **(row.value if row is not None else {})}


def on_the_wire(value: Configuration) -> dict[str, Any]:
    """A value as plain JSON: decimals as text, empty fields inside a field left out."""
    plain: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(Decimal, datetime))
    return {name: _plain(item) for name, item in plain.items()}


def _plain(item: Any) -> Any:
    if isinstance(item, dict):
        return {name: _plain(part) for name, part in item.items() if part is not None}
    if isinstance(item, list):
        return [_plain(part) for part in item]
    return as_wire(item)
