"""Values in, PDF out, by a typesetter that is kept warm."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, time
from pathlib import Path

import msgspec
import typst

from farthing.identity.settings.logo import Logo
from farthing.invoices.pdf.document import InvoiceDocument
from farthing.invoices.pdf.fonts import installed
from farthing.invoices.pdf.page import PageTexts, page

TEMPLATE = Path(__file__).with_name("invoice.typ")

# The typesetter remembers its last ten documents, to be quick when one comes again. Invoices do not, and long ones
# are heavy (about 50 MB for 1,000 lines), so beyond this many rows what it remembers is pushed out.
LONG_ROWS = 100
_REMEMBERED = 11

# A compiler serves one thread at a time, so each render takes one from here and puts it back: there are as many as
# ever rendered at once. Taking and putting are atomic.
_idle: deque[typst.Compiler] = deque()


def render(document: InvoiceDocument) -> bytes:
    """The PDF of `document`; the same document gives the same bytes. Safe to call from several threads.

    Whatever its texts hold is printed and never run: the template gets them as JSON, and places them as strings. A
    logo that cannot be decoded is left out, since an invoice without one is an invoice still.
    """
    # Without a fixed moment the file would carry the time of its making.
    moment = datetime.combine(document.issued, time(), UTC) if document.issued else datetime(2000, 1, 1, tzinfo=UTC)
    return render_page(page(document), moment, document.logo)


def render_page(texts: PageTexts, moment: datetime, logo: Logo | None) -> bytes:
    """The PDF of a paper whose texts are written already, as of `moment`."""
    inputs = {"page": msgspec.json.encode(texts).decode()}
    try:
        if logo is None:
            return _typeset(inputs, moment)
        picture = {"bytes": list(logo.content), "format": logo.format}
        try:
            return _typeset(inputs | {"logo": msgspec.json.encode(picture).decode()}, moment)
        except typst.TypstError:
            return _typeset(inputs, moment)
    finally:
        if _rows(texts) > LONG_ROWS:
            _forget()


def _typeset(inputs: dict[str, str], moment: datetime) -> bytes:
    try:
        compiler = _idle.pop()
    except IndexError:
        compiler = typst.Compiler(TEMPLATE, root=TEMPLATE.parent, font_paths=installed())
    try:
        pdf = compiler.compile(format="pdf", sys_inputs=inputs, timestamp=moment)
    finally:
        _idle.append(compiler)
    assert isinstance(pdf, bytes)
    return pdf


def _rows(texts: PageTexts) -> int:
    lines = sum(1 + len(line["details"]) for group in texts["groups"] for line in group["lines"])
    return lines + sum(len(table["rows"]) for table in texts["tables"])


def _forget() -> None:
    """Set blank pages until nothing earlier is remembered."""
    blank = typst.Compiler(b"", font_paths=installed())
    for _ in range(_REMEMBERED):
        blank.compile(input=b"", format="pdf")
