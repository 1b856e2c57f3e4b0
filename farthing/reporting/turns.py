"""Whose turn it is to compute: a tenant's reports wait for each other, and keep nobody else waiting."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.postgres import scope_of


def owner_of_reports(session: AsyncSession) -> str:
    """The owner of slices (`farthing.core.event_loop.slices`) of all reports of a tenant."""
    return f"reports of {scope_of(session).tenant_id}"
