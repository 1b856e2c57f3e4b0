"""What happens to a customer's wallets, in the office and in the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select

from farthing.core.clock import FixedClock
from farthing.credits.grants.sweep import GrantSweep
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.ledger.tables import WalletTransaction
from farthing.credits.wallets.evaluation import evaluate_customer
from tests.billing.lives.arithmetic import NOTHING, in_cents
from tests.billing.lives.comparison import modelled_balances
from tests.billing.lives.customer import Balances, Body, Customer
from tests.billing.lives.ledger.top_ups import AutomaticTopUp
from tests.billing.lives.ledger.wallets import Lot, Wallet, nine_digits
from tests.billing.office import Office

REASONS = [
    "FREE_CREDIT_GRANT",
    "FREE_CREDIT_GRANT",
    "PURCHASED_CREDIT_DIRECT",
    "PURCHASED_CREDIT_DIRECT",
    "CREDIT_NOTE",
]
RATES = ["1", "1", "0.8", "0.7", "2"]


@dataclass(frozen=True)
class WalletDeeds:
    """Whatever is done to a frozen wallet is refused."""

    customer: Customer

    def all(self) -> Mapping[str, tuple[int, Callable[[], Awaitable[str]]]]:
        """By name: how often it happens, and what does it."""
        # the usage of the open period is looked at in the currency of the charges
        looks = 1 if self.customer.is_charged_as_billed else 0
        return {
            "open": (2, self.open),
            "top up": (6, self.top_up),
            "buy": (3, self.buy),
            "debit": (2, self.debit),
            "void lot": (1, self.void_lot),
            "convert": (1, self.convert),
            "close": (1, self.close),
            "freeze": (1, self.freeze),
            "unfreeze": (2, self.unfreeze),
            "automatic": (2 * looks, self.automatic),
            "look": (3 * looks, self.look),
            "sweep": (2, self.sweep),
        }

    async def _post(self, path: str, body: Body, allowed: int) -> None:
        await self.customer.office.account.post(path, body, expect=allowed)

    def _any(self) -> Wallet | None:
        wallets = self.customer.wallets()
        return self.customer.dice.choice(wallets) if wallets else None

    async def open(self) -> str:
        customer = self.customer
        is_prepaid = customer.dice.random() < 0.6
        if customer.wallets(is_prepaid=is_prepaid):
            return ""
        rate, credits = Decimal(customer.dice.choice(RATES)), customer.credits()
        wallet = Wallet(is_prepaid, rate, Decimal(customer.dice.choice(RATES)))
        body = {
            "customer_id": customer.id,
            "currency": customer.code,
            "wallet_type": "PRE_PAID" if is_prepaid else "POST_PAID",
            "conversion_rate": str(wallet.rate),
            "topup_conversion_rate": str(wallet.price),
            "initial_credits_to_load": str(credits),
        }
        await self._post("/wallets", body, 200)
        customer.books.wallets.append(wallet)
        wallet.add(Lot("FREE_CREDIT_GRANT", credits, wallet.worth(credits), customer.now, "free"))
        return f"open {body['wallet_type']} {rate}/{wallet.price} with {credits}"

    def _lot(self, wallet: Wallet, reason: str) -> tuple[Lot, Body]:
        """Credits to add, and the request for them."""
        customer = self.customer
        body: Body = {"transaction_reason": reason, **customer.key}
        kind = "free" if reason.startswith("FREE") else "purchased"
        lot = Lot(reason, customer.credits(), NOTHING, customer.now, kind)
        rate = wallet.price if lot.is_bought_at_price else wallet.rate
        if customer.dice.random() < 0.3:
            lot.amount = customer.cents(least=100)
            lot.credits = nine_digits(Fraction(lot.amount) / Fraction(rate))
            body["amount"] = str(lot.amount)
        else:
            lot.amount = nine_digits(Fraction(lot.credits) * Fraction(rate))
            body["credits_to_add"] = str(lot.credits)
        if customer.dice.random() < 0.5:
            lot.expiry = customer.now + timedelta(minutes=customer.dice.randint(30, 60 * 24 * 50))
            body["expiry_date_utc"] = lot.expiry.isoformat()
        if customer.dice.random() < 0.4:
            lot.priority = body["priority"] = customer.dice.randint(0, 3)
        if lot.is_bought_at_price:
            named = customer.credits() if customer.dice.random() < 0.4 else None
            pinned = None
            if named is not None:
                body["bonus_credits_to_add"] = str(named)
            if customer.dice.random() < 0.4:
                pinned = customer.now + timedelta(minutes=customer.dice.randint(30, 60 * 24 * 50))
                body["bonus_credits_expiry_date_utc"] = pinned.isoformat()
            lot.bonus = customer.books.bonus_on(lot, wallet, named, pinned)
        return lot, body

    async def top_up(self) -> str:
        wallet = self._any()
        if wallet is None:
            return ""
        lot, body = self._lot(wallet, self.customer.dice.choice(REASONS))
        path = f"{await self.customer.path_of(wallet)}/top-up"
        await self._post(path, body, 400 if wallet.is_frozen else 200)
        if not wallet.is_frozen:
            wallet.add_with_bonus(lot)
        return f"top up {body}"

    async def buy(self) -> str:
        customer, wallet = self.customer, self._any()
        if wallet is None:
            return ""
        lot, body = self._lot(wallet, "PURCHASED_CREDIT_INVOICED")
        if not in_cents(Fraction(lot.amount)):
            return ""
        name = body["description"] = f"purchase {customer.made}"
        await self._post(f"{await customer.path_of(wallet)}/top-up", body, 400 if wallet.is_frozen else 200)
        if not wallet.is_frozen:
            customer.books.sell(wallet, lot, "MANUAL", name, customer.now)
        return f"buy {body}"

    async def debit(self) -> str:
        customer, wallet = self.customer, self._any()
        if wallet is None:
            return ""
        credits = customer.credits()
        body = {"credits": str(credits), "transaction_reason": "MANUAL_BALANCE_DEBIT", **customer.key}
        await self._post(f"{await customer.path_of(wallet)}/debit", body, 400 if wallet.is_frozen else 200)
        if not wallet.is_frozen:
            wallet.debit_by_hand(credits, customer.now)
        return f"debit {credits}"

    async def void_lot(self) -> str:
        customer = self.customer
        lots = [(wallet, lot) for wallet in customer.wallets() for lot in wallet.lots if not lot.is_void]
        if not lots:
            return ""
        wallet, lot = customer.dice.choice(lots)
        wallet_id, place = (await customer.path_of(wallet)).rpartition("/")[2], wallet.lots.index(lot)
        row = WalletTransaction
        async with customer.office.account.transaction(read_only=True) as session:
            query = select(row.id).where(row.wallet_id == wallet_id, row.seq.is_not(None), row.type == "credit")
            transaction_id = (await session.scalars(query.order_by(row.seq))).all()[place]
        voided = not wallet.is_frozen and wallet.void(lot)
        await self._post(f"/wallets/transactions/{transaction_id}/void", {}, 200 if voided else 400)
        return f"void lot of {lot.credits}: {voided}"

    async def convert(self) -> str:
        customer = self.customer
        if customer.dice.random() < 0.5 or not customer.wallets(is_prepaid=True):
            return ""
        (wallet,) = customer.wallets(is_prepaid=True)
        allowed = 200 if wallet.balance >= 0 and not wallet.is_frozen else 400
        if allowed == 200 and customer.wallets(is_prepaid=False):
            allowed = 409
        await self._post(
            f"{await customer.path_of(wallet)}/modify", {"modification_type": "prepaid_to_postpaid"}, allowed
        )
        if allowed == 200:
            customer.books.convert(wallet, customer.now)
        return f"convert: {allowed}"

    async def close(self) -> str:
        wallet = self._any()
        if wallet is None or self.customer.dice.random() < 0.5:
            return ""
        await self._post(f"{await self.customer.path_of(wallet)}/terminate", {}, 200)
        wallet.close()
        return f"close a wallet, frozen: {wallet.is_frozen}"

    async def freeze(self) -> str:
        return await self._set_frozen(to=True)

    async def unfreeze(self) -> str:
        return await self._set_frozen(to=False)

    async def _set_frozen(self, *, to: bool) -> str:
        wallets = [wallet for wallet in self.customer.wallets() if wallet.is_frozen != to]
        if not wallets:
            return ""
        wallet = self.customer.dice.choice(wallets)
        deed = "freeze" if to else "unfreeze"
        await self._post(f"{await self.customer.path_of(wallet)}/{deed}", {}, 200)
        wallet.is_frozen = to
        return f"{deed} {'prepaid' if wallet.is_prepaid else 'postpaid'}"

    async def automatic(self) -> str:
        """A wallet is told to top itself up, or not to any more."""
        customer, wallet = self.customer, self._any()
        if wallet is None:
            return ""
        hours = customer.dice.choice([0, 0, 5, 72])
        amount = customer.cents(least=200, most=9000)
        limit = customer.dice.choice([None, None, amount, amount * 2 + 1])
        is_on = customer.dice.random() < 0.8
        terms = AutomaticTopUp(
            customer.cents(most=20000), amount, timedelta(hours=hours), limit, is_invoiced=customer.dice.random() < 0.5
        )
        body = {
            "enabled": is_on,
            "threshold": float(terms.threshold),
            "amount": str(amount),
            "invoicing": terms.is_invoiced,
            "cooldown": {"value": hours, "unit": "hour"},
            "monthly_limit": None if limit is None else str(limit),
        }
        answer = await customer.office.account.http.put(await customer.path_of(wallet), json={"auto_topup": body})
        assert answer.status_code == (400 if wallet.is_frozen else 200), answer.text
        if not wallet.is_frozen:
            wallet.top_up = terms if is_on else None
        return f"automatic {body}"

    async def look(self) -> str:
        """The duty looks at the wallets: their real-time balances, and what follows."""
        customer = self.customer
        expected = modelled_balances(customer.model.real_time_balances(customer.now).values())
        shown: Balances = []
        for wallet in customer.wallets():
            answer = await customer.office.account.get(f"{await customer.path_of(wallet)}/balance/real-time")
            unpaid = answer.get("unpaid_invoices_amount", "")
            shown.append((answer["real_time_balance"], answer["current_period_usage"], unpaid))
        customer.balances.append((customer.now, shown, expected))
        for _ in range(customer.dice.randint(1, 2)):
            clock = FixedClock(customer.now)
            async with customer.office.account.database.transaction(
                customer.office.account.scope, clock=clock
            ) as session:
                await evaluate_customer(session, customer.id, customer.now)
            customer.model.look(customer.now)
        return f"look: {shown}"

    async def sweep(self) -> str:
        """What is granted and due is given, what rolls over is cut, and what has expired is taken out."""
        customer = self.customer
        await sweep(customer.office, customer.now, fails=any(wallet.is_frozen for wallet in customer.books.wallets))
        customer.model.sweep(customer.now)
        return "sweep"


async def sweep(office: Office, now: datetime, *, fails: bool) -> None:
    """Let the duties of credits go; whether something may fail, because a wallet is frozen."""
    account = office.account
    failed = (await GrantSweep(account.database, account.scope, now).run()).failed
    assert fails or not failed, failed
    async with account.database.transaction(account.scope, clock=FixedClock(now)) as session:
        await expire_due(session, now)
