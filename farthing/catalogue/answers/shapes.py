"""Plans, prices and entitlements in the form in which they travel, straight from their rows."""

from __future__ import annotations

from typing import Final

from farthing.catalogue.answers.schemas import EntitlementResponse, PlanResponse, PriceResponse
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.storage.queries.pages import PageShape
from farthing.storage.queries.shapes import RowShape

PLAN: Final = RowShape(PlanResponse, Plan)
PLANS: Final = PageShape(PLAN)
PRICES: Final = PageShape(
    RowShape(
        PriceResponse,
        Price,
        expressions={
            "meter_id": "coalesce(r.meter_id, '')",
            "transform_quantity": "jsonb_strip_nulls(r.transform_quantity)",
            "tiers": "jsonb_strip_nulls(r.tiers)",
            "price_unit_tiers": "jsonb_strip_nulls(r.price_unit_tiers)",
        },
    )
)
ENTITLEMENTS: Final = PageShape(
    RowShape(
        EntitlementResponse,
        Entitlement,
        expressions={
            "usage_reset_period": "nullif(r.usage_reset_period, '')",
            "plan_id": "CASE r.entity_type WHEN 'PLAN' THEN r.entity_id END",
        },
    )
)
