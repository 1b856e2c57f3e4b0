"""What changes in mid-period give back: by credit notes with the tax on it, or into the payer's prepaid wallet."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from farthing.billing.proof.credit_notes import note_differences
from farthing.billing.proof.credits import credit_differences
from farthing.billing.proof.settlement_notes import settlement_note_differences
from farthing.billing.proof.settlements import settlement_differences
from tests.billing.counter import Body, cancel, do, drop, open_items, opened, seats
from tests.billing.office import Office
from tests.credits.ledger_desk import LedgerDesk
from tests.subscriptions.shop import fixed


async def taxed(office: Office, percentage: str | None, price: str, **more: Any) -> tuple[Body, Body]:
    """A subscription from the first of June whose payer is charged a tax."""
    await office.on("2026-06-01")
    customer = await office.customer()
    if percentage is not None:
        rate = await LedgerDesk(office.account).tax(f"{percentage}%")
        code = (await office.account.get(f"/taxes/rates/{rate}"))["code"]
        await office.account.post(
            "/taxes/associations",
            {"tax_rate_code": code, "entity_type": "customer", "entity_id": customer["id"], "auto_apply": True},
            200,
        )
    plan = await office.plan(fixed(price))
    return customer, await opened(office, plan, customer, **more)


async def wallets(office: Office, customer: Body) -> list[str]:
    found: list[Body] = await office.account.get(f"/customers/{customer['id']}/wallets")
    return [wallet["balance"] for wallet in found]


async def pay(office: Office, subscription: Body, amount: str) -> None:
    """Money comes for the newest invoice of a subscription."""
    found = await office.account.get("/invoices", subscription_id=subscription["id"])
    await office.account.post(
        "/payments",
        {
            "destination_type": "INVOICE",
            "destination_id": found["items"][0]["id"],
            "payment_method_type": "OFFLINE",
            "amount": amount,
            "currency": "usd",
            "process_payment": True,
        },
    )


async def notes(office: Office) -> list[str]:
    """`type net+tax` of each credit note, oldest first."""
    found = (await office.account.get("/creditnotes"))["items"]
    return [f"{note['credit_note_type']} {note['net_amount']}+{note['tax_amount']}" for note in found[::-1]]


@pytest.mark.parametrize(
    ("percentage", "paid", "documents", "in_wallet"),
    [
        pytest.param(None, "100", [], ["SUBSCRIPTION_CREDIT_GRANT 50"], id="paid without tax: a credit"),
        pytest.param("19", "119", ["REFUND 50+9.5"], ["CREDIT_NOTE 59.5"], id="paid with tax: a refund of 59.50"),
        pytest.param("8.25", "108.25", ["REFUND 50+4.13"], ["CREDIT_NOTE 54.13"], id="tax is rounded once"),
        pytest.param("100", "200", ["REFUND 50+50"], ["CREDIT_NOTE 100"], id="as much tax as price"),
        pytest.param("0", "100", [], ["SUBSCRIPTION_CREDIT_GRANT 50"], id="a rate of nothing takes nothing back"),
        pytest.param(None, None, ["ADJUSTMENT 50+0"], [], id="unpaid: half is owed"),
        pytest.param("19", None, ["ADJUSTMENT 50+9.5"], [], id="unpaid with tax: half of both is owed"),
        pytest.param(
            "19", "100", ["ADJUSTMENT 15.97+3.03", "REFUND 34.03+6.47"], ["CREDIT_NOTE 40.5"], id="paid in part"
        ),
        pytest.param(None, "80", ["ADJUSTMENT 20+0"], ["SUBSCRIPTION_CREDIT_GRANT 30"], id="paid in part, without tax"),
    ],
)
async def test_a_cancellation_half_way_gives_half_back(
    office: Office, percentage: str | None, paid: str | None, documents: list[str], in_wallet: list[str]
) -> None:
    customer, made = await taxed(office, percentage, "100")
    if paid is not None:
        await pay(office, made, paid)
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    assert await notes(office) == documents
    movements = [
        f"{row['transaction_reason']} {row['amount']}"
        for wallet in await office.account.get(f"/customers/{customer['id']}/wallets")
        for row in (await office.account.get(f"/wallets/{wallet['id']}/transactions"))["items"]
    ]
    assert movements == in_wallet
    await LedgerDesk(office.account).require_sound()


async def test_the_note_names_net_and_tax_of_its_line_and_rate(office: Office) -> None:
    _, made = await taxed(office, "19", "100")
    await pay(office, made, "119")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    (note,) = (await office.account.get("/creditnotes"))["items"]
    (line,) = note["line_items"]
    assert (note["reason"], note["refund_status"]) == ("SUBSCRIPTION_CANCELLATION", "SUCCEEDED")
    assert [line["amount"], line["net_amount"], line["tax_amount"]] == ["59.5", "50", "9.5"]
    assert [(tax["rate"], tax["amount"]) for tax in line["taxes"]] == [("19%", "9.5")]
    invoice = await office.account.get(f"/invoices/{note['invoice_id']}")
    assert (invoice["refunded_amount"], invoice["payment_status"]) == ("59.5", "PARTIALLY_REFUNDED")


async def test_a_note_of_a_change_stands_as_long_as_the_change(office: Office) -> None:
    _, made = await taxed(office, "19", "100")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    (note,) = (await office.account.get("/creditnotes"))["items"]
    await office.account.post(f"/creditnotes/{note['id']}/void", {}, 400)


async def test_what_is_given_back_in_parts_is_never_more_than_was_taxed(office: Office) -> None:
    """0.05 with 19 %, all of it at once: the tax was 0.01."""
    customer, made = await taxed(office, "19", "0.05")
    await pay(office, made, "0.06")
    (item,) = made["line_items"]
    await drop(office, item)
    assert await wallets(office, customer) == ["0.06"]


async def test_fewer_seats_give_back_and_more_seats_are_paid(office: Office) -> None:
    customer, made = await taxed(office, "10", "30")
    await pay(office, made, "33")
    (item,) = made["line_items"]
    await seats(office, made, item, 3)
    await pay(office, made, "66")
    assert await wallets(office, customer) == []
    await office.on("2026-06-16")
    (item,) = await open_items(office, made)
    changed = await seats(office, made, item, 1)
    credits = [change for change in changed["changed_resources"]["invoices"] if change["action"] == "wallet_credit"]
    assert [(change["status"], change["amount"]) for change in credits] == [("issued", "33")]
    assert await notes(office) == ["REFUND 30+3"]
    assert await wallets(office, customer) == ["33"]
    await LedgerDesk(office.account).require_sound()


async def test_money_that_moved_on_is_given_back_with_its_own_tax(office: Office) -> None:
    """One seat of 50 and a second one under 19 %, then none: both invoices are taken back whole."""
    customer, made = await taxed(office, "19", "50")
    await pay(office, made, "59.5")
    (item,) = made["line_items"]
    await seats(office, made, item, 2)
    await pay(office, made, "59.5")
    (item,) = await open_items(office, made)
    await drop(office, item)
    assert sorted(await notes(office)) == ["REFUND 50+9.5", "REFUND 50+9.5"]
    assert await wallets(office, customer) == ["119"]
    await LedgerDesk(office.account).require_sound()


async def test_money_that_moved_on_without_an_invoice_keeps_its_tax(office: Office) -> None:
    """Three seats of 50 under 19 %, then one, then a plan of 30 in its place, and then nothing: all is taken back."""
    customer, made = await taxed(office, "19", "50")
    await pay(office, made, "59.5")
    (item,) = made["line_items"]
    await seats(office, made, item, 3)
    await pay(office, made, "119")
    (item,) = await open_items(office, made)
    await seats(office, made, item, 1)
    assert await notes(office) == ["REFUND 100+19"]
    cheaper = await office.plan(fixed("30"), name="Cheaper")
    change = {"target_plan_id": cheaper["id"], "proration_behavior": "create_prorations"}
    await do(office, made, "change/v2/execute", change)
    (item,) = await open_items(office, made)
    await drop(office, item)
    assert await wallets(office, customer) == ["178.5"]
    await LedgerDesk(office.account).require_sound()


async def test_what_a_replaced_subscription_paid_is_given_back_with_its_tax(office: Office) -> None:
    """100 under 19 % became 300 half-way, of which 250 were invoiced; all is given up at once."""
    customer, made = await taxed(office, "19", "100")
    await office.on("2026-06-16")
    await do(office, made, "change/execute", await to_dearer_plan(office, "v1"))
    subscriptions = (await office.account.get("/subscriptions", customer_id=customer["id"]))["items"]
    (item,) = [item for subscription in subscriptions for item in await open_items(office, subscription)]
    await drop(office, item)
    assert sorted(await notes(office)) == ["ADJUSTMENT 250+47.5", "ADJUSTMENT 50+9.5"]
    await LedgerDesk(office.account).require_sound()


async def test_what_moved_on_is_given_back_of_its_own_period(office: Office) -> None:
    """July's fees of 30 and 20 pay for half of a plan of 100, which is dropped at once: June's invoice stands."""
    await office.on("2026-06-01")
    customer = await office.customer()
    made = await opened(office, await office.plan(fixed("30"), fixed("20")), customer)
    await office.on("2026-07-01")
    assert (await office.run(office.now)).failed == {}
    dearer = await office.plan(fixed("100"), name="Dearer")
    change = {"target_plan_id": dearer["id"], "proration_behavior": "create_prorations"}
    await do(office, made, "change/v2/execute", change)
    (item,) = await open_items(office, made)
    await drop(office, item)
    found = (await office.account.get("/invoices", customer_id=customer["id"]))["items"]
    adjusted = sorted(
        (invoice["billing_reason"].removeprefix("SUBSCRIPTION_"), invoice["adjustment_amount"]) for invoice in found
    )
    assert adjusted == [("CREATE", "0"), ("CYCLE", "50"), ("UPDATE", "50")]
    await LedgerDesk(office.account).require_sound()


@pytest.mark.parametrize(
    ("kind", "before", "after", "documents", "charged"),
    [
        pytest.param("v2", "19", "19", [], "119/100", id="the same rate: netted"),
        pytest.param("v2", "19", None, ["REFUND 50+9.5"], "150/150", id="exempt since: the old tax is taken back"),
        pytest.param("v2", None, None, [], "100/100", id="no tax at all: netted"),
        pytest.param("v1", "19", "19", [], "297.5/250", id="replaced at the same rate: netted"),
        pytest.param("v1", "19", None, ["REFUND 50+9.5"], "300/300", id="replaced and exempt since"),
        pytest.param("v1", None, None, [], "250/250", id="replaced without tax: netted"),
    ],
)
async def test_credits_lower_charges_of_the_same_taxes_alone(
    office: Office, kind: str, before: str | None, after: str | None, documents: list[str], charged: str
) -> None:
    """A plan of 100 becomes one of 300 half-way: 50 of credit, 150 of charge (300 for a new subscription)."""
    customer, made = await taxed(office, before, "100")
    await pay(office, made, "119" if before else "100")
    if before and after is None:
        await office.account.put(f"/customers/{customer['id']}", {"tax_treatment": "exempt"})
    await office.on("2026-06-16")
    change = await to_dearer_plan(office, kind)
    await do(office, made, "change/execute" if kind == "v1" else "change/v2/execute", change)
    assert await notes(office) == documents
    assert (await invoice_totals(office, customer))[-1] == charged
    await LedgerDesk(office.account).require_sound()


async def to_dearer_plan(office: Office, kind: str) -> Body:
    dearer = await office.plan(fixed("300"), name="Dearer")
    change = {"target_plan_id": dearer["id"], "proration_behavior": "create_prorations"}
    if kind == "v1":
        change |= {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    return change


async def invoice_totals(office: Office, customer: Body) -> list[str]:
    """`total/subtotal` of the customer's invoices, oldest first."""
    found = (await office.account.get("/invoices", customer_id=customer["id"]))["items"]
    return [f"{invoice['total']}/{invoice['subtotal']}" for invoice in found[::-1]]


async def test_what_a_note_by_hand_took_back_is_not_given_back_again(office: Office) -> None:
    """100 paid, 80 refunded by hand: of the 50 that half of June is worth, 20 are left."""
    customer, made = await taxed(office, None, "100")
    await pay(office, made, "100")
    (invoice,) = (await office.account.get("/invoices", subscription_id=made["id"]))["items"]
    shown = await office.account.get(f"/invoices/{invoice['id']}")
    await office.account.post(
        "/creditnotes",
        {
            "invoice_id": invoice["id"],
            "reason": "SERVICE_ISSUE",
            "process_credit_note": True,
            "line_items": [{"invoice_line_item_id": shown["line_items"][0]["id"], "amount": "80"}],
        },
    )
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    assert await wallets(office, customer) == ["100"]
    await LedgerDesk(office.account).require_sound()


async def test_a_draft_beside_a_change_finds_no_room_left_on_its_line(office: Office) -> None:
    """119 unpaid; a draft takes 100 of it, a cancellation half-way 59.50: the draft cannot take effect any more."""
    _, made = await taxed(office, "19", "100")
    (invoice,) = (await office.account.get("/invoices", subscription_id=made["id"]))["items"]
    shown = await office.account.get(f"/invoices/{invoice['id']}")
    lines = [{"invoice_line_item_id": shown["line_items"][0]["id"], "amount": "100"}]
    body = {"invoice_id": invoice["id"], "reason": "SERVICE_ISSUE", "line_items": lines}
    draft = await office.account.post("/creditnotes", body)
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    assert (await office.account.get(f"/invoices/{invoice['id']}"))["adjustment_amount"] == "59.5"
    await office.account.post(f"/creditnotes/{draft['id']}/finalize", {}, 400)
    await LedgerDesk(office.account).require_sound()


async def test_a_wallet_of_another_rate_has_as_much_value(office: Office) -> None:
    customer, made = await taxed(office, None, "100")
    await pay(office, made, "100")
    await LedgerDesk(office.account).wallet(customer["id"], "10", conversion_rate="4")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    assert await wallets(office, customer) == ["90"]


async def test_a_preview_gives_nothing(office: Office) -> None:
    customer, made = await taxed(office, None, "100")
    await office.on("2026-06-16")
    (item,) = made["line_items"]
    body = {"type": "quantity_change", "quantity_change_params": {"line_items": [{"id": item["id"], "quantity": "0"}]}}
    await office.account.http.post(f"/subscriptions/{made['id']}/modify/preview", json=body)
    assert await wallets(office, customer) == []


@pytest.mark.parametrize(
    ("statement", "figures"),
    [
        (
            "UPDATE proration_settlements SET tax_credited = tax_credited + 1",
            ["credited for unused time", "tax credited for unused time"],
        ),
        ("UPDATE proration_settlements SET credited_to_payer = 1", ["credited for unused time", "owed to the payer"]),
        (
            "UPDATE credit_note_line_items SET net_amount = 49.5, tax_amount = 10, taxes = jsonb_set(taxes, "
            "'{0,amount}', '\"10\"')",
            ["sum of note lines", "tax on unused time"],
        ),
    ],
)
async def test_the_doctor_sees_a_credit_that_is_not_its_settlement(
    office: Office, statement: str, figures: list[str]
) -> None:
    _, made = await taxed(office, "19", "100")
    await pay(office, made, "119")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    proofs = (credit_differences, note_differences, settlement_differences, settlement_note_differences)
    async with office.account.transaction() as session:
        await session.execute(text(statement))
        differences = [difference for proof in proofs for difference in await proof(session)]
        assert [difference.figure for difference in differences] == figures
        await session.rollback()


@pytest.mark.parametrize(
    ("noted", "given"),
    [
        # 25 of the first seat's 50 moved on and 25 more were paid: of these 75 what is unused is worth 50
        pytest.param(None, "50", id="nothing by hand"),
        pytest.param("10", "50", id="a note that leaves enough"),
        pytest.param("30", "45", id="a note that leaves less than what is unused"),
        pytest.param("50", "25", id="all of the first line"),
    ],
)
async def test_what_a_note_took_back_of_an_earlier_version_is_not_given_back_again(
    office: Office, noted: str | None, given: str
) -> None:
    _, subscription = await taxed(office, None, "50")
    await pay(office, subscription, "50")
    opening = subscription["latest_invoice"]
    await office.on("2026-06-16")
    (item,) = await open_items(office, subscription)
    await seats(office, subscription, item, 2)
    await office.on("2026-06-16T00:00:01")
    if noted is not None:
        line = {"invoice_line_item_id": opening["line_items"][0]["id"], "amount": noted}
        body = {"invoice_id": opening["id"], "reason": "BILLING_ERROR", "line_items": [line]}
        await office.account.post("/creditnotes", {**body, "process_credit_note": True})
    await office.on("2026-06-16T00:00:02")
    await cancel(office, subscription, proration_behavior="create_prorations")
    async with office.account.transaction(read_only=True) as session:
        returned = await session.scalar(text("SELECT sum(credited_to_payer) FROM proration_settlements"))
        assert f"{returned:.0f}" == given
        assert await settlement_differences(session) == []
        assert await credit_differences(session) == []


@pytest.mark.parametrize("moved", ["0.01", "-0.01", "1"])
async def test_the_doctor_follows_the_tax_of_a_line_that_two_notes_divide(office: Office, moved: str) -> None:
    _, made = await taxed(office, "19", "100")
    await pay(office, made, "100")
    await office.on("2026-06-16")
    await cancel(office, made, proration_behavior="create_prorations")
    tampered = text(
        """
        UPDATE credit_note_line_items AS line SET
            net_amount = line.net_amount - :moved, tax_amount = line.tax_amount + :moved,
            taxes = jsonb_set(line.taxes, '{0,amount}', to_jsonb(CAST(line.tax_amount + :moved AS text)))
        FROM credit_notes AS note WHERE note.id = line.credit_note_id AND note.credit_note_type = 'REFUND'
        """
    )
    async with office.account.transaction() as session:
        assert await settlement_note_differences(session) == []
        changed: Any = await session.execute(tampered, {"moved": Decimal(moved)})
        assert changed.rowcount == 1
        session.expire_all()
        assert await settlement_note_differences(session) != []
        await session.rollback()
