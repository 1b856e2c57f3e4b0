"""The documents of a mail: the PDF, and the e-invoice in the format that is set."""

from __future__ import annotations

import io

import pikepdf
import pytest

from farthing.core.errors import ServiceUnavailable
from farthing.invoices.einvoice.model import Format
from farthing.notifications.email.content import documents
from tests.invoices.einvoice.exporter import BUYER, SELLER
from tests.notifications.email.conftest import MailRoom, Seller
from tests.notifications.email.mail_box import MailBox, Received

ADDRESS = "ada@bonn.example"


def _files(received: Received) -> dict[str, bytes]:
    parts = received.message.iter_attachments()
    return {part.get_filename() or "": part.get_payload(decode=True) for part in parts}  # type: ignore[misc]


async def _buyer(seller: Seller, format: str) -> str:
    await seller.mail(attach_einvoice=format)
    await seller.put("/settings/einvoice_config", {"value": SELLER})
    return await seller.till.desk.customer(email=ADDRESS, **BUYER)


@pytest.mark.parametrize("format", [Format.PEPPOL_UBL, Format.XRECHNUNG_UBL, Format.XRECHNUNG_CII])
async def test_xml_goes_beside_the_pdf(seller: Seller, mail_room: MailRoom, box: MailBox, format: Format) -> None:
    customer = await _buyer(seller, format)
    invoice = await seller.till.invoice("100", customer=customer, due_date="2030-03-31T00:00:00Z")
    await mail_room.deliver()
    (received,) = box.received
    number = invoice["invoice_number"]
    files = _files(received)
    assert list(files) == [f"{number}.pdf", f"{number}-{format}.xml"]
    download = await seller.http.get(f"/invoices/{invoice['id']}/einvoice", params={"format": format})
    assert files[f"{number}-{format}.xml"] == download.content
    assert (await seller.emails(customer))[0].get("reason") is None


async def test_facturx_takes_the_place_of_the_pdf_also_of_a_credit_note(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    customer = await _buyer(seller, "facturx")
    invoice = await seller.till.invoice("100", customer=customer, due_date="2030-03-31T00:00:00Z")
    line = {"invoice_line_item_id": invoice["line_items"][0]["id"], "amount": "25"}
    note = {"invoice_id": invoice["id"], "reason": "BILLING_ERROR", "line_items": [line], "process_credit_note": True}
    await seller.post("/creditnotes", note)
    await mail_room.deliver()
    for received in box.received:
        ((name, content),) = _files(received).items()
        assert name.endswith("-facturx.pdf")
        with pikepdf.open(io.BytesIO(content)) as pdf:
            assert "factur-x.xml" in pdf.attachments
    assert len(box.received) == 2


async def test_what_is_missing_for_the_format_keeps_no_mail_back(
    seller: Seller, mail_room: MailRoom, box: MailBox
) -> None:
    await seller.mail(attach_einvoice="peppol-ubl")
    customer = await seller.till.desk.customer(email=ADDRESS)
    invoice = await seller.till.invoice("100", customer=customer)
    await mail_room.deliver()
    (received,) = box.received
    assert list(_files(received)) == [f"{invoice['invoice_number']}.pdf"]
    (sent,) = await seller.emails(customer)
    assert sent["status"] == "sent"
    assert sent["reason"].startswith("sent without its e-invoice (peppol-ubl): ")
    assert "einvoice_config.legal_name" in sent["reason"]


async def test_a_mail_whose_einvoice_is_not_its_turn_waits_for_it(
    seller: Seller, mail_room: MailRoom, box: MailBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise ServiceUnavailable("Other documents of this tenant are being made; please try again")

    customer = await _buyer(seller, "peppol-ubl")
    await seller.till.invoice("100", customer=customer, due_date="2030-03-31T00:00:00Z")
    with monkeypatch.context() as busy:
        busy.setattr(documents, "make_file", refused)
        await mail_room.deliver()
    assert box.received == []
    (waiting,) = await seller.emails(customer)
    assert waiting["status"] == "queued"
