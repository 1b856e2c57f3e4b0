"""The field of a form that says in which group a feature or a price stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.enums import GroupEntityType
from farthing.catalogue.products.tables import GroupRow
from farthing.core.enums import Status
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections, parts_of

_NAME = "group_id"
_MOST = 500


async def with_group(session: AsyncSession, sections: Sections, holds: GroupEntityType) -> Sections:
    """The form with a field for the group at its end, if there is a group that holds such a thing."""
    rows = await session.execute(
        select(GroupRow.id, GroupRow.name)
        .where(GroupRow.status == Status.PUBLISHED, GroupRow.entity_type == holds)
        .order_by(func.lower(GroupRow.name), GroupRow.id)
        .limit(_MOST)
    )
    options = [(row.id, row.name) for row in rows]
    if not options:
        return sections
    field = FormField(
        _NAME,
        "Group",
        FieldKind.CHOICE,
        options=options,
        placeholder="None",
        hint="A heading under which it stands; it changes no amount",
    )
    return (*sections, FormSection("Group", (field,)))


def moved(sections: Sections, given: Mapping[str, str]) -> dict[str, Any]:
    """The group that a filled-in form names, "" for none; nothing where the form does not ask."""
    is_asked = any(part.name == _NAME for part, _ in parts_of(sections))
    return {_NAME: given.get(_NAME, "")} if is_asked else {}
