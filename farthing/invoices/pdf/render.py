"""Values in, PDF out, by a typesetter that is kept warm."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from farthing.identity.settings.logo import Logo
from farthing.invoices.pdf.document import InvoiceDocument
from farthing.invoices.pdf.fonts import installed
from farthing.invoices.pdf.page import PageTexts, page

if TYPE_CHECKING:
    import typst

ARCHIVE_STANDARD: Literal["a-3b"] = "a-3b"
TEMPLATE = Path(__file__).with_name("invoice.typ")

_NO_SHAPE = "could not be displayed"
_NOTHING = re.compile(r"(?!)")
_BEYOND_BASIC = re.compile("[^\u0000-\uffff]")
_NOT_LATIN = re.compile("[^\u0000-\u024f\u200b\u2010-\u2027\u20a0-\u20bf\u2212]")
_RARE_CHARACTERS = (_NOTHING, _BEYOND_BASIC)
"""What is replaced in an archive file whose characters have no shape: nothing at first, then more."""

# The typesetter remembers its last ten documents, to be quick when one comes again. Invoices do not, and long ones
# are heavy (about 50 MB for 1,000 lines), so beyond this many rows what it remembers is pushed out.
LONG_ROWS = 100
_SCREEN = 96.0
"""Dots per inch of a picture."""
_REMEMBERED = 11

# A compiler serves one thread at a time, so each render takes one from here and puts it back: there are as many as
# ever rendered at once. Taking and putting are atomic.
_idle: deque[typst.Compiler] = deque()


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A text file inside a PDF that says the same as its pages."""

    name: str
    mime: str
    description: str
    content: str


def render(document: InvoiceDocument, attached: AttachedFile | None = None) -> bytes:
    """The PDF of `document`; the same document gives the same bytes. Safe to call from several threads.

    Whatever its texts hold is printed and never run: the template gets them as JSON, and places them as strings. A
    logo that cannot be decoded is left out, since an invoice without one is an invoice still. With a file attached, the
    PDF is an archive file (PDF/A-3), and characters that no font has are shown as a question mark.
    """
    # Without a fixed moment the file would carry the time of its making.
    moment = datetime.combine(document.issued, time(), UTC) if document.issued else datetime(2000, 1, 1, tzinfo=UTC)
    if attached is None:
        return render_page(page(document), moment, document.logo)
    return _archived(page(document), moment, attached)


def render_page(texts: PageTexts, moment: datetime, logo: Logo | None) -> bytes:
    """The PDF of a paper whose texts are written already, as of `moment`."""
    from typst import TypstError

    inputs = {"page": msgspec.json.encode(texts).decode()}
    try:
        if logo is None:
            return _typeset(inputs, moment)
        try:
            return _typeset(inputs | {"logo": _placed(logo)}, moment)
        except TypstError:
            return _typeset(inputs, moment)
    finally:
        if _rows(texts) > LONG_ROWS:
            _forget()


def first_page(document: InvoiceDocument) -> bytes:
    """A picture (PNG) of the first page of `document`, to look at on a screen."""
    from typst import TypstError

    inputs = {"page": msgspec.json.encode(page(document)).decode()}
    if document.logo is not None:
        try:
            return _pictured(inputs | {"logo": _placed(document.logo)})
        except TypstError:
            pass  # without a logo, as it would be printed
    return _pictured(inputs)


def _pictured(inputs: dict[str, str]) -> bytes:
    compiler = _taken()
    try:
        pages = compiler.compile(format="png", ppi=_SCREEN, sys_inputs=inputs)
    finally:
        _idle.append(compiler)
    picture = pages[0] if isinstance(pages, list) else pages
    assert isinstance(picture, bytes)
    return picture


def _placed(logo: Logo) -> str:
    return msgspec.json.encode({"bytes": list(logo.content), "format": logo.format}).decode()


def _archived(texts: PageTexts, moment: datetime, attached: AttachedFile) -> bytes:
    """An archive file may hold no character without a shape."""
    from typst import TypstError

    written = msgspec.json.encode(texts).decode()
    inputs = {"attached": msgspec.json.encode(asdict(attached)).decode()}
    try:
        for rare in _RARE_CHARACTERS:
            try:
                return _typeset({**inputs, "page": rare.sub("?", written)}, moment, archived=True)
            except TypstError as error:
                if _NO_SHAPE not in str(error):
                    raise
        shown = {**inputs, "page": _NOT_LATIN.sub("?", written)}
        return _typeset(shown, moment, archived=True)
    finally:
        # an ordinary document must not find what an archive file left behind
        _forget()


def _taken() -> typst.Compiler:
    from typst import Compiler

    try:
        return _idle.pop()
    except IndexError:
        return Compiler(TEMPLATE, root=TEMPLATE.parent, font_paths=installed())


def _typeset(inputs: dict[str, str], moment: datetime, *, archived: bool = False) -> bytes:
    compiler = _taken()
    try:
        pdf = compiler.compile(
            format="pdf", sys_inputs=inputs, timestamp=moment, pdf_standards=ARCHIVE_STANDARD if archived else None
        )
    finally:
        _idle.append(compiler)
    assert isinstance(pdf, bytes)
    return pdf


def _rows(texts: PageTexts) -> int:
    lines = sum(1 + len(line["details"]) for group in texts["groups"] for line in group["lines"])
    return lines + sum(len(table["rows"]) for table in texts["tables"])


def _forget() -> None:
    """Set blank pages until nothing earlier is remembered."""
    from typst import Compiler

    blank = Compiler(b"", font_paths=installed())
    for _ in range(_REMEMBERED):
        blank.compile(input=b"", format="pdf")
