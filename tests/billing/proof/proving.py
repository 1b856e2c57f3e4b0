"""What the doctor finds in an office's books, and tampering with them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text

from farthing.billing.proof.completeness import incomplete
from farthing.billing.proof.invoices import Proof, prove
from farthing.invoices.tables import Invoice
from tests.billing.office import Office

SLAB = {
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "tiers": [
        {"up_to": 100, "unit_amount": "0.05", "flat_amount": "1"},
        {"up_to": None, "unit_amount": "0.03"},
    ],
}


async def prove_books(office: Office) -> Proof:
    """The proof of all the account's books: charges, and periods."""
    async with office.account.transaction(read_only=True) as session:
        invoices = list(await session.scalars(select(Invoice).order_by(Invoice.id)))
        proof = await prove(session, invoices)
        proof.differences += await incomplete(session)
        return proof


async def find_faults(office: Office) -> list[tuple[str, str]]:
    """What differs, and where."""
    return [(difference.where, difference.figure) for difference in (await prove_books(office)).differences]


async def tamper(office: Office, *statements: str, **values: Any) -> None:
    """Change the books behind the back of everything that keeps them."""
    async with office.account.transaction() as session:
        for statement in statements:
            await session.execute(text(statement), values)
