"""Requests of plans and addons, with the names and fields of the wire."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from farthing.catalogue.fields import Ids, Line, Name, Text
from farthing.catalogue.prices.schemas import MOST_IN_BULK, PriceOfNewPlan
from farthing.core.encoding.wire import BadField, Request, checked_metadata
from farthing.storage.queries.listing import ListQuery

MOST_METADATA_CHARACTERS = 16_000

Order = Annotated[int, Meta(ge=-(2**31), lt=2**31)]


def _any_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata of an addon: any JSON values, within the same number of keys and a bounded size."""
    texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    checked_metadata({**dict.fromkeys(metadata, ""), **texts})
    if len(str(metadata)) > MOST_METADATA_CHARACTERS:
        raise BadField("metadata", f"must be at most {MOST_METADATA_CHARACTERS} characters long")
    return metadata


class CreatePlanRequest(Request):
    """A new plan, with prices if they are given; entitlements and credit grants are added to it later."""

    name: Name
    lookup_key: Line | None = None
    description: Text | None = None
    display_order: Order | None = None
    metadata: dict[str, str] | None = None
    prices: Annotated[list[PriceOfNewPlan], Meta(max_length=MOST_IN_BULK)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)


class UpdatePlanRequest(Request):
    """Changes of a plan; what is absent stays."""

    name: Name | None = None
    lookup_key: Line | None = None
    description: Text | None = None
    display_order: Order | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = checked_metadata(self.metadata)


class ClonePlanRequest(Request):
    """What tells a copy of a plan from its source."""

    name: Name
    lookup_key: Name
    description: Text | None = None
    display_order: Order | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)


class PlanQuery(ListQuery):
    """Query string of a list of plans."""

    plan_ids: Ids | None = None
    lookup_key: str | None = None


class PlanFilter(PlanQuery):
    """Body of a search for plans; `metadata` finds those that have all its pairs."""

    metadata: dict[str, str] | None = None


class CreateAddonRequest(Request):
    """A new addon; prices, entitlements and credit grants are added to it later."""

    name: Name
    lookup_key: Name
    description: Text | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = _any_metadata(self.metadata or {})


class UpdateAddonRequest(Request):
    """Changes of an addon; what is absent stays."""

    name: Name | None = None
    description: Text | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metadata is not None:
            self.metadata = _any_metadata(self.metadata)


class AddonQuery(ListQuery):
    """Query string of a list of addons."""

    addon_ids: Ids | None = None
    lookup_keys: Ids | None = None


class AddonFilter(AddonQuery):
    """Body of a search for addons."""
