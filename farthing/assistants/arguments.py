"""The arguments that tools have in common, with what they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

CustomerName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        description="Which customer: its Farthing id (cust_...), your own id of it, or a part of its name",
    ),
]
InvoiceId = Annotated[str, Field(min_length=1, max_length=50, description="Farthing id of the invoice (inv_...)")]
LineId = Annotated[str, Field(min_length=1, max_length=50, description="Id of the line, as get_invoice lists it")]
SubscriptionId = Annotated[
    str, Field(min_length=1, max_length=50, description="Farthing id of the subscription (subs_...)")
]
Currency = Annotated[str, Field(pattern="^[A-Za-z]{3}$", description="A currency by its ISO 4217 code, such as usd")]
Amount = Annotated[
    str, Field(pattern=r"^\d{1,18}(\.\d{1,12})?$", description="An exact decimal as text, such as 12.50")
]
Start = Annotated[datetime, Field(description="From this time on, RFC 3339; UTC unless it says otherwise")]
End = Annotated[datetime, Field(description="Before this time, RFC 3339; UTC unless it says otherwise")]
Limit = Annotated[int, Field(ge=1, le=100, description="How many entries to answer at most")]
Offset = Annotated[int, Field(ge=0, description="How many entries to skip; next_offset of the page before")]


def as_wire(moment: datetime | None) -> str | None:
    """A time as the API reads it."""
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).isoformat()
