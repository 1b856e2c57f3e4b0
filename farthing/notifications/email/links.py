"""Where the button of a mail leads: the customer's portal, without signing in.

Rule: docs/rules/email.md#what-a-mail-says
"""

from __future__ import annotations

from datetime import datetime, timedelta

from farthing.customers import portal
from farthing.customers.tables import Customer
from farthing.settings import Settings

LINK_LIFE = timedelta(days=14)


def portal_link(settings: Settings, customer: Customer, invoice_id: str | None, now: datetime) -> str:
    """An address that opens the customer's portal for two weeks from `now`, real time; its invoice, if it is ours."""
    opened = portal.open_session(customer, settings.master_key(), now, int(LINK_LIFE.total_seconds()))
    if settings.portal_url is not None:
        return opened.url(settings.portal_url)
    page = f"/invoices/{invoice_id}" if invoice_id is not None else ""
    return f"{settings.base_url}/portal/{opened.token}{page}"
