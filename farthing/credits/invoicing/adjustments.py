"""What prepaid wallets take off invoices that become final: planned under the locks of all their wallets, posted once.

Rule: docs/rules/credits.md#what-a-wallet-pays
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.money import ZERO
from farthing.credits.enums import ReferenceType, TransactionReason, WalletPriceType, WalletType
from farthing.credits.invoicing.wallets import lock_active_wallets, reference_instant, serves
from farthing.credits.ledger.posting import DebitMovement, MovementOrigin, open_lots_of, post_all
from farthing.credits.ledger.tables import Wallet
from farthing.credits.rules.conversion import credits_paying, usable_value
from farthing.credits.rules.lots import Lot, lots_after, plan_debit, usable_credits
from farthing.invoices.tables import Invoice
from farthing.rating.totals.prepaid import CreditSlice


@dataclass(slots=True)
class PayersCredits:
    """The locked prepaid wallets of payers, by payer and currency, and what their lots have left beyond what was taken.

    `paying` are the payers and currencies that have a wallet that pays invoices.
    """

    session: AsyncSession
    now: datetime
    wallets: dict[tuple[str, str], Wallet]
    lots: dict[str, list[Lot]]
    paying: frozenset[tuple[str, str]]
    debits: list[tuple[Wallet, DebitMovement]] = field(default_factory=list)

    def prepaid_value(self, invoice: Invoice) -> Decimal:
        """What the payer's prepaid wallet can still pay of the invoice, in whole minor units."""
        wallet = self.wallets.get((invoice.customer_id, invoice.currency))
        if wallet is None or not serves(wallet, WalletPriceType.USAGE):
            return ZERO
        usable = usable_credits(self.lots[wallet.id], reference_instant(invoice.period_end, self.now))
        return usable_value(usable, wallet.conversion_rate, currency.digits(invoice.currency))

    def take(self, invoice: Invoice, amount: Decimal) -> Sequence[CreditSlice]:
        """Let the invoice have `amount`, which is above 0 and at most its prepaid value; what it consists of."""
        wallet = self.wallets[invoice.customer_id, invoice.currency]
        needed = credits_paying(amount, wallet.conversion_rate)
        plan = plan_debit(self.lots[wallet.id], needed, reference_instant(invoice.period_end, self.now))
        assert plan.uncovered == 0, "what is taken was counted before"
        taxed = {lot.id for lot in self.lots[wallet.id] if lot.taxed}
        self.lots[wallet.id] = lots_after(self.lots[wallet.id], plan)
        origin = MovementOrigin(
            ReferenceType.INVOICE,
            invoice.id,
            description="Prepaid credits applied to an invoice",
            system_key=f"{invoice.id}_{wallet.id}_adjustment",
        )
        self.debits.append((wallet, DebitMovement(plan, TransactionReason.CREDIT_ADJUSTMENT, origin, amount)))
        rate = Fraction(wallet.conversion_rate)
        return [CreditSlice(Fraction(part.credits) * rate, part.lot_id in taxed) for part in plan.consumptions]

    def can_pay(self, invoice: Invoice) -> bool:
        """Whether its payer has a wallet that pays invoices."""
        return (invoice.customer_id, invoice.currency) in self.paying

    async def post(self) -> None:
        """Debit the wallets of all that was taken."""
        await post_all(self.session, self.debits, self.now)
        self.debits = []


async def open_credits(session: AsyncSession, invoices: Sequence[Invoice], now: datetime) -> PayersCredits:
    """What the wallets of the payers of locked or new drafts hold for them; all of them are locked.

    Two statements, however many invoices there are.
    """
    payers = sorted({invoice.customer_id for invoice in invoices})
    with session.no_autoflush:  # the drafts wait to be written until their figures stand
        wallets = await lock_active_wallets(session, payers)
        prepaid = {
            (wallet.customer_id, wallet.currency): wallet
            for wallet in wallets
            if wallet.wallet_type is WalletType.PRE_PAID
        }
        lots: dict[str, list[Lot]] = defaultdict(list)
        if prepaid:
            lots |= await open_lots_of(session, [wallet.id for wallet in prepaid.values()])
    paying = frozenset(
        (wallet.customer_id, wallet.currency) for wallet in wallets if wallet.wallet_type is WalletType.POST_PAID
    )
    return PayersCredits(session, now, prepaid, lots, paying)
