"""What people call the entities of activities that had no name of their own when something happened to them."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import zone_or_abbreviation
from farthing.catalogue.fx.tables import FxRate
from farthing.checkout.tables import CheckoutSession
from farthing.core.origin import ActorType
from farthing.identity.tables import User
from farthing.invoices.pdf.document import Days
from farthing.invoices.reads.reading_zones import reading_zones
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.notifications.activity.schemas import ActivityResponse
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_array
from farthing.web.dashboard.customer_names import names_of
from farthing.web.rendering.words import wording
from farthing.web.rendering.words.recorded_values import plain_text

_NAMED_BY_A_KIND = frozenset({"task", "scheduled_task"})
"""What is called after the kind of rows it brings, where no file gave it a name."""


async def name_entities(session: AsyncSession, activities: Sequence[ActivityResponse]) -> None:
    """Put names in place of ids: "draft of ACME for June 2026" after "Invoice", "of ACME for $450.00" after "Checkout".

    An invoice has no number before it is final, and neither has what hangs on it; whatever else belongs to a customer
    is called after the customer. One query for each kind of thing and each owner of
    keys, and none where everything has a name.
    """
    await _name_hidden_keys(session, activities)
    for activity in activities:
        label = activity.entity.label
        if activity.entity.type in _NAMED_BY_A_KIND and label.replace("_", "").isalpha():
            activity.entity.label = wording.words(label)
    unnamed = [activity for activity in activities if activity.entity.label == activity.entity.id]
    if not unnamed:
        return
    ids_by_type: dict[str, set[str]] = {}
    for activity in unnamed:
        ids_by_type.setdefault(activity.entity.type, set()).add(activity.entity.id)
    names = await names_of(session, {activity.customer_id for activity in unnamed if activity.customer_id})
    owned = [activity for activity in unnamed if activity.customer_id in names]
    named = {
        **{activity.entity.id: f"of {names[activity.customer_id or '']}" for activity in owned},
        **await _invoice_names(session, ids_by_type.get("invoice", set())),
        **await _checkout_names(session, ids_by_type.get("checkout_session", set())),
        **await _rate_names(session, ids_by_type.get("fx_rate", set())),
    }
    for activity in unnamed:
        activity.entity.label = named.get(activity.entity.id, activity.entity.label)


async def _name_hidden_keys(session: AsyncSession, activities: Sequence[ActivityResponse]) -> None:
    """Call a key whose name is not for the reader after its owner: "an API key of Ada"."""
    nameless = [
        actor
        for activity in activities
        if (actor := activity.actor) is not None and actor.type == ActorType.API_KEY and actor.label == actor.id
    ]
    for owner_id in {actor.owner_id for actor in nameless if actor.owner_id}:
        owner = await person_name(session, owner_id)
        for actor in nameless:
            if actor.owner_id == owner_id:
                actor.label = f"an API key of {owner}"


async def person_name(session: AsyncSession, user_id: str) -> str:
    """The name or email of the person or service account behind an API key; the id of who is gone."""
    name = func.coalesce(func.nullif(User.name, ""), User.email)
    found = select(name).where(User.id == user_id, User.tenant_id == scope_of(session).tenant_id)
    return await session.scalar(found) or user_id


async def _invoice_names(session: AsyncSession, ids: set[str]) -> Mapping[str, str]:
    if not ids:
        return {}
    invoices = (await session.scalars(select(Invoice).where(in_array(Invoice.id, ids)))).all()
    customers = await names_of(session, {invoice.customer_id for invoice in invoices})
    zones = await reading_zones(session, invoices)
    return {
        invoice.id: invoice.invoice_number
        or ("draft " if invoice.invoice_status is InvoiceStatus.DRAFT else "")
        + f"of {customers.get(invoice.customer_id, invoice.customer_id)}"
        + _for_days(invoice, zones[invoice.id])
        for invoice in invoices
    }


def _for_days(invoice: Invoice, zone: str) -> str:
    """ " for June 2026", and for what is no calendar month " for 5 May to 4 Jun 2026"; "" without a period."""
    start, end = invoice.period_start, invoice.period_end
    if start is None or end is None or end <= start:
        return ""
    days = Days.of(start, end, zone_or_abbreviation(zone))
    is_month = days == Days(days.first.replace(day=1), _last_of_month(days.first))
    return f" for {days.first:%B %Y}" if is_month else f" for {plain_text(wording.period(start, end, zone))}"


def _last_of_month(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


async def _checkout_names(session: AsyncSession, ids: set[str]) -> Mapping[str, str]:
    if not ids:
        return {}
    query = select(CheckoutSession).where(in_array(CheckoutSession.id, ids))
    checkouts = (await session.scalars(query)).all()
    customers = await names_of(session, {checkout.customer_id for checkout in checkouts})
    return {
        checkout.id: f"of {customers.get(checkout.customer_id, checkout.customer_id)}"
        f" for {wording.money(checkout.amount, checkout.currency)}"
        for checkout in checkouts
    }


async def _rate_names(session: AsyncSession, ids: set[str]) -> Mapping[str, str]:
    if not ids:
        return {}
    columns = (FxRate.id, FxRate.from_currency, FxRate.to_currency)
    rows = await session.execute(select(*columns).where(in_array(FxRate.id, ids)))
    return {row[0]: f"{row[1].upper()} to {row[2].upper()}" for row in rows}
