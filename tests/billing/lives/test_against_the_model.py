"""Lives in which coupons, taxes, pauses, ends, plans, wallets, grants, payments and notes come and go are billed, and
credited, as an independent model says.

`FARTHING_LIVES` is how many are lived; few by default.
"""

from __future__ import annotations

import os
import random

import pytest
from sqlalchemy import select

from farthing.billing.proof.budgets import coupon_differences
from farthing.billing.proof.completeness import incomplete
from farthing.billing.proof.credit_notes import note_differences
from farthing.billing.proof.credits import credit_differences
from farthing.billing.proof.invoices import prove
from farthing.billing.proof.settlement_notes import settlement_note_differences
from farthing.billing.proof.settlements import settlement_differences
from farthing.core.money import plain
from farthing.credits.grants.proof import grant_differences
from farthing.credits.reads.derivation import ledger_differences
from farthing.invoices.figures.derivation import Difference, all_differences
from farthing.invoices.tables import Invoice
from tests.billing.lives import comparison
from tests.billing.lives.life import begun
from tests.billing.office import Office
from tests.reporting.reconciliation import unreconciled

LIVES = int(os.environ.get("FARTHING_LIVES", "4"))
FIRST = int(os.environ.get("FARTHING_FIRST_LIFE", "0"))


async def faults(office: Office) -> list[Difference]:
    """What the doctor finds in the books of the office."""
    async with office.account.transaction(read_only=True) as session:
        invoices = list(await session.scalars(select(Invoice).order_by(Invoice.id)))
        found = await all_differences(session, invoices)
        found += (await prove(session, invoices)).differences
        found += await incomplete(session)
        found += [*await ledger_differences(session), *await credit_differences(session)]
        found += [
            *await grant_differences(session),
            *await note_differences(session),
            *await settlement_note_differences(session),
        ]
        return [*found, *await coupon_differences(session), *await settlement_differences(session)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + LIVES))
async def test_a_life_is_billed_as_the_model_says(office: Office, seed: int) -> None:
    await live(office, seed, "usd")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + LIVES // 2))
async def test_a_life_that_is_billed_at_par_in_another_currency_is_the_same(office: Office, seed: int) -> None:
    """Charged in dollars, converted one to one, paid, credited and given back in euros."""
    await live(office, seed, "eur")


async def live(office: Office, seed: int, code: str) -> None:
    dice = random.Random(seed)
    life = await begun(office, dice, code)
    for _ in range(dice.randint(6, 10)):
        await life.go_to(life.next_moment())
        await life.act()
    await life.go_to(life.next_moment())
    await life.end()
    model, books = life.model, life.model.books
    given_back = [comparison.returned(*given) for given in model.settlements.given_back]
    pairs = {
        "invoices": (await comparison.invoiced(office), comparison.modelled(books.documents)),
        "given back": (await comparison.given_back(office), given_back),
        "grants": (await comparison.granted(office), comparison.modelled_grants(model.grants)),
        "wallets": (await comparison.wallets(office), comparison.modelled_wallets(books)),
        "balances": (
            [(moment, shown) for moment, shown, _ in life.money.customer.balances],
            [(moment, due) for moment, _, due in life.money.customer.balances],
        ),
        "windows": (await comparison.windows(office), comparison.modelled_windows(model.usage.quotas)),
        "unapplied": ([await comparison.unapplied(office)], [plain(books.unapplied)]),
        "faults": (await faults(office), []),
        "totals": (await unreconciled(office.account), []),
    }
    wrong = [f"{name}\n{comparison.differing(*pair)}" for name, pair in pairs.items() if pair[0] != pair[1]]
    assert wrong == [], "\n".join([*life.story, *wrong])
