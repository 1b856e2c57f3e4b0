"""Each kind of mail, from what happens in the books to the message that a server takes."""

from __future__ import annotations

import io

import pypdf

from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox
from tests.payments.till import DECLINED

ADDRESS = "ada@brightwater.example"


async def test_an_invoice_is_mailed_with_its_pdf_and_a_link_that_opens_it(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await seller.till.desk.customer(name="Brightwater", email=ADDRESS)
    invoice = await seller.till.invoice("119.5", customer=customer)
    (queued,) = await seller.emails(customer)
    assert (queued["kind"], queued["status"], queued["invoice_id"]) == ("invoice_issued", "queued", invoice["id"])
    await mail_room.deliver()
    (received,) = box.received
    message = received.message
    assert received.sender == "billing@seller.example"
    assert received.recipients == [ADDRESS]
    assert message["Subject"] == f"Invoice {invoice['invoice_number']} from Test"
    assert str(message["To"]) == f"Brightwater <{ADDRESS}>"
    assert str(message["From"]) == "Test <billing@seller.example>"
    assert message["Message-ID"] == f"<{queued['id']}@seller.example>"
    assert "$119.50" in received.body()
    assert "$119.50" in received.body("html")
    name, content = received.attachment()
    assert name == f"{invoice['invoice_number']}.pdf"
    assert invoice["invoice_number"] in pypdf.PdfReader(io.BytesIO(content)).pages[0].extract_text()
    link = next(line for line in received.body().splitlines() if line.startswith("https://billing.example.com/portal/"))
    page = await seller.client().get(link.replace("https://billing.example.com", seller.base_url))
    assert page.status_code == 200
    assert invoice["invoice_number"] in page.text
    (sent,) = await seller.emails(customer)
    assert (sent["status"], sent["recipient"], sent["subject"]) == ("sent", ADDRESS, message["Subject"])
    await mail_room.deliver()
    assert len(box.received) == 1


async def test_a_payment_is_receipted_in_part_and_in_full(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.mail(invoice_issued=False)
    invoice = await seller.till.invoice("100", customer=customer)
    await seller.till.pay(invoice, "40")
    await mail_room.deliver()
    await seller.till.pay(invoice, "60")
    await mail_room.deliver()
    partial, full = box.received
    assert "$40.00" in partial.body()
    assert "$60.00 is still to pay" in partial.body()
    assert partial.message["Subject"] == "Receipt for your payment of $40.00"
    assert "paid in full" in full.body()
    assert [email["kind"] for email in await seller.emails(customer)] == ["payment_receipt"] * 2


async def test_a_payment_that_fails_is_told(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    await seller.till.connect()
    invoice = await seller.till.invoice("100", customer=customer)
    await mail_room.deliver()
    await seller.till.charge(invoice, method=DECLINED)
    await mail_room.deliver()
    failed = box.received[-1]
    assert failed.message["Subject"] == f"Your payment for invoice {invoice['invoice_number']} failed"
    assert "$100.00 is still to pay" in failed.body()


async def test_a_credit_note_is_mailed_with_its_pdf(seller: Seller, mail_room: MailRoom, box: MailBox) -> None:
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer)
    line = invoice["line_items"][0]["id"]
    note = await seller.post(
        "/creditnotes",
        {
            "invoice_id": invoice["id"],
            "reason": "BILLING_ERROR",
            "line_items": [{"invoice_line_item_id": line, "amount": "25"}],
            "process_credit_note": True,
        },
    )
    await mail_room.deliver()
    (received,) = [mail for mail in box.received if "Credit note" in mail.message["Subject"]]
    assert "$25.00" in received.body()
    assert received.attachment()[0] == f"{note['credit_note_number']}.pdf"
