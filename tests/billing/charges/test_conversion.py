"""Invoices in the currency of their payer: converted once, as they become final, at a rate that is frozen on them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.doctor.examination import audit
from tests.billing.charges.bureau import RATE, Bureau
from tests.billing.counter import Body, coupon, credited, do, drop, open_items, opened, owed
from tests.billing.late_usage.lateness import send, settled
from tests.billing.office import ARREAR
from tests.invoices.listed import require_lists_as_reads
from tests.subscriptions.shop import fixed


def figures(invoice: Body) -> tuple[str, ...]:
    """Currency, subtotal, discount, credits, tax and total of an invoice."""
    names = ("currency", "subtotal", "total_discount", "total_prepaid_credits_applied", "total_tax", "total")
    return tuple(invoice[name] for name in names)


class TestWhatIsConverted:
    async def test_an_opening_is_payable_in_the_payers_currency(self, bureau: Bureau) -> None:
        rate = await bureau.rate()
        subscription = await opened(bureau, await bureau.plan(fixed("10")), await bureau.payer())
        (invoice,) = await bureau.issued(subscription)
        assert figures(invoice) == ("inr", "831.25", "0", "0", "0", "831.25")
        assert invoice["fx_conversion"] == {
            "charge_currency": "usd",
            "billing_currency": "inr",
            "rate": RATE,
            "rate_id": rate["id"],
            "scope": "tenant",
            "converted_at": "2026-03-01T00:00:00Z",
            "source": {"subtotal": "10", "total_discount": "0", "total_prepaid_credits_applied": "0", "net": "10"},
        }
        (line,) = invoice["line_items"]
        assert (line["currency"], line["amount"]) == ("inr", "831.25")
        assert line["fx_conversion"]["source"]["net"] == "10"
        await bureau.require_sound()

    async def test_the_published_client_reads_how_it_was_converted(self, bureau: Bureau) -> None:
        rate = await bureau.rate()
        subscription = await opened(bureau, await bureau.plan(fixed("10")), await bureau.payer())
        (invoice,) = await bureau.issued(subscription)
        async with bureau.account.sdk() as client:
            read = await client.invoices.get_invoice_async(id=invoice["id"])
        assert (read.fx_conversion.rate, read.fx_conversion.rate_id) == (RATE, rate["id"])
        assert (read.fx_conversion.charge_currency, read.fx_conversion.source.net) == ("usd", "10")
        assert read.line_items[0].fx_conversion.source.subtotal == "10"

    async def test_fx1_coupon_credits_and_tax(self, bureau: Bureau) -> None:
        """The coupon and the dollar wallet reduce dollars; the tax is charged on rupees."""
        await bureau.rate()
        customer = await bureau.payer()
        await bureau.wallet(customer, "usd", "1")
        gst = {"name": "GST", "code": "gst", "tax_rate_type": "percentage", "percentage_value": "18"}
        await bureau.account.post("/taxes/rates", gst)
        await bureau.account.post(
            "/taxes/associations",
            {"tax_rate_code": "gst", "entity_type": "customer", "entity_id": customer["id"], "auto_apply": True,
             "currency": "inr"},
            200,
        )  # fmt: skip
        feature = await bureau.feature()
        plan = await bureau.plan(bureau.usage(feature, "19.99"))
        await coupon(bureau, "two", type="fixed", amount_off="2", currency="usd", cadence="forever")
        subscription = await opened(bureau, plan, customer, subscription_coupons=[{"coupon_code": "two"}])
        await bureau.used("calls", customer, 1, "2026-03-10")
        await bureau.run("2026-04-01")
        (invoice,) = await bureau.issued(subscription)
        assert figures(invoice) == ("inr", "1661.67", "166.25", "83.13", "269.18", "1681.47")
        assert [row["discounted_amount"] for row in invoice["coupon_applications"]] == ["166.25"]
        assert [tax["taxable_amount"] for tax in invoice["taxes"]] == ["1495.42"]
        assert invoice["fx_conversion"]["source"] == {
            "subtotal": "19.99", "total_discount": "2", "total_prepaid_credits_applied": "1", "net": "16.99",
        }  # fmt: skip
        await require_lists_as_reads(bureau.account)
        await bureau.require_sound()

    @pytest.mark.parametrize(
        ("code", "rate", "price", "total"),
        [
            pytest.param("jpy", "150.05", "6.67", "1001", id="FX3: no minor unit"),
            pytest.param("kwd", "0.3071", "10", "3.071", id="FX4: three decimals"),
            pytest.param("eur", "0.9231", "10", "9.23", id="two decimals"),
            pytest.param("inr", "0.000000000001", "10", "0", id="a rate so small that nothing is left"),
            pytest.param("clf", "0.0246", "10.10", "0.2485", id="four decimals"),
        ],
    )
    async def test_minor_units(self, bureau: Bureau, code: str, rate: str, price: str, total: str) -> None:
        await bureau.rate(rate, to_currency=code)
        subscription = await opened(bureau, await bureau.plan(fixed(price)), await bureau.payer(code))
        (invoice,) = await bureau.issued(subscription)
        assert (invoice["currency"], invoice["total"]) == (code, total)
        await bureau.require_sound()

    async def test_what_a_caller_asks_for_keeps_its_currency(self, bureau: Bureau) -> None:
        await bureau.rate()
        customer = await bureau.payer()
        body = {"customer_id": customer["id"], "currency": "usd", "subtotal": "10", "total": "10", "amount_due": "10"}
        made = await bureau.account.post("/invoices", body)
        assert (made["currency"], made["total"]) == ("usd", "10")
        assert "fx_conversion" not in made

    async def test_a_payer_without_a_currency_of_its_own(self, bureau: Bureau) -> None:
        await bureau.rate()
        subscription = await opened(bureau, await bureau.plan(fixed("10")), await bureau.payer("usd"))
        (invoice,) = await bureau.issued(subscription)
        assert (invoice["currency"], invoice["total"]) == ("usd", "10")
        assert "fx_conversion" not in invoice

    async def test_credits_of_both_currencies_pay(self, bureau: Bureau) -> None:
        """5 dollars of 10 first, converted with the rest; then 200 rupees of what is left."""
        await bureau.rate()
        customer = await bureau.payer()
        await bureau.wallet(customer, "usd", "5")
        await bureau.wallet(customer, "inr", "200")
        plan = await bureau.plan(bureau.usage(await bureau.feature(), "10"))
        subscription = await opened(bureau, plan, customer)
        await bureau.used("calls", customer, 1, "2026-03-10")
        await bureau.run("2026-04-01")
        (invoice,) = await bureau.issued(subscription)
        assert figures(invoice) == ("inr", "831.26", "0", "615.63", "0", "215.63")
        assert await bureau.wallets(customer) == {"usd": "0", "inr": "0"}
        await bureau.require_sound()
        await bureau.account.post(f"/invoices/{invoice['id']}/void", expect=200)
        assert await bureau.wallets(customer) == {"usd": "5", "inr": "200"}
        await bureau.require_sound()


class TestWhatFollows:
    async def test_it_is_paid_in_the_currency_it_names(self, bureau: Bureau) -> None:
        await bureau.rate()
        customer = await bureau.payer()
        subscription = await opened(bureau, await bureau.plan(fixed("10")), customer)
        (invoice,) = await bureau.issued(subscription)
        await bureau.paid(invoice, "10", expect=400, currency="usd")
        await bureau.paid(invoice, "31.25")
        assert "inr 831.25/800/0/1" in await owed(bureau, customer)
        await bureau.paid(invoice, "800")
        assert (await bureau.issued(subscription))[0]["payment_status"] == "SUCCEEDED"
        await bureau.require_sound()

    async def test_no_money_is_taken_for_a_draft_in_a_currency_that_it_will_lose(self, bureau: Bureau) -> None:
        await bureau.rate()
        await bureau.settings(compute_delay_seconds=0, finalization_delay_seconds=3600)
        subscription = await opened(bureau, await bureau.plan(fixed("10", **ARREAR)), await bureau.payer())
        await bureau.run("2026-04-01")
        (draft,) = await bureau.issued(subscription)
        await bureau.paid(draft, "10", expect=400)
        mark = {"payment_status": "PENDING", "amount": "4"}
        await bureau.account.put(f"/invoices/{draft['id']}/payment", mark, expect=400)
        await bureau.account.put(f"/invoices/{draft['id']}/payment", {"payment_status": "SUCCEEDED"})
        (invoice,) = await bureau.issued(subscription)
        assert (invoice["currency"], invoice["amount_paid"]) == ("inr", "831.25")
        await bureau.require_sound()

    async def test_a_credit_note_is_in_the_currency_of_the_invoice(self, bureau: Bureau) -> None:
        await bureau.rate()
        customer = await bureau.payer()
        subscription = await opened(bureau, await bureau.plan(fixed("10")), customer)
        (invoice,) = await bureau.issued(subscription)
        await bureau.paid(invoice)
        line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "100"}
        body = {"invoice_id": invoice["id"], "reason": "SERVICE_ISSUE", "line_items": [line]}
        note = await bureau.account.post("/creditnotes", {**body, "process_credit_note": True})
        assert (note["currency"], note["total_amount"]) == ("inr", "100")
        assert await bureau.wallets(customer) == {"inr": "100"}
        await bureau.account.post(f"/invoices/{invoice['id']}/void", expect=200)
        assert await bureau.wallets(customer) == {"inr": "831.25"}
        await bureau.require_sound()

    async def test_threshold_invoices_leave_the_rest_of_the_period_in_its_own_currency(self, bureau: Bureau) -> None:
        """Slabs go on where the threshold invoice stopped, whatever that came to in rupees."""
        await bureau.rate()
        customer = await bureau.payer()
        tiers = [{"up_to": 10, "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]
        slabs = {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers}
        feature = await bureau.feature()
        plan = await bureau.plan(bureau.usage(feature, "0", **slabs))
        subscription = await opened(bureau, plan, customer, auto_invoice_threshold="8")
        await bureau.used("calls", customer, 9, "2026-03-10")
        await bureau.on("2026-03-11")
        await invoice_thresholds(Run(bureau.account.database, bureau.account.scope, bureau.now), Summary())
        await bureau.used("calls", customer, 3, "2026-03-20")
        await bureau.run("2026-04-01")
        invoices = await bureau.issued(subscription)
        sources = [invoice["fx_conversion"]["source"]["subtotal"] for invoice in invoices]
        assert sources == ["9", "2"]
        assert [invoice["total"] for invoice in invoices] == ["748.13", "166.25"]
        await bureau.require_sound()

    async def test_a_coupons_budget_is_spent_in_its_own_currency(self, bureau: Bureau) -> None:
        await bureau.rate()
        customer = await bureau.payer()
        plan = await bureau.plan(fixed("10"))
        await coupon(bureau, "ten", type="fixed", amount_off="15", currency="usd", cadence="once")
        subscription = await opened(bureau, plan, customer, subscription_coupons=[{"coupon_code": "ten"}])
        (invoice,) = await bureau.issued(subscription)
        assert figures(invoice)[1:3] == ("831.25", "831.25")
        await bureau.require_sound()


class TestGivingBack:
    async def bought(self, bureau: Bureau) -> tuple[Body, Body]:
        """17.99 dollars for April, which were 1495.42 rupees, paid."""
        await bureau.on("2026-04-01")
        rate = await bureau.rate()
        customer = await bureau.payer()
        plan = await bureau.plan(fixed("19.99"))
        await coupon(bureau, "two", type="fixed", amount_off="2", currency="usd", cadence="forever")
        subscription = await opened(bureau, plan, customer, subscription_coupons=[{"coupon_code": "two"}])
        (invoice,) = await bureau.issued(subscription)
        assert invoice["total"] == "1495.42"
        await bureau.paid(invoice)
        await bureau.account.put(f"/forex/{rate['id']}", {"rate": "99"})
        await bureau.on("2026-04-16")
        return customer, subscription

    async def test_fx7_half_is_paid_out_as_half_of_what_was_paid(self, bureau: Bureau) -> None:
        customer, subscription = await self.bought(bureau)
        (item,) = await open_items(bureau, subscription)
        await drop(bureau, item)
        assert await credited(bureau) == ["9"]
        assert await bureau.wallets(customer) == {"inr": "747.71"}
        await bureau.require_sound()

    async def test_fx7_half_is_netted_against_a_new_charge_in_dollars(self, bureau: Bureau) -> None:
        """20 for half a month is 10, less the credit of 9 dollars: 1 dollar at today's rate."""
        customer, subscription = await self.bought(bureau)
        (item,) = await open_items(bureau, subscription)
        body = {"amount": "20", "proration_behavior": "create_prorations"}
        await bureau.account.put(f"/subscriptions/lineitems/{item['id']}", body)
        settled = (await bureau.issued(subscription))[-1]
        source = settled["fx_conversion"]["source"]
        assert settled["currency"] == "inr"
        assert settled["fx_conversion"]["rate"] == "99"
        assert source["net"] in {"0", "1"}
        assert await bureau.wallets(customer) in ({}, {"inr": "83.11"})
        await bureau.require_sound()

    async def test_all_of_it_gives_back_exactly_what_was_paid(self, bureau: Bureau) -> None:
        customer, subscription = await self.bought(bureau)
        await bureau.on("2026-04-01")
        (item,) = await open_items(bureau, subscription)
        await drop(bureau, item)
        assert await bureau.wallets(customer) == {"inr": "1495.42"}
        await bureau.require_sound()

    async def test_what_is_unpaid_is_lowered_by_its_share(self, bureau: Bureau) -> None:
        await bureau.on("2026-04-01")
        await bureau.rate()
        customer = await bureau.payer()
        subscription = await opened(bureau, await bureau.plan(fixed("30")), customer)
        await bureau.on("2026-04-16")
        await do(bureau, subscription, "cancel", {"cancellation_type": "immediate", "proration_behavior":
                                                  "create_prorations"})  # fmt: skip
        (invoice,) = await bureau.issued(subscription)
        assert (invoice["total"], invoice["adjustment_amount"], invoice["amount_remaining"]) == (
            "2493.75", "1246.88", "1246.87",
        )  # fmt: skip
        await bureau.require_sound()


@pytest.mark.parametrize(
    ("statement", "figure"),
    [
        pytest.param("UPDATE invoices SET fx_rate = fx_rate + 1", "subtotal", id="another rate"),
        pytest.param("UPDATE invoice_line_items SET source_amount = source_amount + 1", "source subtotal", id="charge"),
        pytest.param("UPDATE invoices SET source_subtotal = 1", "source subtotal", id="what the invoice was"),
        pytest.param("UPDATE invoice_line_items SET currency = 'usd'", "currency", id="the currency of a line"),
        pytest.param("UPDATE invoice_line_items SET amount = amount + 1", "amount", id="what a line became"),
    ],
)
async def test_the_doctor_names_what_was_tampered_with(bureau: Bureau, statement: str, figure: str) -> None:
    await bureau.rate()
    await opened(bureau, await bureau.plan(fixed("10")), await bureau.payer())
    await bureau.require_sound()
    async with bureau.account.transaction() as session:
        await session.execute(text(statement))
    found = await audit(bureau.account.database, only=[bureau.account.environment_id])
    assert figure in {difference.figure for difference in found.differences}


async def test_the_doctor_names_who_cannot_be_invoiced(bureau: Bureau) -> None:
    customer = await bureau.customer()
    await opened(bureau, await bureau.plan(fixed("10")), customer)
    await bureau.account.put(f"/customers/{customer['id']}", {"billing_currency": "inr"})
    found = await audit(bureau.account.database, only=[bureau.account.environment_id])
    assert found.differences == []
    assert "usd to inr" in found.without_rate[customer["id"]]


class TestCorrections:
    """Usage is corrected in the currency of the charges, and taken back in the one that the invoice is paid in."""

    async def used(self, bureau: Bureau, code: str, customer: Body, count: int) -> Body:
        """A subscription charged by events e0, e1, ... of March, 10 for each in a currency."""
        calls = await bureau.feature("calls")
        plan = await bureau.plan(bureau.usage(calls, "10", currency=code))
        await settled(bureau)
        subscription = await opened(bureau, plan, customer, currency=code)
        for number in range(count):
            await send(bureau, customer, f"e{number}", "2026-03-15")
        await bureau.run("2026-04-01")
        return subscription

    async def void(self, bureau: Bureau, count: int) -> None:
        body = {"event_ids": [f"e{number}" for number in range(count)], "reason": "counted twice"}
        await bureau.account.post("/events/void", body, expect=200)

    async def test_less_usage_is_credited_in_the_currency_of_the_invoice(self, bureau: Bureau) -> None:
        """3 of 10 events are 33.336 of 111.12 dollars: 33.34. All 10 together come to what was invoiced."""
        await bureau.rate("1.11115", from_currency="eur", to_currency="usd")
        subscription = await self.used(bureau, "eur", await bureau.payer("usd"), 10)
        invoice = (await bureau.issued(subscription))[-1]
        assert (invoice["currency"], invoice["total"]) == ("usd", "111.12")
        await self.void(bureau, 3)
        await bureau.rate(
            "1.2", from_currency="eur", to_currency="usd", scope="customer", scope_id=invoice["customer_id"]
        )
        path = f"/invoices/{invoice['id']}/corrections"
        seen = await bureau.account.post(f"{path}/preview", None, expect=200)
        (line,) = seen["lines"]
        assert (line["amount_before"], line["amount_after"], seen["difference"]) == ("100", "70", "-30")
        assert (seen["currency"], seen["net_credit"], line["net_credit"]) == ("usd", "33.34", "33.34")
        made = await bureau.account.post(path, {"resolution": "credit_note"}, expect=200)
        assert (made["currency"], made["total_amount"]) == ("usd", "33.34")
        assert [line["amount"] for line in made["lines"]] == ["-30"]
        (note,) = (await bureau.account.get("/creditnotes", invoice_id=invoice["id"]))["items"]
        assert (note["currency"], note["total_amount"], note["credit_note_type"]) == ("usd", "33.34", "ADJUSTMENT")
        await bureau.require_sound()
        await self.void(bureau, 10)
        rest = await bureau.account.post(path, {"resolution": "credit_note"}, expect=200)
        assert rest["total_amount"] == "77.78"
        read = await bureau.account.get(f"/invoices/{invoice['id']}")
        assert (read["amount_due"], read["amount_remaining"]) == ("0", "0")
        await bureau.require_sound()

    async def test_what_was_paid_is_refunded_into_the_wallet_of_that_currency(self, bureau: Bureau) -> None:
        await bureau.rate("1.1", from_currency="eur", to_currency="usd")
        customer = await bureau.payer("usd")
        subscription = await self.used(bureau, "eur", customer, 10)
        invoice = (await bureau.issued(subscription))[-1]
        await bureau.paid(invoice)
        await self.void(bureau, 4)
        await bureau.account.post(f"/invoices/{invoice['id']}/corrections", {"resolution": "credit_note"}, expect=200)
        assert await bureau.wallets(customer) == {"usd": "44"}
        await bureau.require_sound()

    async def test_totals_are_those_in_the_currency_of_the_invoice(self, bureau: Bureau) -> None:
        """A late line stands on an invoice in rupees: its note is in rupees, and no part of a sum of dollars."""
        await bureau.settings(late_usage_policy="next_invoice")
        await bureau.rate()
        customer = await bureau.customer()
        subscription = await self.used(bureau, "usd", customer, 2)
        march = (await bureau.issued(subscription))[-1]
        await send(bureau, customer, "late", "2026-03-20")
        await bureau.account.put(f"/customers/{customer['id']}", {"billing_currency": "inr"})
        await bureau.run("2026-05-01")
        april = (await bureau.issued(subscription))[-1]
        assert (march["currency"], march["total"], april["currency"], april["total"]) == ("usd", "20", "inr", "831.25")
        body = {"event_ids": ["late", "e0", "e1"], "reason": "a test"}
        await bureau.account.post("/events/void", body, expect=200)
        path = f"/invoices/{march['id']}/corrections"
        seen = await bureau.account.post(f"{path}/preview", None, expect=200)
        assert (seen["currency"], seen["total_credit"], seen["lines"][0]["net_credit"]) == ("usd", "20", "20")
        made = await bureau.account.post(path, {"resolution": "credit_note"}, expect=200)
        assert (made["currency"], made["total_amount"]) == ("usd", "20")
        assert [line["net_amount"] for line in made["lines"]] == ["20", "831.25"]
        notes = (await bureau.account.get("/creditnotes"))["items"]
        assert {(note["currency"], note["total_amount"]) for note in notes} == {("usd", "20"), ("inr", "831.25")}
        await bureau.require_sound()
