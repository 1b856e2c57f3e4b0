"""The language of a checkout's page: that asked for in its address, else the first of the browser's that we have."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

from babel.dates import format_date, format_time

from farthing.calendar.zones import zone_or_abbreviation
from farthing.notifications.email.content.wording import FALLBACK, LANGUAGES

Texts = Mapping[str, str]


@cache
def page_texts(language: str) -> Texts:
    """The texts of the page in one of the languages."""
    with (Path(__file__).parent / "texts" / f"{language}.toml").open("rb") as file:
        texts: Texts = tomllib.load(file)
    return texts


def choose_language(asked: str, accepted: str) -> str:
    """`asked` if we have it, else the language that an Accept-Language header weighs most of those we have."""
    if asked in LANGUAGES:
        return asked
    weighed = []
    for position, part in enumerate(accepted.split(",")[:20]):
        tag, _, parameters = part.strip().partition(";")
        language = tag.split("-")[0].lower()
        if language in LANGUAGES:
            weighed.append((-_weight(parameters), position, language))
    return min(weighed)[2] if weighed else FALLBACK


def _weight(parameters: str) -> int:
    """The thousandths that `q=0.8` stands for; 1000 without."""
    text = parameters.replace(" ", "")
    if not text.startswith("q="):
        return 1000
    whole, _, fraction = text[2:].partition(".")
    if not whole.isdecimal() or (fraction and not fraction.isdecimal()):
        return 0
    return min(int(whole[:2]) * 1000 + int((fraction + "000")[:3]), 1000)


def moment_in(at: datetime, zone: str, language: str) -> str:
    """A moment on the wall of `zone`, as readers of the language write it, with the zone's short name."""
    local = at.astimezone(zone_or_abbreviation(zone))
    date, time = format_date(local, "long", language), format_time(local, "short", locale=language)
    return f"{date}, {time} {local.tzname()}"
