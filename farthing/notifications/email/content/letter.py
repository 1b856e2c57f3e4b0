"""A letter: subject, HTML and text, made of facts in the words of a language under a letterhead."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from farthing.core.standards.colours import Colour, text_colour_on
from farthing.core.standards.languages import FALLBACK
from farthing.identity.settings.logo import Logo
from farthing.notifications.email.content.wording import LetterValue, chosen_text, texts_of, written
from farthing.notifications.email.tables import EmailKind

DEFAULT_COLOUR = "#1f4f82"
LOGO_ID = "logo"
"""The Content-ID of the logo, which travels with the mail: nothing is fetched when it is read."""
LONGEST_SUBJECT = 200
LONGEST_VALUE = 255

# control characters and line breaks, and the marks that turn the direction of what follows them
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """Who writes, and how it looks."""

    seller: str
    help_address: str = ""
    logo: Logo | None = None
    colour: str = ""

    @property
    def accent(self) -> str:
        """The colour of the button; a default where none is set that a mail program would surely understand."""
        try:
            return Colour.of_hex(self.colour).hex
        except ValueError:
            return DEFAULT_COLOUR

    @property
    def on_accent(self) -> str:
        """Black or white: whichever can be read on the button."""
        return text_colour_on(Colour.of_hex(self.accent)).hex


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFacts:
    """What a mail tells. `rows` are the values that stand in its table, in this order; `variant` chooses its words."""

    kind: EmailKind
    values: Mapping[str, LetterValue]
    rows: tuple[str, ...]
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as it is read."""

    subject: str
    html: str
    text: str


def one_line(text: str, limit: int = LONGEST_VALUE) -> str:
    """`text` fit for a header or a line: nothing in it breaks the line, acts unseen, or goes on for ever."""
    line = " ".join(_INVISIBLE.sub(" ", text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def compose(
    facts: LetterFacts, letterhead: Letterhead, language: str, link: str, *, inline_logo: bool = False
) -> Letter:
    """The letter in a language. `link` is where its button leads; `inline_logo` puts the logo's bytes into the HTML."""
    texts = texts_of(language)
    seller = one_line(letterhead.seller)
    values = {name: one_line(written(value, language)) for name, value in facts.values.items()} | {"seller": seller}

    def said(name: str) -> str:
        return chosen_text(texts, facts.kind.value, name, facts.variant).format_map(values)

    help_line = texts["common"]["help"].format(help=letterhead.help_address) if letterhead.help_address else ""
    return _laid_out(
        letterhead,
        said("subject"),
        inline_logo=inline_logo,
        language=language,
        heading=said("heading"),
        greeting=texts["common"]["greeting"].format_map(values),
        body=said("text"),
        rows=[(texts["labels"][name], values[name]) for name in facts.rows],
        button=said("button"),
        link=link,
        help=help_line,
        reason=texts["common"]["reason"].format_map(values),
    )


def compose_account_letter(
    letterhead: Letterhead, *, heading: str, body: str, button: str, link: str, reason: str
) -> Letter:
    """A letter of the deployment to a person with an account, in English as the pages are."""
    return _laid_out(
        letterhead,
        heading,
        inline_logo=False,
        language=FALLBACK,
        heading=heading,
        greeting="Hello,",
        body=body,
        rows=[],
        button=button,
        link=link,
        help="",
        reason=reason,
    )


def _laid_out(letterhead: Letterhead, subject: str, *, inline_logo: bool, **placed: object) -> Letter:
    head = {
        "seller": one_line(letterhead.seller),
        "accent": letterhead.accent,
        "on_accent": letterhead.on_accent,
        "logo": _logo_address(letterhead.logo, inline=inline_logo),
    }
    return Letter(
        one_line(subject, LONGEST_SUBJECT),
        _template("mail.html", **head, **placed),
        _template("mail.txt", **head, **placed),
    )


def _logo_address(logo: Logo | None, *, inline: bool) -> str:
    if logo is None:
        return ""
    if not inline:
        return f"cid:{LOGO_ID}"
    kind = "png" if logo.format == "png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(logo.content).decode()}"


def _template(name: str, **placed: object) -> str:
    return _templates().get_template(name).render(**placed)


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
