"""A year of a catalogue in euros, billed in rupees at market rates that move, lapse and are corrected.

What each invoice must come to is worked out apart, in fractions; figures of both currencies, wallets, notes, statements
and reports are held against it, to the minor unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import pytest

from farthing.core.money import plain
from farthing.doctor.examination import audit
from tests.billing.charges.bureau import Bureau
from tests.billing.counter import Body, cancel, coupon, opened
from tests.billing.late_usage.lateness import settled
from tests.billing.lives.arithmetic import NOTHING, in_cents, split
from tests.billing.office import ARREAR
from tests.reporting.reconciliation import unreconciled
from tests.subscriptions.shop import at, fixed

EUR = {"currency": "eur"}
TIERS = [{"up_to": 100, "unit_amount": "0.07"}, {"up_to": None, "unit_amount": "0.033"}]
SEAT, SUPPORT = Decimal("12.49"), Decimal("9.99")
CALLS = {1: 50, 2: 150, 3: 90, 4: 333, 5: 20, 6: 30, 7: 101, 8: 7, 9: 260, 10: 77, 11: 149, 12: 64}
STORED = {1: 30, 2: 55, 3: 0, 4: 41, 5: 40, 6: 63, 7: 1, 8: 90, 9: 12, 10: 44, 11: 39, 12: 71}
LATE_IN_JUNE, LATE_IN_MARCH = 41, 5
RATES = {"2025-12-31": "90.1234", "2026-02-02": "91.5", "2026-03-02": "88.0055", "2026-05-11": "95.6789",
         "2026-06-02": "96.0001", "2026-07-02": "93.3333", "2026-08-03": "97.77", "2026-09-02": "98.1203",
         "2026-10-02": "101.0101", "2026-10-19": "102.3456", "2026-11-02": "99.9999", "2026-12-02": "100.5",
         "2027-01-04": "103.0303"}  # fmt: skip
"""Rupees for a euro, by day of the file. There is none in April: two months wait for the eleventh of May."""


@dataclass(eq=False)
class Charge:
    """A line in euros, what its own coupon, those of all and credits take, and what it `became` in rupees: amount,
    discount and credits."""

    name: str
    amount: Decimal
    is_usage: bool = False
    own: Decimal = NOTHING
    shared: Decimal = NOTHING
    credits: Decimal = NOTHING
    became: tuple[Decimal, Decimal, Decimal] = (NOTHING, NOTHING, NOTHING)

    @property
    def discount(self) -> Decimal:
        return self.own + self.shared

    @property
    def left(self) -> Decimal:
        return self.amount - self.discount - self.credits

    @property
    def net(self) -> Decimal:
        """Revenue: before credits, which are a means of payment."""
        return self.became[0] - self.became[1]

    @property
    def payable(self) -> Decimal:
        return self.net - self.became[2]

    def row(self) -> tuple[str, ...]:
        return (self.name, *map(plain, self.became), *map(plain, (self.amount, self.discount, self.credits)))


@dataclass
class Account:
    """What two wallets hold."""

    euros: Decimal
    rupees: Decimal

    def pay(self, lines: list[Charge], rate: Decimal) -> Decimal:
        """Let the wallets pay what is used, in euros and then in rupees, and convert; the tax."""
        for line in lines:
            if line.is_usage:
                line.credits = min(self.euros, line.left)
                self.euros -= line.credits
            parts = (line.left, line.own, line.shared, line.credits)
            net, own, shared, credits = (rupees(part, rate) for part in parts)
            discount = own + shared
            more = min(self.rupees, net) if line.is_usage else NOTHING
            self.rupees -= more
            line.became = (net + discount + credits, discount, credits + more)
        return in_cents(Fraction(sum((line.net for line in lines), NOTHING)) * 18 / 100)


def rupees(amount: Decimal, rate: Decimal) -> Decimal:
    return in_cents(Fraction(amount) * Fraction(rate))


def cost_of_calls(count: int) -> Decimal:
    return in_cents(Fraction(min(count, 100)) * 7 / 100 + Fraction(max(count - 100, 0)) * 33 / 1000)


def cost_of_storage(count: int) -> Decimal:
    """20 are promised, and what is beyond costs half as much again."""
    return in_cents(20 + max(Fraction(count, 2) - 20, Fraction(0)) * 3 / 2)


def discounted(lines: list[Charge], budgets: Mapping[str, Decimal]) -> list[Charge]:
    """3.33 of each month's calls by a coupon of theirs, then 7 % of what is left, over all lines."""
    for line in lines:
        line.own = min(budgets.get(line.name, NOTHING), line.amount)
    off = in_cents(Fraction(sum((line.left for line in lines), NOTHING)) * 7 / 100)
    for line, part in zip(lines, split(off, [line.left for line in lines]), strict=True):
        line.shared = part
    return lines


@dataclass
class Year:
    """The customer, its subscription, and what each invoice must be, by the month in which it arose."""

    bureau: Bureau
    customer: Body
    subscription: Body
    account: Account
    lines: dict[str, list[Charge]] = field(default_factory=dict)
    taxes: dict[str, Decimal] = field(default_factory=dict)

    async def goes_to(self, moment: str) -> list[str]:
        """Let the test clock run there; what invoices wait for then."""
        path = f"/environments/{self.bureau.account.environment_id}/clock"
        moved = await self.bureau.account.post(path, {"frozen_time": f"{moment}Z"}, expect=200)
        self.bureau.now = at(moment)
        assert (moved["progress"]["finished"], moved["progress"].get("failures")) == (True, None)
        return list(moved["progress"].get("waiting_for_rates", {}).values())

    async def hears(self, day: str, rate: str | None = None) -> Body:
        file = f"Date,USD,INR,\n{day},1.08,{rate or RATES[day]},\n"
        answer: Body = await self.bureau.account.post("/forex/reference-rates", {"file": file}, expect=200)
        return answer

    def owes(self, name: str, lines: list[Charge], rate: str) -> None:
        self.taxes[name] = self.account.pay(lines, Decimal(rate))
        self.lines[name] = lines

    def month(self, closed: int, late: Decimal | None = None, ends: bool = False) -> list[Charge]:
        """What the invoice of the month's end charges; late calls of the month before cost `late` more."""
        lines = [] if ends else [Charge("seat", SEAT)]
        lines += [Charge("support", SUPPORT), Charge("calls", cost_of_calls(CALLS[closed]), is_usage=True)]
        lines += [Charge("storage", cost_of_storage(STORED[closed]), is_usage=True)]
        budgets = {"calls": Decimal("3.33")}
        if late is not None:
            lines.append(Charge("late calls", late, is_usage=True))
            budgets["late calls"] = max(Decimal("3.33") - cost_of_calls(CALLS[closed - 1]), NOTHING)
        return discounted(lines, budgets)

    async def renews(self, closed: int, day: str, late: Decimal | None = None, rate: str = "") -> None:
        """A month ends, a file comes while its invoice is a draft, and the invoice becomes final."""
        await self.goes_to(f"{day}T12:00:00")
        await self.hears(day)
        await self.goes_to(f"{day[:7]}-06T00:00:00")
        self.owes(day[:7], self.month(closed, late), rate or RATES[day])
        await self.is_due()

    async def is_due(self) -> None:
        """Every final invoice has the lines and the tax that it must have."""
        seen = {claimed_in(invoice): invoice for invoice in await self.invoices()}
        due = {name: sorted(line.row() for line in lines if line.amount) for name, lines in self.lines.items()}
        assert {name: rows_of(invoice) for name, invoice in seen.items()} == due
        assert {name: Decimal(invoice["total_tax"]) for name, invoice in seen.items()} == self.taxes
        held = await self.bureau.wallets(self.customer)
        assert held == {"eur": plain(self.account.euros), "inr": plain(self.account.rupees)}

    async def invoices(self) -> list[Body]:
        return await self.bureau.issued(self.subscription)


def claimed_in(invoice: Body) -> str:
    """The month in which it arose."""
    opens = invoice["billing_reason"] == "SUBSCRIPTION_CREATE"
    return str(invoice["period_start" if opens else "period_end"][:7])


def net_of_note(lines: list[Charge], name: str, amount: str) -> Decimal:
    """What a note takes of a line's net: its own proportion, beside the line's part of the tax."""
    taxed = in_cents(Fraction(sum((line.net for line in lines), NOTHING)) * 18 / 100)
    parts = dict(zip((line.name for line in lines), split(taxed, [line.net for line in lines]), strict=True))
    (line,) = [line for line in lines if line.name == name]
    return in_cents(Fraction(amount) * Fraction(line.net) / Fraction(line.net + parts[name]))


def rows_of(invoice: Body) -> list[tuple[str, ...]]:
    rows = []
    for line in invoice["line_items"]:
        source = line["fx_conversion"]["source"]
        discount = Decimal(line["line_item_discount"]) + Decimal(line["invoice_level_discount"])
        name = line["display_name"]
        if (line.get("metadata") or {}).get("late_usage") == "true":
            name = f"late {name.removesuffix(' (Late Usage)')}"
        if Decimal(line["amount"]):
            rows.append((name, line["amount"], plain(discount), line["prepaid_credits_applied"], source["subtotal"],
                         source["total_discount"], source["total_prepaid_credits_applied"]))  # fmt: skip
    return sorted(rows)


async def begun(bureau: Bureau) -> Year:
    """A subscription of the first of January, in euros, whose drafts wait four days to be final."""
    account = bureau.account
    await bureau.settings(
        compute_delay_seconds=0, finalization_delay_seconds=4 * 24 * 3600, late_usage_policy="next_invoice"
    )
    gst = {"name": "GST", "code": "gst", "tax_rate_type": "percentage", "percentage_value": "18"}
    await account.post("/taxes/rates", gst)
    customer = await bureau.payer()
    association = {"tax_rate_code": "gst", "entity_type": "customer", "entity_id": customer["id"], "auto_apply": True}
    await account.post("/taxes/associations", {**association, "currency": "inr"}, 200)
    calls, storage = await bureau.feature("calls"), await bureau.feature("storage")
    plan = await bureau.plan(
        fixed(str(SEAT), display_name="seat", **EUR),
        fixed(str(SUPPORT), display_name="support", **EUR, **ARREAR),
        bureau.usage(calls, "0", display_name="calls", billing_model="TIERED", tier_mode="SLAB", tiers=TIERS, **EUR),
        bureau.usage(storage, "0.5", display_name="storage", **EUR),
    )
    await settled(bureau)
    await coupon(bureau, "calls", type="fixed", amount_off="3.33", currency="eur", cadence="forever")
    await coupon(bureau, "all", type="percentage", percentage_off="7", cadence="forever")
    await bureau.wallet(customer, "eur", "31.07")
    await bureau.wallet(customer, "inr", "1500")
    body = {"from_currency": "eur", "to_currency": "inr", "scope": "tenant", "source": "market"}
    file = {"file": "Date,INR\n2025-12-31,90.1234\n"}
    await account.post("/forex/reference-rates", file, expect=200)
    await account.post("/forex", body)
    prices = [price["id"] for price in plan["prices"]]
    promise = {"commitment_amount": "20", "overage_factor": "1.5", "enable_true_up": True, "commitment_type": "amount"}
    subscription = await opened(
        bureau, plan, customer, currency="eur", line_item_commitments={prices[3]: promise},
        subscription_coupons=[{"coupon_code": "calls", "price_id": prices[2]}, {"coupon_code": "all"}],
    )  # fmt: skip
    year = Year(bureau, customer, subscription, Account(Decimal("31.07"), Decimal(1500)))
    year.owes("2026-01", discounted([Charge("seat", SEAT)], {}), RATES["2025-12-31"])
    seen = [(f"2026-{month:02}-15", count) for month, count in CALLS.items()]
    await bureau.recorded("calls", customer, *seen)
    await bureau.recorded("storage", customer, *((f"2026-{month:02}-16", count) for month, count in STORED.items()))
    return year


@pytest.mark.slow
async def test_a_year_of_euros_in_rupees(bureau: Bureau) -> None:
    await bureau.on("2026-01-01")
    year = await begun(bureau)
    account = bureau.account
    # the rate of the day on which a draft becomes final, not of the day on which it was made
    for month in (1, 2):
        await year.renews(month, f"2026-{month + 1:02}-02")
    await bureau.paid((await year.invoices())[1], "100")

    # no file in April: two months wait, are told of, and go on with the first file
    waits_for = await year.goes_to("2026-04-20T00:00:00")
    assert len(waits_for) == 1
    assert "2026-03-02, is too old" in waits_for[0]
    await bureau.used("calls", year.customer, LATE_IN_MARCH, "2026-03-20")
    assert len(await year.goes_to("2026-05-11T00:00:00")) == 2
    assert [invoice["invoice_status"] for invoice in (await year.invoices())[3:]] == ["DRAFT", "DRAFT"]
    found = await audit(account.database, only=[account.environment_id])
    assert list(found.without_rate) == [year.customer["id"]]
    assert "2026-03-02, is too old" in found.without_rate[year.customer["id"]]
    await year.hears("2026-05-11")
    assert await year.goes_to("2026-05-12T00:00:00") == []
    CALLS[3] += LATE_IN_MARCH
    for month in (3, 4):
        year.owes(f"2026-{month + 1:02}", year.month(month), RATES["2026-05-11"])
    await year.is_due()

    # June's late calls are July's, at August's rate, beside what is left of June's coupon
    await year.renews(5, "2026-06-02")
    june = (await year.invoices())[-1]
    await bureau.paid(june)
    support = next(line["id"] for line in june["line_items"] if line["display_name"] == "support")
    note = {"invoice_id": june["id"], "reason": "SERVICE_ISSUE", "process_credit_note": True}
    note["line_items"] = [{"invoice_line_item_id": support, "amount": "100.01"}]
    await account.post("/creditnotes", note)
    year.account.rupees += Decimal("100.01")
    await year.renews(6, "2026-07-02")
    await bureau.used("calls", year.customer, LATE_IN_JUNE, "2026-06-20")
    late = cost_of_calls(CALLS[6] + LATE_IN_JUNE) - cost_of_calls(CALLS[6])
    await year.renews(7, "2026-08-03", late=late)
    await year.renews(8, "2026-09-02")

    # paid in part, void and made again: money and credits are back, at the rate of now
    await year.renews(9, "2026-10-02")
    await year.goes_to("2026-10-20T00:00:00")
    october = (await year.invoices())[-1]
    await bureau.paid(october, "200")
    await year.hears("2026-10-19")
    taken = sum((line.became[2] for line in year.lines["2026-10"]), NOTHING)
    await account.post(f"/invoices/{october['id']}/recalculate", {}, expect=202)
    year.account.rupees += taken + 200
    year.owes("2026-10", year.month(9), RATES["2026-10-19"])
    await year.is_due()

    # a file corrects its day: what was converted stays
    await year.renews(10, "2026-11-02")
    assert len((await year.hears("2026-11-02", "77.7777"))["moved"]) == 1
    await year.is_due()

    # an override lapses before the draft of its month is final, and another holds then
    scope = {"from_currency": "eur", "to_currency": "inr"}
    of_customer = {"scope": "customer", "scope_id": year.customer["id"], "rate": "50"}
    of_subscription = {"scope": "subscription", "scope_id": year.subscription["id"], "rate": "99.5"}
    await account.post("/forex", {**scope, **of_customer, "end_date": "2026-12-05T00:00:00Z"})
    window = {"start_date": "2026-12-05T00:00:00Z", "end_date": "2026-12-20T00:00:00Z"}
    await account.post("/forex", {**scope, **of_subscription, **window})
    await year.renews(11, "2026-12-02", rate="99.5")

    # its last invoice waits for a rate when nothing else of it is left
    await cancel(bureau, year.subscription, "end_of_period")
    assert len(await year.goes_to("2027-01-11T00:00:00")) == 1
    found = await audit(account.database, only=[account.environment_id])
    assert list(found.without_rate) == [year.customer["id"]]
    await year.hears("2027-01-04")
    await year.goes_to("2027-01-11T01:00:00")
    year.owes("2027-01", year.month(12, ends=True), RATES["2027-01-04"])
    await year.is_due()

    lines = [line for lines in year.lines.values() for line in lines]
    billed = sum((line.net for line in lines), NOTHING)
    payable = sum((line.payable for line in lines), NOTHING)
    asked: Body = {"metrics": ["invoice_total"], "shape": "breakdown", "dimensions": ["currency"]}
    asked["time"] = {"range": "2026-01-01..2027-02-01"}
    table = await account.post("/analytics/query", {"definition": asked}, expect=200)
    assert table["rows"] == [["inr", plain(payable + sum(year.taxes.values()))]]
    asked = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2027-02-01T00:00:00Z"}
    revenue = (await account.post("/analytics/revenue", asked, expect=200))["rows"]
    assert {row["group"]["currency"] for row in revenue} == {"inr"}
    assert sum(Decimal(str(row["net_amount"])) for row in revenue) == billed - net_of_note(
        year.lines["2026-06"], "support", "100.01"
    )
    await bureau.require_sound()
    assert await unreconciled(account) == []
