"""How quantities go along when the plan changes: pure."""

from __future__ import annotations

from decimal import Decimal

import pytest

from farthing.core.errors import ValidationFailed
from farthing.rating.pricing.price import BillingModel
from farthing.subscriptions.changes.planned_terms import RequestedQuantity
from farthing.subscriptions.plan_change.quantities import SeatFee, carry_quantities


def fee(price: str, quantity: str = "1", key: str = "", name: str = "", model: str = "FLAT_FEE") -> SeatFee:
    return SeatFee(price, key, name, BillingModel(model), Decimal(quantity))


OLD_SEATS = fee("old", "5", "seats", "Seats")


@pytest.mark.parametrize(
    ("present", "target", "expected", "warnings"),
    [
        pytest.param([OLD_SEATS], [fee("new", key="seats"), fee("base")], {"new": "5"}, 1, id="by lookup key"),
        pytest.param([OLD_SEATS], [fee("new", name="Seats"), fee("base")], {"new": "5"}, 1, id="by name"),
        pytest.param(
            [OLD_SEATS, fee("other", "3", name="Support")],
            [fee("new", key="seats", name="Support")],
            {"new": "5"},
            2,
            id="a key says more than a name",
        ),
        pytest.param([OLD_SEATS], [fee("new", key="k", name="N")], {"new": "5"}, 1, id="the only one to the only one"),
        pytest.param([OLD_SEATS], [fee("new", model="TIERED")], {}, 1, id="not to one of another model"),
        pytest.param([OLD_SEATS], [fee("new"), fee("base")], {}, 1, id="not where there are two to choose from"),
        pytest.param([OLD_SEATS], [], {}, 1, id="nothing to carry it to"),
        pytest.param(
            [fee("old", key="seats")], [fee("new", key="seats")], {"new": "1"}, 0, id="one is nothing special"
        ),
        pytest.param([fee("old", "0", "seats")], [fee("new", key="seats")], {"new": "0"}, 1, id="none is"),
    ],
)
def test_which_quantities_are_carried(
    present: list[SeatFee], target: list[SeatFee], expected: dict[str, str], warnings: int
) -> None:
    carried = carry_quantities(present, target)
    assert {price: str(quantity) for price, quantity in carried.by_price.items()} == expected
    assert len(carried.warnings) == warnings


def test_what_is_requested_wins_and_is_not_warned_of() -> None:
    carried = carry_quantities(
        [OLD_SEATS], [fee("new", key="seats"), fee("base", key="base")], [RequestedQuantity("7", "", "seats")]
    )
    assert carried.by_price == {"new": Decimal(7)}
    assert carried.requested == {"new"}
    assert carried.warnings == ()


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ([RequestedQuantity("2", "gone", "")], "line_items[0].price_id"),
        ([RequestedQuantity("2", "new", ""), RequestedQuantity("2", "", "gone")], "line_items[1].lookup_key"),
        ([RequestedQuantity("2", "new", ""), RequestedQuantity("3", "", "seats")], "line_items[1]"),
    ],
)
def test_a_request_names_a_price_of_the_target_once(wishes: list[RequestedQuantity], field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        carry_quantities([OLD_SEATS], [fee("new", key="seats")], wishes)
    assert field in refused.value.details
