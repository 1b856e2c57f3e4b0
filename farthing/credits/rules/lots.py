"""Which lots a debit may consume, in which order, and how much of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from farthing.core.money import EXACT, ZERO, exact_sum

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lot:
    """A completed credit. `available` is what no debit has consumed: 0 to `credits`.

    `valid_from` is None for a lot that is valid from always; `priority` and `expiry` are None for the last in order.
    """

    id: str
    credits: Decimal
    available: Decimal
    created_at: datetime
    priority: int | None = None
    expiry: datetime | None = None
    valid_from: datetime | None = None
    taxed: bool = False
    """Whether it was taxed when it was bought."""

    def is_eligible(self, at: datetime) -> bool:
        """Whether a debit that counts as of `at` may consume the lot; one that expires at that instant it may.

        Rule: docs/rules/credits.md#eligibility
        """
        return (
            self.available > 0
            and (self.expiry is None or self.expiry >= at)
            and (self.valid_from is None or self.valid_from < at)
        )


@dataclass(frozen=True, slots=True)
class Consumption:
    """`credits`, above 0, that a debit takes from the lot `lot_id`."""

    lot_id: str
    credits: Decimal


@dataclass(frozen=True, slots=True)
class ConsumptionPlan:
    """What a debit takes from which lots, in order, and the part of it that no lot covers."""

    consumptions: tuple[Consumption, ...]
    uncovered: Decimal

    @property
    def covered(self) -> Decimal:
        return exact_sum([consumption.credits for consumption in self.consumptions])


def consumption_key(lot: Lot) -> tuple[Any, ...]:
    """Sorts lots into the order in which they are consumed.

    Rule: docs/rules/credits.md#consumption-order
    """
    return (
        lot.priority is None,
        lot.priority or 0,
        lot.expiry or _NEVER,
        -lot.credits,
        lot.created_at,
        lot.id,
    )


def usable_credits(lots: Iterable[Lot], at: datetime) -> Decimal:
    """How many credits a debit that counts as of `at` can take."""
    return exact_sum([lot.available for lot in lots if lot.is_eligible(at)])


def lots_after(lots: Iterable[Lot], plan: ConsumptionPlan) -> list[Lot]:
    """The lots as they are once `plan` has been carried out."""
    taken = {part.lot_id: part.credits for part in plan.consumptions}
    return [replace(lot, available=EXACT.subtract(lot.available, taken.get(lot.id, ZERO))) for lot in lots]


def plan_debit(lots: Sequence[Lot], credits: Decimal, at: datetime) -> ConsumptionPlan:
    """Take `credits` from the lots that are eligible at `at`.

    Rule: docs/rules/credits.md#consumption-order
    """
    return _take([lot for lot in lots if lot.is_eligible(at)], credits)


def plan_manual_debit(lots: Sequence[Lot], credits: Decimal, at: datetime) -> ConsumptionPlan:
    """Take `credits` from the eligible lots first, then from every other lot with something left.

    What remains uncovered makes the balance negative.
    Rule: docs/rules/credits.md#manual-debits
    """
    return plan_in_turn([lot for lot in lots if lot.is_eligible(at)], lots, credits)


def plan_in_turn(first: Sequence[Lot], lots: Sequence[Lot], credits: Decimal) -> ConsumptionPlan:
    """Take `credits` from the lots `first`, then from the others of `lots`, each group in consumption order."""
    preferred = _take(first, credits)
    named = {lot.id for lot in first}
    rest = _take([lot for lot in lots if lot.id not in named], preferred.uncovered)
    return ConsumptionPlan((*preferred.consumptions, *rest.consumptions), rest.uncovered)


def last_of(consumed: Sequence[Consumption], credits: Decimal) -> list[Consumption]:
    """Of what was `consumed`, in order, the `credits` that were consumed last; in the same order."""
    needed, parts = credits, []
    for part in reversed(consumed):
        taken = min(needed, part.credits)
        if taken > 0:
            parts.append(Consumption(part.lot_id, taken))
            needed = EXACT.subtract(needed, taken)
    return parts[::-1]


def plan_everything(lots: Sequence[Lot]) -> ConsumptionPlan:
    """Take all that is left in any lot, past its expiry or not."""
    return _take(lots, exact_sum([lot.available for lot in lots]))


def _take(lots: Sequence[Lot], credits: Decimal) -> ConsumptionPlan:
    needed, taken = credits, []
    for lot in sorted(lots, key=consumption_key):
        part = min(needed, lot.available)
        if part > 0:
            taken.append(Consumption(lot.id, part))
            needed = EXACT.subtract(needed, part)
    return ConsumptionPlan(tuple(taken), needed)


def opened_with(credits: Decimal, balance_before: Decimal) -> Decimal:
    """What is left of a new lot of `credits` once it has repaid a negative balance.

    Rule: docs/rules/credits.md#negative-balances
    """
    return credits if balance_before >= 0 else max(ZERO, EXACT.add(balance_before, credits))
