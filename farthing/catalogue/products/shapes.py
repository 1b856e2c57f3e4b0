"""Features in the form in which they travel, straight from their rows."""

from __future__ import annotations

from typing import Final

from farthing.catalogue.products.schemas import FeatureResponse
from farthing.catalogue.products.tables import Feature
from farthing.storage.queries.pages import PageShape
from farthing.storage.queries.shapes import RowShape

FEATURES: Final = PageShape(
    RowShape(
        FeatureResponse,
        Feature,
        expressions={
            "meter_id": "coalesce(r.meter_id, '')",
            # a number in the answer, and text in the row
            "reporting_unit": "r.reporting_unit || jsonb_build_object("
            "'conversion_rate', trim_scale((r.reporting_unit ->> 'conversion_rate')::numeric))",
            "alert_settings": "jsonb_strip_nulls(r.alert_settings)",
        },
    )
)
