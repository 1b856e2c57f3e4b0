"""The letterhead of an environment's mails: the company's name, its logo from invoices, its colour from the portal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.standards.email_address import deliverable_address
from farthing.identity.settings.catalogue import CustomerPortalConfig, EmailConfig, InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.logo import Logo
from farthing.identity.tables import Tenant
from farthing.notifications.email.content.letter import Letterhead, one_line
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import find


async def letterhead_of(session: AsyncSession, config: EmailConfig) -> Letterhead:
    """Who writes the mails of the session's environment."""
    tenant = await find(session, Tenant, scope_of(session).tenant_id)
    details: Mapping[str, Any] = tenant.billing_details
    logo = (await read(session, InvoicePdfConfig)).logo
    help_address = config.reply_to or details.get("help_email") or details.get("email") or ""
    return Letterhead(
        seller=one_line(config.from_name or tenant.name),
        help_address=deliverable_address(help_address) or "",
        logo=Logo.of_base64(logo) if logo else None,
        colour=(await read(session, CustomerPortalConfig)).theme.primary_color or "",
    )
