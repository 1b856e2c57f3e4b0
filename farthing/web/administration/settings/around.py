"""What the overview of settings says of what is no setting: the letterhead, taxes, people, keys and webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.caller import READ
from farthing.core.enums import Status
from farthing.identity.credentials import api_keys
from farthing.identity.sign_in.sessions import listed
from farthing.identity.sign_in.tables import SecondFactor
from farthing.identity.tables import Secret, SecretType, User, UserType
from farthing.invoices.reads.letterhead import seller_of
from farthing.notifications.webhooks.tables import WebhookEndpoint
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import Visitor
from farthing.web.rendering.words.wording import counted


@dataclass(frozen=True, slots=True)
class SettingEntry:
    """A line of the overview: `about` says what it changes and where, `value` what it is at present."""

    title: str
    path: str
    about: str
    value: str


async def around_settings(
    session: AsyncSession, visitor: Visitor, now: datetime
) -> list[tuple[str, Sequence[SettingEntry]]]:
    """The company's and the people's part of the overview, as far as the visitor may read it."""
    company = [
        (visitor.may(READ, "tenant"), _letterhead),
        (visitor.may(READ, "tax"), _taxes),
        (visitor.may(READ, "webhook"), _webhooks),
    ]
    access = [
        (visitor.may(READ, "user"), _team),
        (visitor.may(READ, "secret"), _keys),
        (True, _sessions),
        (True, _second_factor),
    ]
    return [
        ("Your company", [await read(session, visitor, now) for may_read, read in company if may_read]),
        ("Who gets in", [await read(session, visitor, now) for may_read, read in access if may_read]),
    ]


async def _letterhead(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    seller = await seller_of(session, visitor.caller.tenant_id)
    parts = [seller.name, *seller.address, seller.tax_id and f"VAT or tax id {seller.tax_id}"]
    value = ", ".join(part for part in parts if part)
    return SettingEntry(
        "Letterhead",
        "/company",
        "Logo, address, VAT id and bank account at the head and foot of every invoice from the next one on.",
        value if seller.address else f"{value}; no address yet",
    )


async def _taxes(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    rates = await _count(session, TaxRateRow.status == Status.PUBLISHED)
    applied = await _count(
        session,
        TaxAssociation.status == Status.PUBLISHED,
        TaxAssociation.entity_type == TaxEntityType.TENANT,
    )
    return SettingEntry(
        "Taxes",
        "/catalogue/taxes",
        "Which rates are charged, and to whom, from the next invoice on.",
        f"{counted(rates, 'rate')}; {applied or 'none'} charged to every customer" if rates else "No tax is charged",
    )


async def _webhooks(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    count = await _count(session, WebhookEndpoint.status == Status.PUBLISHED)
    return SettingEntry(
        "Webhooks",
        "/webhooks",
        "Where programs of yours hear at once of what happens here.",
        counted(count, "endpoint") if count else "None: nobody is told",
    )


async def _team(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    count = await _count(
        session,
        User.tenant_id == visitor.caller.tenant_id,
        User.type == UserType.USER,
        User.status == Status.PUBLISHED,
    )
    return SettingEntry(
        "Team", "/team", "Who signs in, and what each of them may do.", counted(count, "person", "people")
    )


async def _keys(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    keys = (await session.scalars(api_keys.visible(visitor.caller).where(Secret.status == Status.PUBLISHED))).all()
    sending = sum(key.type is SecretType.PUBLISHABLE_KEY for key in keys)
    return SettingEntry(
        "API keys",
        "/keys",
        "What lets programs of yours in, and what each may do.",
        f"{counted(len(keys), 'key')}, {sending} of them only to send events" if keys else "None",
    )


async def _sessions(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    open_sessions = await listed(session, await find(session, User, visitor.caller.user_id), now)
    return SettingEntry(
        "Your sessions",
        "/account",
        "Where you are signed in, and how to end that.",
        f"Signed in at {counted(len(open_sessions), 'place')}",
    )


async def _second_factor(session: AsyncSession, visitor: Visitor, now: datetime) -> SettingEntry:
    is_on = await _count(
        session, SecondFactor.user_id == visitor.caller.user_id, SecondFactor.confirmed_at.is_not(None)
    )
    return SettingEntry(
        "Your second factor",
        "/account#factor",
        "Whether signing in takes a code of your phone beside your password.",
        "On" if is_on else "Off: the password alone lets you in",
    )


async def _count(session: AsyncSession, *conditions: ColumnElement[bool]) -> int:
    return await session.scalar(select(func.count()).where(*conditions)) or 0
